/**
 * Hands octets on in whole lines. What canonicalizes a body (RFC 6376 §3.4) holds a line until it ends, and goes through it again with each
 * piece of it: one line of 50 MB would take minutes and all of the memory.
 */
export class WholeLines {
  /** A line was longer than {@link MAX_LINE_OCTETS}: from there on nothing is handed on. */
  overlong = false
  readonly #take: (lines: Uint8Array) => Promise<void>
  #held = Buffer.alloc(0)
  #length = 0

  constructor(take: (lines: Uint8Array) => Promise<void>) {
    this.#take = take
  }

  async push(octets: Uint8Array): Promise<void> {
    if (this.overlong) return
    const first = octets.indexOf(LF) + 1
    const end = octets.lastIndexOf(LF) + 1
    if (this.#length > 0 && first > 0) {
      this.#hold(octets.subarray(0, first))
      await this.end()
      if (this.overlong) return
      if (end > first) await this.#take(octets.subarray(first, end))
    } else if (end > 0) await this.#take(octets.subarray(0, end))
    this.#hold(octets.subarray(end))
  }

  /** Hands on what is held: the last line may have no end. */
  async end(): Promise<void> {
    const line = this.#held.subarray(0, this.#length)
    this.#forget()
    if (line.length > 0) await this.#take(line)
  }

  #hold(octets: Uint8Array): void {
    const length = this.#length + octets.length
    this.overlong ||= length > MAX_LINE_OCTETS
    if (this.overlong) {
      this.#forget()
      return
    }
    if (length > this.#held.length) {
      const grown = Buffer.allocUnsafe(Math.max(length, 2 * this.#held.length))
      this.#held.copy(grown, 0, 0, this.#length)
      this.#held = grown
    }
    this.#held.set(octets, this.#length)
    this.#length = length
  }

  #forget(): void {
    this.#held = Buffer.alloc(0)
    this.#length = 0
  }
}

const LF = 10
/** RFC 5322 §2.1.1 allows 998. Real ones (HTML in one line) stay below 100 KB; it is held in memory. */
export const MAX_LINE_OCTETS = 262_144
