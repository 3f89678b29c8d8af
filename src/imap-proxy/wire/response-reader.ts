import { LineBuffer } from "./line-buffer.ts"
import { insideQuotes, latin1 } from "./tokens.ts"

/** A server's line, piece by piece: text, then either a literal and more text, or the end. */
export type ResponseEvent =
  /** Text up to a literal or the line end, without literal marker and CRLF; it may be empty. `text` is the same, one character per octet. */
  | { readonly kind: "text"; readonly octets: Uint8Array; readonly text: string }
  /** `marker` is the `{n}` or `~{n}` with its CRLF. The item name is what FetchScanner made of the text before. */
  | { readonly kind: "literal"; readonly size: number; readonly marker: Uint8Array }
  /** Octets of the literal; `last` comes exactly once, possibly with no octets. */
  | { readonly kind: "data"; readonly octets: Uint8Array; readonly last: boolean }
  /** `lineEnd` is CRLF: where it came as such, a view on what was pushed, right behind the octets before it. */
  | { readonly kind: "end"; readonly lineEnd: Uint8Array }

/** ENVELOPE with ten thousand recipients: 1 MiB holds it. Lists of numbers may be longer. */
export const MAX_RESPONSE_LINE_OCTETS = 1_048_576
/** Lists of numbers are handed out in pieces of this size: SEARCH of a million messages is 8 MB. Above what one read brings. */
const NUMBERS_PIECE_OCTETS = 131_072

/** Reads the server-to-client direction: push octets, then call next until it gives null. Literals are never buffered. */
export class ResponseReader {
  readonly #buffer = new LineBuffer()
  readonly #lineOctets: number
  #state: "start" | "text" | "literal" | "data" | "end" = "start"
  #textOctets = 0
  /** Status responses and continuations are a person's text: a `{5}` at their end is no literal (RFC 9051 §7.1). */
  #statusLine = false
  /** The beginning of a list of numbers was handed out. */
  #numbers = false
  #size = 0
  #marker: Uint8Array = NOTHING
  #lineEnd: Uint8Array = CRLF

  constructor(lineOctets: number = MAX_RESPONSE_LINE_OCTETS) {
    this.#lineOctets = lineOctets
  }

  push(octets: Uint8Array): void {
    if (octets.length > 0) this.#buffer.push(octets)
  }

  /** What waits is copied, so that the memory of what was pushed can be used again. */
  keep(): void {
    this.#buffer.keep()
  }

  get bufferedOctets(): number {
    return this.#buffer.length
  }

  /** True when everything handed out so far ends with a line end. */
  get betweenLines(): boolean {
    return this.#state === "start"
  }

  /** The next event, or null when more octets are needed. @throws PROTOCOL when a line's text is too long. */
  next(): ResponseEvent | null {
    switch (this.#state) {
      case "start":
      case "text":
        return this.#readText()
      case "literal":
        this.#state = "data"
        return { kind: "literal", size: this.#size, marker: this.#marker }
      case "data":
        return this.#readData()
      case "end":
        this.#state = "start"
        this.#textOctets = 0
        this.#numbers = false
        return { kind: "end", lineEnd: this.#lineEnd }
    }
  }

  #readText(): ResponseEvent | null {
    const piece = this.#readNumbers()
    if (piece !== null) return { kind: "text", octets: piece, text: latin1(piece) }
    const ended = this.#buffer.takeEndedLine(this.#lineOctets - this.#textOctets)
    if (ended === null) return null
    const { text: octets, lineEnd } = ended
    const text = latin1(octets)
    if (this.#state === "start") this.#statusLine = STATUS.test(text)
    this.#textOctets += octets.length
    const marker = this.#statusLine || this.#numbers ? null : literalMarker(text, octets)
    if (marker === null) {
      this.#state = "end"
      // A bare LF is told as CRLF.
      this.#lineEnd = lineEnd.length === CRLF.length ? lineEnd : CRLF
      return { kind: "text", octets, text }
    }
    this.#state = "literal"
    this.#size = marker.size
    const length = octets.length - marker.length
    this.#marker = withLineEnd(octets.subarray(length), lineEnd)
    return { kind: "text", octets: octets.subarray(0, length), text: text.slice(0, length) }
  }

  /** A piece of a long list of numbers; null for what is short or something else. */
  #readNumbers(): Uint8Array | null {
    if (this.#buffer.length <= NUMBERS_PIECE_OCTETS) return null
    if (!this.#numbers && (this.#state !== "start" || !NUMBERS.test(latin1(this.#buffer.peek(16))))) return null
    const piece = this.#buffer.takeLinePiece(NUMBERS_PIECE_OCTETS)
    if (piece === null) return null
    this.#numbers = true
    this.#statusLine = false
    this.#state = "text"
    return piece
  }

  #readData(): ResponseEvent | null {
    const octets = this.#size === 0 ? NOTHING : this.#buffer.takeData(this.#size)
    if (octets === null) return null
    this.#size -= octets.length
    const last = this.#size === 0
    if (last) this.#state = "text"
    return { kind: "data", octets, last }
  }
}

// RFC 9051 §9: resp-cond-state, resp-cond-bye, greeting, tagged responses and continue-req
const STATUS = /^(?:\+|[^ ]{1,128} (?:OK|NO|BAD|BYE|PREAUTH)(?: |$))/i

// RFC 9051 §7.3.3, §7.3.4; RFC 5256 §4 (SORT, THREAD), RFC 7162 §3.2.10 (VANISHED): no literals
const NUMBERS = /^\* (?:SEARCH|ESEARCH|SORT|THREAD|VANISHED) /i

/** Views on the same line are joined without copying. */
function withLineEnd(marker: Uint8Array, lineEnd: Uint8Array): Uint8Array {
  if (lineEnd.length !== CRLF.length) return Buffer.concat([marker, CRLF])
  return new Uint8Array(marker.buffer, marker.byteOffset, marker.length + lineEnd.length)
}

/** `{n}` at the end of a line and outside quotes; servers send no `+` in it, but one is harmless. */
function literalMarker(text: string, octets: Uint8Array): { readonly size: number; readonly length: number } | null {
  if (text.at(-1) !== "}") return null
  const found = /~?\{(\d{1,15})\+?\}$/.exec(text.slice(-20))
  if (found === null || insideQuotes(octets)) return null
  return { size: Number(found[1]), length: found[0].length }
}

const NOTHING = new Uint8Array(0)
const CRLF = Buffer.from("\r\n")
