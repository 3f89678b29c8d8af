import type { Patch, Span } from "./patch.ts"

const BLANK = 64
const OTHER = 65
const ALPHABET = Buffer.from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
/** For each octet: its six bits in base64 (RFC 4648 §4), or BLANK or OTHER. */
const TABLE = base64Table()

/**
 * Decodes base64 text in lines of any length, as it arrives. Stops for good at padding, at an empty line, and at any octet that is
 * neither base64 nor a blank or line end.
 */
export class Base64Text {
  /** Of Node's pool: an array of over 64 octets has memory of its own, to be found and freed. */
  #decoded: Uint8Array = Buffer.allocUnsafe(FIRST_OCTETS)
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
    const taken = new Uint8Array(this.decoded)
    this.#length = 0
    return taken
  }

  push(text: Uint8Array): void {
    this.#reserve(text.length)
    for (let at = 0; at < text.length && !this.#ended; at++) {
      if (this.#bits === 0) at = this.#quanta(text, at)
      if (at < text.length) this.#octet(text[at] ?? 0)
    }
  }

  /** Decodes quanta that stand together, as nearly all do: half the time that it takes octet by octet. Says where they end. */
  #quanta(text: Uint8Array, start: number): number {
    const decoded = this.#decoded
    let length = this.#length
    let at = start
    for (; at + 4 <= text.length; at += 4) {
      const a = sextet(text[at])
      const b = sextet(text[at + 1])
      const c = sextet(text[at + 2])
      const d = sextet(text[at + 3])
      if ((a | b | c | d) >= BLANK) break
      decoded[length++] = (a << 2) | (b >> 4)
      decoded[length++] = (b << 4) | (c >> 2)
      decoded[length++] = (c << 6) | d
    }
    this.#length = length
    this.#lineCharacters += at - start
    return at
  }

  #octet(octet: number): void {
    const value = sextet(octet)
    if (value < BLANK) {
      this.#lineCharacters++
      this.#pending = ((this.#pending << 6) | value) & 0xffff
      this.#bits += 6
      if (this.#bits < 8) return
      this.#bits -= 8
      this.#decoded[this.#length++] = this.#pending >> this.#bits
    } else if (octet === LF) {
      this.#ended = this.#lineCharacters === 0 && this.#anyLine
      this.#anyLine = true
      this.#lineCharacters = 0
    } else if (value !== BLANK) this.#ended = true
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#decoded.length) return
    const grown = Buffer.allocUnsafe(2 * (this.#length + more))
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
  let at = from
  let character = 0
  for (const span of spans) {
    const quanta = quantaOf(span)
    for (; character < quanta.start && at < text.length; at++) if (isCharacter(text[at])) character++
    while (character < quanta.end && at < text.length) {
      const end = runEnd(text, at, quanta.end - character)
      if (end > at) runs.push({ start: at, end, character })
      character += end - at
      // No character stands there, or the quanta end.
      at = end + (character < quanta.end ? 1 : 0)
    }
  }
  return runs
}

/** Offset in the text just behind the last quantum that the first `octets` decoded octets fill. */
export function textEnd(text: Uint8Array, from: number, octets: number): number {
  let at = from
  for (let left = 4 * Math.floor(octets / 3); left > 0 && at < text.length; at++) if (isCharacter(text[at])) left--
  return at
}

/** The runs written anew from the changed octets. */
export function textPatches(runs: readonly TextRun[], decoded: Uint8Array): Patch[] {
  return runs.map(({ start, end, character }) => {
    // Of Node's pool, as in applyPatches.
    const octets = Buffer.allocUnsafe(end - start)
    for (let at = 0; at < octets.length; at++) octets[at] = characterAt(decoded, character + at)
    return { offset: start, octets }
  })
}

/** The base64 character of the given number that `decoded` is written with. */
function characterAt(decoded: Uint8Array, character: number): number {
  const first = (6 * character) >> 3
  const pair = ((decoded[first] ?? 0) << 8) | (decoded[first + 1] ?? 0)
  return ALPHABET[(pair >> (10 - ((6 * character) & 7))) & 63] ?? 0
}

/** Offset behind the characters at `start`, `most` of them at most, that nothing else stands between. */
function runEnd(text: Uint8Array, start: number, most: number): number {
  let at = start
  while (at - start < most && isCharacter(text[at])) at++
  return at
}

function sextet(octet: number | undefined): number {
  return octet === undefined ? OTHER : (TABLE[octet] ?? OTHER)
}

/** Whether an octet is a base64 character. A function, since a loop that reads an exported table takes three times as long. */
export function isCharacter(octet: number | undefined): boolean {
  return sextet(octet) < BLANK
}

/** Characters from the first quantum of a decoded span to its last. */
function quantaOf({ start, end }: Span): Span {
  return { start: 4 * Math.floor(start / 3), end: 4 * Math.ceil(end / 3) }
}

function base64Table(): Uint8Array {
  const table = new Uint8Array(256).fill(OTHER)
  for (const [value, character] of ALPHABET.entries()) table[character] = value
  for (const blank of [9, 10, 13, 32]) table[blank] = BLANK
  return table
}

const LF = 10
/** What the head of a message for one recipient decodes to, and some more. */
const FIRST_OCTETS = 1_024
