import { GatewayError } from "../errors.ts"
import type { Counters } from "../log/counters.ts"
import type { Log } from "../log/log.ts"
import type { ContentVerdict } from "./content.ts"
import type { Authentication, ScanFacts, Scanner, ScanVerdict } from "./ports.ts"

/** A message that is scanned while it is stored: what that comes to is known when its last octet has passed, and then refuses it. */
export class Scanning {
  readonly #scanner: Scanner | null
  readonly #content: ContentVerdict
  readonly #counters: Pick<Counters, "add" | "observe">
  readonly #log: Log
  #verdict: ScanVerdict | null = null

  constructor(
    scanner: Scanner | null,
    content: ContentVerdict,
    { counters, log }: { readonly counters: Pick<Counters, "add" | "observe">; readonly log: Log },
  ) {
    this.#scanner = scanner
    this.#content = content
    this.#counters = counters
    this.#log = log
  }

  /**
   * Passes the message on, as fast as the scanners take it.
   * Throws GatewayError with the code of the verdict behind the last octet, which is before 250.
   */
  watch(content: AsyncIterable<Uint8Array>, facts: ScanFacts): AsyncIterable<Uint8Array> {
    return this.#scanner === null ? content : this.#watched(content, this.#scanner, facts)
  }

  /** What is kept with the message: what authentication came to, and what the scanners add to it. null: nothing. */
  beside(authentication: Authentication | null): Authentication | null {
    if (this.#verdict?.decision.kind !== "quarantine") return authentication
    return { field: `${this.#verdict.field ?? ""}${authentication?.field ?? ""}`, quarantine: true }
  }

  async *#watched(
    content: AsyncIterable<Uint8Array>,
    scanner: Scanner,
    facts: ScanFacts,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const scan = scanner.begin(facts)
    try {
      for await (const octets of content) {
        await scan.push(octets)
        yield octets
      }
      const since = performance.now()
      this.#take(await scan.end(), (performance.now() - since) / 1000)
    } finally {
      scan.cancel()
    }
  }

  #take(verdict: ScanVerdict, seconds: number): void {
    const { findings, decision } = verdict
    this.#verdict = verdict
    this.#counters.observe("postern_smtp_scan_seconds", seconds)
    for (const { scanner, outcome } of findings) this.#counters.add("postern_smtp_scanned_total", { scanner, outcome })
    const outcomes = Object.fromEntries(findings.map(({ scanner, outcome }) => [scanner, outcome]))
    const sizeOctets = this.#content.sizeOctets
    this.#log.info("smtp.scanned", { ...outcomes, decision: decision.kind, because: decision.because, sizeOctets })
    if (!("code" in decision)) return
    this.#content.refusal = new GatewayError(decision.code, `smtp: ${decision.because}`)
    throw this.#content.refusal
  }
}
