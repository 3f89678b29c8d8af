import { isCharacter } from "./base64-text.ts"
import { crc24Change } from "./crc24.ts"
import type { Patch, Span } from "./patch.ts"

/** How far an armor goes. Offsets count in the octets of that call. */
export type TailStep =
  /** All octets belong to the armor and stay as they are. */
  | { readonly kind: "all" }
  /** From `at` on the octets may be the CRC line, and more of them are needed. */
  | { readonly kind: "hold"; readonly at: number }
  /** The armor ends before `at`; its CRC is in the window. */
  | {
      readonly kind: "end"
      readonly at: number
      readonly patches: readonly Patch[]
      readonly windows: readonly Span[]
    }

/**
 * Follows the rest of an armor, whose head was changed, to its CRC-24 (RFC 9580 §6.1): counts octets, so that the checksum can be
 * made right without the message being kept.
 */
export class ArmorTail {
  readonly #delta: Uint8Array
  /** Characters of base64 in the whole armor so far. */
  #characters: number
  #atLineStart = false
  /** Behind padding, which need not end the line: quoted-printable writes `=3D`. */
  #padded = false

  /** `delta` is the armor's decoded head, old xor new; the quanta it fills were given out already. */
  constructor(delta: Uint8Array) {
    this.#delta = delta
    this.#characters = 4 * Math.floor(delta.length / 3)
  }

  /** `octets` begin where the last step ended or held. */
  push(octets: Uint8Array, ended: boolean): TailStep {
    for (let at = this.#characterRun(octets, 0); at < octets.length; at = this.#characterRun(octets, at + 1)) {
      const octet = octets[at]
      if (this.#atLineStart && octet === EQUALS) return this.#checksum(octets, at, ended)
      // The tail line, or an empty line that does not belong here.
      if (this.#atLineStart && (octet === DASH || octet === LF)) return endAt(at)
      if (octet === LF) {
        this.#atLineStart = true
        this.#padded = false
      } else if (octet === EQUALS) this.#padded = true
    }
    return { kind: "all" }
  }

  /** Counts the characters that stand together from `start` on, and says where they end: nearly all octets of an armor. */
  #characterRun(octets: Uint8Array, start: number): number {
    let end = start
    while (isCharacter(octets[end])) end++
    if (end > start) this.#atLineStart = false
    if (!this.#padded) this.#characters += end - start
    return end
  }

  #checksum(octets: Uint8Array, at: number, ended: boolean): TailStep {
    const line = Buffer.from(octets.subarray(at, at + MAX_LINE_OCTETS)).toString("latin1")
    const complete = ended || line.includes("\n") || line.length === MAX_LINE_OCTETS
    if (!complete) return { kind: "hold", at }
    const match = /^=(3D)?([A-Za-z0-9+/]{4})[ \t]*(?:\r?\n|$)/.exec(line)
    if (!match?.[2]) return endAt(at)
    const start = at + 1 + (match[1]?.length ?? 0)
    const window = { start, end: start + 4 }
    const changes = this.#delta.some((octet) => octet !== 0)
    const patches = changes ? [{ offset: start, octets: this.#changed(match[2]) }] : []
    return { kind: "end", at: window.end, patches, windows: [window] }
  }

  #changed(crc: string): Uint8Array {
    const octets = Math.floor((this.#characters * 3) / 4)
    const old = Buffer.from(crc, "base64").readUIntBE(0, 3)
    const changed = Buffer.alloc(3)
    changed.writeUIntBE(old ^ crc24Change(this.#delta, octets - this.#delta.length), 0, 3)
    return new Uint8Array(Buffer.from(changed.toString("base64"), "latin1"))
  }
}

function endAt(at: number): TailStep {
  return { kind: "end", at, patches: [], windows: [] }
}

const LF = 10
const EQUALS = 61
const DASH = 45
/** `=3D` and four characters, trailing blanks, CRLF. */
const MAX_LINE_OCTETS = 80
