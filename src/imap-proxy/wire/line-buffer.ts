import { GatewayError } from "../../errors.ts"

const LF = 0x0a
const CR = 0x0d
const NOTHING = new Uint8Array(0)

/** A line as it came: its text, and the line end right behind it. Both are views on what was pushed. */
export interface EndedLine {
  readonly text: Uint8Array
  /** CRLF, or a bare LF. */
  readonly lineEnd: Uint8Array
}

/** Octets that arrived and are not consumed yet: handed out as lines or as counted data, whatever the chunks were. */
export class LineBuffer {
  #pending: Uint8Array = NOTHING
  /** Octets of `#pending` that were handed out: cheaper than a new view each time. */
  #at = 0
  /** No LF stands between `#at` and here: a line that comes octet by octet is searched once. */
  #searched = 0
  /** `#pending` is a copy. */
  #own = false

  /** Octets waiting. */
  get length(): number {
    return this.#pending.length - this.#at
  }

  push(octets: Uint8Array): void {
    if (this.length === 0) {
      this.#pending = octets
      this.#own = false
      this.#at = 0
      this.#searched = 0
      return
    }
    this.#pending = Buffer.concat([this.#pending.subarray(this.#at), octets])
    this.#own = true
    this.#searched -= this.#at
    this.#at = 0
  }

  /** What waits is copied, so that the memory of what was pushed can be used again. */
  keep(): void {
    if (this.length === 0 || this.#own) return
    this.#pending = Buffer.from(this.#pending.subarray(this.#at))
    this.#own = true
    this.#searched -= this.#at
    this.#at = 0
  }

  /**
   * The next line without its line end.
   * @returns null until the line is complete.
   * @throws PROTOCOL when the line is longer than `limitOctets`.
   */
  takeLine(limitOctets: number): Uint8Array | null {
    return this.takeEndedLine(limitOctets)?.text ?? null
  }

  /** The next line and its line end; otherwise as {@link takeLine}. */
  takeEndedLine(limitOctets: number): EndedLine | null {
    const start = this.#at
    const end = this.#pending.indexOf(LF, this.#searched)
    // A CR may still turn out to belong to the line end.
    if ((end < 0 ? this.#pending.length - 1 : end) - start > limitOctets + 1) throw tooLong(limitOctets)
    if (end < 0) {
      this.#searched = this.#pending.length
      return null
    }
    const textEnd = end > start && this.#pending[end - 1] === CR ? end - 1 : end
    if (textEnd - start > limitOctets) throw tooLong(limitOctets)
    const line = { text: this.#pending.subarray(start, textEnd), lineEnd: this.#pending.subarray(textEnd, end + 1) }
    this.#handedOut(end + 1)
    return line
  }

  /** The first octets of what waits, which go on waiting. */
  peek(octets: number): Uint8Array {
    return this.#pending.subarray(this.#at, this.#at + octets)
  }

  /** `octets` of a line that is longer than that, without any of its line end; null for other lines. */
  takeLinePiece(octets: number): Uint8Array | null {
    const end = this.#pending.indexOf(LF, this.#searched)
    // The last octet before the end may be a CR that belongs to it.
    const sureOctets = (end < 0 ? this.#pending.length : end) - 1 - this.#at
    return sureOctets < octets ? null : this.takeData(octets)
  }

  /** At most `limitOctets` of what waits, as a view; null when nothing waits. */
  takeData(limitOctets: number): Uint8Array | null {
    if (this.length === 0) return null
    const octets = this.#pending.subarray(this.#at, this.#at + limitOctets)
    this.#handedOut(this.#at + octets.length)
    return octets
  }

  #handedOut(end: number): void {
    this.#at = end
    this.#searched = end
    // What was handed out may be large; it is not held on to.
    if (end === this.#pending.length) {
      this.#pending = NOTHING
      this.#at = 0
      this.#searched = 0
    }
  }
}

function tooLong(limitOctets: number): GatewayError {
  return new GatewayError("PROTOCOL", `imap: line longer than ${limitOctets} octets`)
}
