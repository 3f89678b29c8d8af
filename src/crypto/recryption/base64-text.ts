import type { Patch, Span } from "./patch.ts"

export const BLANK = 64
export const OTHER = 65
/** For each octet: its six bits in base64 (RFC 4648 §4), or BLANK or OTHER. */
export const BASE64: Uint8Array = base64Table()

/**
 * Decodes base64 text in lines of any length, as it arrives. Stops for good at padding, at an empty line, and at any octet that is
 * neither base64 nor a blank or line end.
 */
export class Base64Text {
  #decoded: Uint8Array<ArrayBuffer> = new Uint8Array(1024)
  #length = 0
  #bits = 0
  #pending = 0
  /** Characters in the current line; an empty line ends the text. */
  #lineCharacters = 0
  #anyLine = false
  #ended = false

  /** What is decoded so far: whole octets only. */
  get decoded(): Uint8Array {
    return this.#decoded.subarray(0, this.#length)
  }

  /** True when no more octets will be decoded, whatever comes. */
  get ended(): boolean {
    return this.#ended
  }

  /** What was decoded since the last time, for those who do not want it kept. */
  take(): Uint8Array {
    const taken = this.#decoded.slice(0, this.#length)
    this.#length = 0
    return taken
  }

  push(text: Uint8Array): void {
    this.#reserve(text.length)
    const decoded = this.#decoded
    // Locals, since this loop sees every octet of what is held.
    let [length, bits, pending, characters] = [this.#length, this.#bits, this.#pending, this.#lineCharacters]
    for (let at = 0; at < text.length && !this.#ended; at++) {
      const octet = text[at] ?? 0
      const value = BASE64[octet] ?? OTHER
      if (value < BLANK) {
        characters++
        pending = ((pending << 6) | value) & 0xffff
        bits += 6
        if (bits >= 8) decoded[length++] = pending >> (bits -= 8)
      } else if (octet === LF) {
        this.#ended = characters === 0 && this.#anyLine
        this.#anyLine = true
        characters = 0
      } else if (value !== BLANK) this.#ended = true
    }
    this.#length = length
    this.#bits = bits
    this.#pending = pending
    this.#lineCharacters = characters
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#decoded.length) return
    const grown = new Uint8Array(2 * (this.#length + more))
    grown.set(this.decoded)
    this.#decoded = grown
  }
}

/** Where decoded octets stand in base64 text. */
export interface TextRun extends Span {
  /** Number of the run's first base64 character, counted from the beginning of the text. */
  readonly character: number
}

/** The runs of characters, blanks and line ends left out, that hold the quanta of the decoded spans; `spans` in ascending order. */
export function textRuns(text: Uint8Array, from: number, spans: readonly Span[]): TextRun[] {
  const runs: TextRun[] = []
  const wanted = spans.map(quantaOf)
  let character = 0
  let start = -1
  let next = 0
  for (let at = from; at < text.length && next < wanted.length; at++) {
    const isCharacter = (BASE64[text[at] ?? 0] ?? OTHER) < BLANK
    const quanta = wanted[next]
    const inside = isCharacter && quanta !== undefined && character >= quanta.start
    if (inside && start < 0) start = at
    if (!inside && start >= 0) start = finish(runs, start, at, character)
    if (isCharacter) character++
    if (quanta === undefined || character < quanta.end) continue
    if (start >= 0) start = finish(runs, start, at + 1, character)
    next++
  }
  return runs
}

/** Offset in the text just behind the last quantum that the first `octets` decoded octets fill. */
export function textEnd(text: Uint8Array, from: number, octets: number): number {
  const characters = 4 * Math.floor(octets / 3)
  let character = 0
  for (let at = from; at < text.length; at++) {
    if (character === characters) return at
    if ((BASE64[text[at] ?? 0] ?? OTHER) < BLANK) character++
  }
  return text.length
}

/** The runs written anew from the changed octets. */
export function textPatches(runs: readonly TextRun[], decoded: Uint8Array): Patch[] {
  return runs.map(({ start, end, character }) => {
    const first = character >> 2
    const skip = character & 3
    const quanta = Math.ceil((skip + end - start) / 4)
    const text = Buffer.from(decoded.subarray(3 * first, 3 * (first + quanta))).toString("base64")
    return { offset: start, octets: new Uint8Array(Buffer.from(text.slice(skip, skip + end - start), "latin1")) }
  })
}

/** Characters from the first quantum of a decoded span to its last. */
function quantaOf({ start, end }: Span): Span {
  return { start: 4 * Math.floor(start / 3), end: 4 * Math.ceil(end / 3) }
}

function finish(runs: TextRun[], start: number, end: number, character: number): -1 {
  runs.push({ start, end, character: character - (end - start) })
  return -1
}

function base64Table(): Uint8Array {
  const table = new Uint8Array(256).fill(OTHER)
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  for (let value = 0; value < 64; value++) table[alphabet.charCodeAt(value)] = value
  for (const blank of [9, 10, 13, 32]) table[blank] = BLANK
  return table
}

const LF = 10
