import { GatewayError } from "../../errors.ts"
import { sha512 } from "../primitives/hash.ts"
import { base32Decode, base32Encode } from "./base32.ts"
import { grouped, UDF_TYPE } from "./udf.ts"

/** A fingerprint as it was presented in 2015 and 2016: SHA-2-512, in groups of five. */
export interface Udf2016 {
  /** Upper case, groups of five. */
  readonly text: string
  /** Whole octets of the digest; the last of 150 bits is none of them, see {@link udf2016}. */
  readonly digest: Uint8Array
}

/** What a key is hashed as: its SubjectPublicKeyInfo as in certificates (RSA with NULL parameters). */
export const KEY_CONTENT_TYPE_2016 = "application/x509-keyinfo"

/**
 * The fingerprint of 2016: 96 || SHA-512(contentType ':' SHA-512(content)), 125 bits (five groups) or 150 (six).
 * What the octet that is cut off has left are its *low* bits, so that the last character of 125 bits, and the last two of 150, are no prefix of a longer one.
 */
export function udf2016(content: Uint8Array, contentType: string, bits: 125 | 150): string {
  const digest = sha512(Buffer.concat([Buffer.from(`${contentType}:`), sha512(content)]))
  const octets = Uint8Array.of(UDF_TYPE.digestSha2, ...digest.subarray(0, Math.ceil(bits / 8) - 1))
  const dropped = 8 - (bits % 8)
  octets[octets.length - 1] = (octets[octets.length - 1] ?? 0) << dropped
  return grouped(base32Encode(octets).slice(0, bits / 5), 5)
}

/**
 * Reads the form of 2016, to be compared with {@link udf2016} as text. It is known by its groups of five.
 * @throws GatewayError UDF_MALFORMED
 */
export function parseUdf2016(text: string): Udf2016 {
  if (!FORM.test(text)) throw malformed("is not of five or six groups of five")
  const canonical = text.toUpperCase()
  const octets = base32Decode(canonical.replaceAll("-", ""))?.octets
  if (octets?.[0] !== UDF_TYPE.digestSha2) throw malformed("is no digest with SHA-2")
  return { text: canonical, digest: octets.subarray(1) }
}

function malformed(what: string): GatewayError {
  return new GatewayError("UDF_MALFORMED", `udf of 2016: ${what}`)
}

const FORM = /^[A-Za-z2-7]{5}(?:-[A-Za-z2-7]{5}){4,5}$/
