import { GatewayError } from "../../errors.ts"

const LF = 0x0a
const CR = 0x0d
const NOTHING = new Uint8Array(0)

/** Octets that arrived and are not consumed yet: handed out as lines or as counted data, whatever the chunks were. */
export class LineBuffer {
  #pending: Uint8Array = NOTHING
  /** No LF stands before this offset: a line that comes octet by octet is searched once. */
  #searched = 0

  /** Octets waiting. */
  get length(): number {
    return this.#pending.length
  }

  push(octets: Uint8Array): void {
    this.#pending = this.#pending.length === 0 ? octets : Buffer.concat([this.#pending, octets])
  }

  /**
   * The next line without its CRLF (a bare LF ends a line too), a view on what was pushed.
   * @returns null until the line is complete.
   * @throws PROTOCOL when the line is longer than `limitOctets`.
   */
  takeLine(limitOctets: number): Uint8Array | null {
    return this.takeEndedLine(limitOctets)?.text ?? null
  }

  /** The same, with the line end as it came: a view right behind the text's. */
  takeEndedLine(limitOctets: number): { readonly text: Uint8Array; readonly lineEnd: Uint8Array } | null {
    const end = this.#pending.indexOf(LF, this.#searched)
    // A CR may still turn out to belong to the line end.
    if ((end < 0 ? this.#pending.length - 1 : end) > limitOctets + 1) throw tooLong(limitOctets)
    if (end < 0) {
      this.#searched = this.#pending.length
      return null
    }
    const length = end > 0 && this.#pending[end - 1] === CR ? end - 1 : end
    if (length > limitOctets) throw tooLong(limitOctets)
    const line = { text: this.#pending.subarray(0, length), lineEnd: this.#pending.subarray(length, end + 1) }
    this.#drop(end + 1)
    return line
  }

  /** At most `limitOctets` of what waits, as a view; null when nothing waits. */
  takeData(limitOctets: number): Uint8Array | null {
    if (this.#pending.length === 0) return null
    const octets = this.#pending.subarray(0, limitOctets)
    this.#drop(octets.length)
    return octets
  }

  #drop(octets: number): void {
    this.#pending = octets === this.#pending.length ? NOTHING : this.#pending.subarray(octets)
    this.#searched = 0
  }
}

function tooLong(limitOctets: number): GatewayError {
  return new GatewayError("PROTOCOL", `imap: line longer than ${limitOctets} octets`)
}
