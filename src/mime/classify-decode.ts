import { GatewayError } from "../errors.ts"
import { isIdentity } from "./classify-header.ts"

/** Takes a content transfer encoding (RFC 2045 §6) off octets that come in pieces; strict, so that nothing hides between the lines. */
export interface TransferDecoder {
  /** @throws GatewayError CLEAR_CONTENT for anything the encoding does not have */
  push(octets: Uint8Array): Uint8Array
  /** What was held until the end was known. */
  end(): Uint8Array
}

/**
 * The decoder for a Content-Transfer-Encoding.
 * @throws GatewayError CLEAR_CONTENT for one that is not known
 */
export function transferDecoder(encoding: string): TransferDecoder {
  const name = encoding.toLowerCase()
  if (name === "base64") return new Base64Decoder("padding")
  if (name === "quoted-printable") return new QuotedPrintableDecoder()
  if (isIdentity(name)) return { push: (octets) => octets, end: () => NOTHING }
  throw clear("transfer encoding is not known")
}

/** Base64 in lines of any length with white space anywhere; nothing but white space behind its end. */
export class Base64Decoder implements TransferDecoder {
  /** What an equals sign where no padding is due means: a mistake, or the begin of the armor's checksum (RFC 9580 §6.1). */
  readonly #equals: "padding" | "checksum"
  /** Characters of the quantum that is not full yet, and their bits. */
  #characters = 0
  #bits = 0
  /** After the data: equals signs or checksum characters that are still to come. Null while there is data. */
  #due: { readonly kind: "padding" | "checksum"; count: number } | null = null

  constructor(equals: "padding" | "checksum") {
    this.#equals = equals
  }

  push(octets: Uint8Array): Uint8Array {
    const out = new Uint8Array(3 * Math.ceil((octets.length + this.#characters) / 4))
    let to = 0
    for (let at = 0; at < octets.length; ) {
      const quanta = this.#characters === 0 && this.#due === null ? decodeQuanta(octets, at, out, to) : 0
      at += 4 * quanta
      to += 3 * quanta
      if (at < octets.length) to += this.#character(octets[at++] ?? 0, out, to)
    }
    return out.subarray(0, to)
  }

  end(): Uint8Array {
    // Padding that is missing altogether is common, padding that is cut off is not.
    const due = this.#due?.count ?? 0
    if (due > 0 || this.#characters === 1) throw clear("base64 is cut off")
    return this.#rest()
  }

  /** One character; returns how many octets it completed. */
  #character(octet: number, out: Uint8Array, to: number): number {
    const value = VALUES[octet] ?? BAD
    if (value === BLANK) return 0
    if (this.#due !== null) return this.#afterData(octet, value, this.#due, out, to)
    if (octet === EQUALS) return this.#dataEnds(out, to)
    if (value < 0) throw clear("octet is not base64")
    this.#bits = (this.#bits << 6) | value
    this.#characters += 1
    if (this.#characters < 4) return 0
    out.set([this.#bits >> 16, (this.#bits >> 8) & 0xff, this.#bits & 0xff], to)
    this.#characters = 0
    this.#bits = 0
    return 3
  }

  #dataEnds(out: Uint8Array, to: number): number {
    if (this.#characters === 1) throw clear("base64 quantum of one character")
    if (this.#characters === 0) {
      if (this.#equals === "padding") throw clear("padding where none is due")
      this.#due = { kind: "checksum", count: CHECKSUM_CHARACTERS }
      return 0
    }
    this.#due = { kind: "padding", count: 3 - this.#characters }
    const rest = this.#rest()
    out.set(rest, to)
    return rest.length
  }

  #afterData(octet: number, value: number, due: { kind: string; count: number }, out: Uint8Array, to: number): number {
    if (due.count > 0) {
      if (due.kind === "padding" ? octet !== EQUALS : value < 0) throw clear("octet is not base64")
      due.count -= 1
      return 0
    }
    if (octet !== EQUALS || due.kind !== "padding") throw clear("octets behind the end of the base64")
    return this.#dataEnds(out, to)
  }

  /** Octets of a last quantum of two or three characters. */
  #rest(): Uint8Array {
    const octets = [this.#bits >> 4, this.#bits >> 10, this.#bits >> 2]
    const rest =
      this.#characters === 2 ? [octets[0] ?? 0] : this.#characters === 3 ? [octets[1] ?? 0, octets[2] ?? 0] : []
    this.#characters = 0
    this.#bits = 0
    return Uint8Array.from(rest)
  }
}

/** RFC 2045 §6.7, decoding only. */
class QuotedPrintableDecoder implements TransferDecoder {
  /** An equals sign and what stands behind it, until it says what it means. */
  #escape = ""

  push(octets: Uint8Array): Uint8Array {
    const out = new Uint8Array(octets.length + 1)
    let to = 0
    for (let at = 0; at < octets.length; ) {
      const equals = this.#escape === "" ? octets.indexOf(EQUALS, at) : at
      const end = equals < 0 ? octets.length : equals
      out.set(octets.subarray(at, end), to)
      to += end - at
      const decoded = end < octets.length ? this.#escaped(octets[end] ?? 0) : null
      if (decoded !== null) out[to++] = decoded
      at = end + 1
    }
    return out.subarray(0, to)
  }

  end(): Uint8Array {
    if (this.#escape !== "") throw clear("quoted-printable is cut off")
    return NOTHING
  }

  #escaped(octet: number): number | null {
    // Blanks between the equals sign and the line end were put there on the way.
    if (this.#escape === "=" && (octet === 32 || octet === 9)) return null
    this.#escape += String.fromCharCode(octet)
    if (/^=(?:\r|[0-9A-Fa-f])?$/.test(this.#escape)) return null
    const hex = /^=([0-9A-Fa-f]{2})$/.exec(this.#escape)?.[1]
    if (hex === undefined && !/^=\r?\n$/.test(this.#escape)) throw clear("octet is not quoted-printable")
    this.#escape = ""
    return hex === undefined ? null : Number.parseInt(hex, 16)
  }
}

/** Decodes quanta of four characters as long as nothing else stands between them; returns how many. Most of a message goes through here. */
function decodeQuanta(octets: Uint8Array, from: number, out: Uint8Array, to: number): number {
  let at = from
  for (let o = to; at + 4 <= octets.length; at += 4, o += 3) {
    const high = ((VALUES[octets[at] ?? 0] ?? BAD) << 18) | ((VALUES[octets[at + 1] ?? 0] ?? BAD) << 12)
    const bits = high | ((VALUES[octets[at + 2] ?? 0] ?? BAD) << 6) | (VALUES[octets[at + 3] ?? 0] ?? BAD)
    // White space, padding and mistakes are negative.
    if (bits < 0) break
    out[o] = bits >> 16
    out[o + 1] = bits >> 8
    out[o + 2] = bits
  }
  return (at - from) / 4
}

function clear(what: string): GatewayError {
  return new GatewayError("CLEAR_CONTENT", `decode: ${what}`)
}

const NOTHING = new Uint8Array(0)
const EQUALS = 61
/** RFC 9580 §6.1: CRC-24. */
const CHECKSUM_CHARACTERS = 4
const BLANK = -2
const BAD = -1
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
/** What each octet means: 0 to 63, {@link BLANK} or {@link BAD}. */
const VALUES = Int32Array.from({ length: 256 }, (_, octet) => {
  const character = String.fromCharCode(octet)
  return " \t\r\n".includes(character) ? BLANK : ALPHABET.indexOf(character)
})
