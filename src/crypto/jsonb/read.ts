import { GatewayError } from "../../errors.ts"
import { joined } from "../primitives/joined.ts"
import { NAME_TAG, type Tag, tagOf } from "./tag.ts"
import type { JsonValue } from "./value.ts"

/** Profiles and messages nest below 12; each level costs a stack frame. */
export const MAX_DEPTH = 32
/** Values in one text, members and items together: each costs some 100 octets of memory. */
export const MAX_VALUES = 65_536
/** Characters of a number written in decimal: parsing takes longer with the square of them. */
export const MAX_NUMBER_CHARACTERS = 400

/**
 * Reads one value that fills `octets`, but for white space around it: JSON (RFC 8259), JSON-B (draft-hallambaker-jsonbcd-21 §3) or both
 * mixed. Beyond the two, strings may hold raw line breaks and tabs, as the Mesh's reference code writes them, and a comma or colon may stand
 * where JSON-B leaves it out. Time and memory are linear in the octets.
 * @throws GatewayError JSONB_SYNTAX, also for a member that stands twice; JSONB_TOO_LARGE above the limits
 */
export function readJson(octets: Uint8Array): JsonValue {
  const reader = new Reader(octets, 0)
  const value = reader.value(0)
  reader.skipBlanks()
  if (reader.at !== octets.length) throw syntax("octets behind the value", reader.at)
  return value
}

/**
 * Reads the value that stands at `offset`; what follows it is not looked at.
 * @throws GatewayError as {@link readJson}
 */
export function readJsonAt(octets: Uint8Array, offset: number): JsonValue {
  return new Reader(octets, offset).value(0)
}

/** The tag of a value, not of a name. */
type ValueTag = Exclude<Tag, { kind: "name" }>

class Reader {
  at: number
  readonly #octets: Uint8Array
  #values = 0
  /** Whether the value just read was one of JSON-B: behind such no comma is needed. */
  #afterBinary = false

  constructor(octets: Uint8Array, at: number) {
    this.#octets = octets
    this.at = at
  }

  value(depth: number): JsonValue {
    if (++this.#values > MAX_VALUES) throw tooLarge("values")
    if (depth > MAX_DEPTH) throw tooLarge("levels")
    this.skipBlanks()
    const start = this.at
    const first = this.#peek()
    if (first === OPEN_BRACE) return this.#object(depth)
    if (first === OPEN_BRACKET) return this.#array(depth)
    if (first === QUOTE) return { kind: "string", text: this.#quoted(), start, end: this.at }
    if (first < 0x80) return this.#word()
    const tag = tagOf(first)
    if (tag === null || tag.kind === "name") throw syntax(`tag ${first.toString(16)} is unknown, or no value`, start)
    return this.#tagged(tag)
  }

  skipBlanks(): void {
    while (isBlank(this.#octets[this.at])) this.at++
  }

  #object(depth: number): JsonValue {
    const start = this.at++
    const members = new Map<string, JsonValue>()
    for (let first = true; !this.#closes(CLOSE_BRACE, first); first = false) {
      const nameAt = this.at
      const name = this.#name()
      if (members.has(name)) throw syntax("member stands twice", nameAt)
      members.set(name, this.value(depth + 1))
    }
    return { kind: "object", members, start, end: this.at }
  }

  #array(depth: number): JsonValue {
    const start = this.at++
    const items: JsonValue[] = []
    while (!this.#closes(CLOSE_BRACKET, items.length === 0)) items.push(this.value(depth + 1))
    return { kind: "array", items, start, end: this.at }
  }

  /** True behind the closing bracket; else stands before the next member or item, past the comma that must or may stand there. */
  #closes(bracket: number, first: boolean): boolean {
    this.skipBlanks()
    const optional = first || this.#afterBinary || this.#peek() === NAME_TAG
    if (this.#peek() === bracket) {
      this.at++
      this.#afterBinary = false
      return true
    }
    if (first) return false
    if (this.#peek() === COMMA) {
      this.at++
      this.skipBlanks()
    } else if (!optional) throw syntax("comma is missing", this.at)
    return false
  }

  #name(): string {
    const first = this.#peek()
    if (first === QUOTE) {
      const name = this.#quoted()
      this.skipBlanks()
      if (this.#peek() !== COLON) throw syntax("colon is missing", this.at)
      this.at++
      return name
    }
    const kind = tagOf(first)?.kind
    if (kind !== "string" && kind !== "name") throw syntax("name is missing", this.at)
    const name = decodeUtf8(this.#pieces(kind), this.at)
    this.skipBlanks()
    if (this.#peek() === COLON) this.at++
    return name
  }

  #quoted(): string {
    const start = ++this.at
    let escaped = false
    for (let octet = this.#peek(); octet !== QUOTE; octet = this.#peek()) {
      if (octet < 0x20 && !isBlank(octet)) throw syntax("control character in a string", this.at)
      if (octet === BACKSLASH) {
        escaped = true
        this.at++
        this.#peek()
      }
      this.at++
    }
    const text = decodeUtf8(this.#octets.subarray(start, this.at), start)
    this.at++
    this.#afterBinary = false
    return escaped ? unescaped(text, start) : text
  }

  /** A number, true, false or null. */
  #word(): JsonValue {
    const start = this.at
    while (isWordCharacter(this.#octets[this.at])) this.at++
    const end = this.at
    if (end - start > MAX_NUMBER_CHARACTERS) throw tooLarge("characters of a number")
    this.#afterBinary = false
    const word = Buffer.from(this.#octets.subarray(start, end)).toString("latin1")
    if (word === "true" || word === "false") return { kind: "boolean", value: word === "true", start, end }
    if (word === "null") return { kind: "null", start, end }
    if (!NUMBER.test(word)) throw syntax("value is none", start)
    return INTEGER.test(word)
      ? { kind: "integer", value: BigInt(word), start, end }
      : { kind: "real", value: Number(word), start, end }
  }

  #tagged(tag: ValueTag): JsonValue {
    const start = this.at
    const value = this.#content(tag)
    this.#afterBinary = true
    return { ...value, start, end: this.at }
  }

  #content(tag: ValueTag) {
    switch (tag.kind) {
      case "string": {
        const start = this.at
        return { kind: "string", text: decodeUtf8(this.#pieces("string"), start) } as const
      }
      case "data":
        return { kind: "data", octets: this.#pieces("data") } as const
      case "bignum": {
        this.at++
        return { kind: "integer", value: signed(tag.negative, this.#take(this.#length(tag.lengthOctets))) } as const
      }
      case "integer":
        this.at++
        return { kind: "integer", value: signed(tag.negative, this.#take(tag.contentOctets)) } as const
      case "real": {
        this.at++
        const octets = this.#take(tag.contentOctets)
        return { kind: "real", value: new DataView(octets.buffer, octets.byteOffset).getFloat64(0) } as const
      }
      case "boolean":
        this.at++
        return { kind: "boolean", value: tag.value } as const
      case "null":
        this.at++
        return { kind: "null" } as const
    }
    return tag satisfies never
  }

  /** A string or data, its pieces joined; the first tag stands at the place reached. */
  #pieces(kind: "string" | "data" | "name"): Uint8Array {
    const pieces: Uint8Array[] = []
    for (let last = false; !last; ) {
      const tag = tagOf(this.#peek())
      if (tag?.kind !== kind) throw syntax("piece is missing", this.at)
      if (++this.#values > MAX_VALUES) throw tooLarge("pieces")
      this.at++
      pieces.push(this.#take(this.#length(tag.lengthOctets)))
      last = tag.last
    }
    const [only] = pieces
    return pieces.length === 1 && only ? only : joined(pieces)
  }

  #length(octets: number): number {
    let length = 0
    for (const octet of this.#take(octets)) length = length * 256 + octet
    return length
  }

  #take(count: number): Uint8Array {
    const end = this.at + count
    if (end > this.#octets.length) throw syntax("value is cut off", this.at)
    const taken = this.#octets.subarray(this.at, end)
    this.at = end
    return taken
  }

  #peek(): number {
    const octet = this.#octets[this.at]
    if (octet === undefined) throw syntax("text is cut off", this.at)
    return octet
  }
}

function signed(negative: boolean, magnitude: Uint8Array): bigint {
  const value = magnitude.length === 0 ? 0n : BigInt(`0x${Buffer.from(magnitude).toString("hex")}`)
  return negative ? -value : value
}

function decodeUtf8(octets: Uint8Array, at: number): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(octets)
  } catch (cause) {
    throw new GatewayError("JSONB_SYNTAX", `json: string is not UTF-8, at ${at}`, { cause })
  }
}

/** RFC 8259 §7. */
function unescaped(text: string, at: number): string {
  const plain = text.replace(/\\(?:u([0-9a-fA-F]{4})|(.))/gs, (_, code: string | undefined, letter: string) => {
    const character = code === undefined ? ESCAPES[letter] : String.fromCharCode(Number.parseInt(code, 16))
    if (character === undefined) throw syntax("escape is none", at)
    return character
  })
  if (!plain.isWellFormed()) throw syntax("half of a surrogate pair", at)
  return plain
}

function isBlank(octet: number | undefined): boolean {
  return octet === 0x20 || octet === 0x0a || octet === 0x0d || octet === 0x09
}

function isWordCharacter(octet: number | undefined): boolean {
  return octet !== undefined && WORD_CHARACTERS.has(octet)
}

function syntax(what: string, at: number): GatewayError {
  return new GatewayError("JSONB_SYNTAX", `json: ${what}, at ${at}`)
}

function tooLarge(what: string): GatewayError {
  return new GatewayError("JSONB_TOO_LARGE", `json: too many ${what}`)
}

const [OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET] = [0x7b, 0x7d, 0x5b, 0x5d]
const [QUOTE, BACKSLASH, COMMA, COLON] = [0x22, 0x5c, 0x2c, 0x3a]
const WORD_CHARACTERS = new Set(
  Buffer.from("-+.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "latin1"),
)
const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$/
const INTEGER = /^-?[0-9]+$/
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
}
