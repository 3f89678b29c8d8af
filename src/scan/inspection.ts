import { GatewayError } from "../errors.ts"
import { type Finding, told } from "./finding.ts"
import type { Talk } from "./scanner.ts"

export interface InspectionLimits {
  /** How long a message waits for a scanner, all its waits together. */
  readonly timeoutMs: number
  /** Octets of the largest message that is shown to one. */
  readonly maxOctets: number
}

/** Shows one message to one scanner. Never throws: what goes wrong is a finding, and the rest of the message passes at once. */
export class Inspection {
  readonly #talk: Talk
  readonly #maxOctets: number
  #leftMs: number
  #octets = 0
  #finding: Finding | null = null

  constructor(talk: Talk, { timeoutMs, maxOctets }: InspectionLimits) {
    this.#talk = talk
    this.#maxOctets = maxOctets
    this.#leftMs = timeoutMs
  }

  async push(octets: Uint8Array): Promise<void> {
    if (this.#finding !== null) return
    this.#octets += octets.length
    if (this.#octets > this.#maxOctets) {
      this.#settle({ outcome: "tooLarge", because: `over ${this.#maxOctets} octets` })
      return
    }
    const early = await this.#within(() => this.#talk.push(octets))
    if (early !== null) this.#settle(early)
  }

  async end(): Promise<Finding> {
    this.#finding ??= this.#settle(await this.#within(() => this.#talk.end()))
    return this.#finding
  }

  cancel(): void {
    this.#talk.cancel()
  }

  #settle(finding: Finding): Finding {
    this.#finding = finding
    this.#talk.cancel()
    return finding
  }

  async #within<T>(act: () => Promise<T>): Promise<T | Finding> {
    const { promise: late, reject } = Promise.withResolvers<never>()
    const since = performance.now()
    const timer = setTimeout(
      () => reject(new GatewayError("SCANNER_AWAY", "scan: no answer in time")),
      Math.max(1, this.#leftMs),
    )
    try {
      return await Promise.race([act(), late])
    } catch (error) {
      return { outcome: "away", because: told(reasonOf(error)) }
    } finally {
      clearTimeout(timer)
      this.#leftMs -= performance.now() - since
    }
  }
}

function reasonOf(error: unknown): string {
  // Where a name has several addresses, all in vain, node gives an AggregateError without a text.
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join(", ")
  return error instanceof Error ? error.message : String(error)
}
