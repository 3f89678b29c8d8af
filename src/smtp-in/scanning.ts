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
  readonly #log: () => Log
  readonly #closed: AbortSignal
  #verdict: ScanVerdict | null = null

  /** `closed`: of the connection. Whoever is gone does not hear 250 and sends again, so nobody waits for the scanners then. */
  constructor(
    scanner: Scanner | null,
    content: ContentVerdict,
    closed: AbortSignal,
    { counters, log }: { readonly counters: Pick<Counters, "add" | "observe">; readonly log: () => Log },
  ) {
    this.#scanner = scanner
    this.#content = content
    this.#closed = closed
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
    const letGo = (): void => scan.cancel()
    this.#closed.addEventListener("abort", letGo)
    try {
      for await (const octets of content) {
        await scan.push(octets)
        yield octets
      }
      const since = performance.now()
      const verdict = await scan.end()
      if (this.#closed.aborted) throw new GatewayError("PROTOCOL", "smtp: session ended while the message was scanned")
      this.#take(verdict, (performance.now() - since) / 1000)
    } finally {
      this.#closed.removeEventListener("abort", letGo)
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
    this.#log().info("smtp.scanned", { ...outcomes, decision: decision.kind, because: decision.because, sizeOctets })
    if (!("code" in decision)) return
    this.#content.refusal = new GatewayError(decision.code, `smtp: ${decision.because}`)
    throw this.#content.refusal
  }
}
