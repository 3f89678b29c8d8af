import { GatewayError } from "../../errors.ts"

/** Base64url without padding (RFC 4648 §5). */
export function base64UrlEncode(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString("base64url")
}

/**
 * Decodes base64url without padding. Line breaks and blanks are passed over: the Mesh's reference code writes them into long values.
 * @returns null when it is not base64url, or not the one encoding of its octets
 */
export function base64UrlDecode(text: string): Uint8Array | null {
  const plain = ALPHABET_ONLY.test(text) ? text : text.replace(BLANKS, "")
  if (!ALPHABET_ONLY.test(plain) || plain.length % 4 === 1) return null
  if (leftoverBits(plain) !== 0) return null
  return new Uint8Array(Buffer.from(plain, "base64url"))
}

/** Encodes in pieces; what comes out, joined, is one base64url text. */
export class Base64UrlEncoder {
  /** Octets that make no group of three yet. */
  #rest: Uint8Array = new Uint8Array(0)

  update(octets: Uint8Array): Uint8Array {
    const all = this.#rest.length === 0 ? octets : Buffer.concat([this.#rest, octets])
    const whole = all.length - (all.length % 3)
    this.#rest = new Uint8Array(all.subarray(whole))
    return asciiOctets(base64UrlEncode(all.subarray(0, whole)))
  }

  final(): Uint8Array {
    return asciiOctets(base64UrlEncode(this.#rest))
  }
}

/** Decodes in pieces, as {@link base64UrlDecode}. */
export class Base64UrlDecoder {
  /** Characters that make no group of four yet. */
  #rest = ""

  /** @throws GatewayError JSONB_TYPE */
  update(characters: Uint8Array): Uint8Array {
    const text = this.#rest + withoutBlanks(characters)
    const whole = text.length - (text.length % 4)
    this.#rest = text.slice(whole)
    return whole === 0 ? NOTHING : Buffer.from(text.slice(0, whole), "base64url")
  }

  /** @throws GatewayError JSONB_TYPE */
  final(): Uint8Array {
    const octets = base64UrlDecode(this.#rest)
    if (octets === null) throw notBase64Url()
    return octets
  }
}

function withoutBlanks(characters: Uint8Array): string {
  const text = Buffer.from(characters.buffer, characters.byteOffset, characters.length).toString("latin1")
  if (ALPHABET_ONLY.test(text)) return text
  const plain = text.replace(BLANKS, "")
  if (!ALPHABET_ONLY.test(plain)) throw notBase64Url()
  return plain
}

/** The bits of the last character that stand for no octet; those of the encoding are zero (RFC 4648 §3.5). */
function leftoverBits(text: string): number {
  const last = CHARACTERS.indexOf(text.at(-1) ?? "A")
  const rest = text.length % 4
  return rest === 2 ? last & 15 : rest === 3 ? last & 3 : 0
}

function asciiOctets(text: string): Uint8Array {
  return Buffer.from(text, "latin1")
}

function notBase64Url(): GatewayError {
  return new GatewayError("JSONB_TYPE", "json: binary is not base64url")
}

const CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
const ALPHABET_ONLY = /^[A-Za-z0-9_-]*$/
const BLANKS = /[ \t\r\n]+/g
const NOTHING = new Uint8Array(0)
