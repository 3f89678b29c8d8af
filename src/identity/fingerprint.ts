/** PURE. Names of keys and people that are made from digests. */

import { sha1, sha512 } from "../crypto/primitives/hash.ts"
import { p256Spki } from "../crypto/primitives/p256.ts"

const BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
const ZBASE32 = "ybndrfg8ejkmcpqxot1uwisza345h769"
/** UDF type of a SHA-2-512 content digest: its name begins with M. */
const UDF_SHA2_512 = 96
/** 17 octets with the type octet give 27 characters and a bit: UDFs of keys are shown with 140 bits, seven groups of four. */
const UDF_BITS = 140
const KEY_CONTENT_TYPE = "PKIXKey"

/**
 * The uniform data fingerprint (draft-hallambaker-mesh-udf) of a P-256 key: SHA-512 over content type and SHA-512 of its
 * SubjectPublicKeyInfo, in groups of four, as `MB5S-R4AJ-3FBT-7NHO-T26Z-2E6Y-WFH4`.
 */
export function keyFingerprint(point: Uint8Array): string {
  return contentFingerprint(KEY_CONTENT_TYPE, p256Spki(point))
}

/** The UDF content digest of octets of a media type. */
export function contentFingerprint(contentType: string, octets: Uint8Array): string {
  const digest = sha512(Buffer.concat([Buffer.from(`${contentType}:`, "utf8"), sha512(octets)]))
  const text = encodeBits(Buffer.concat([Uint8Array.of(UDF_SHA2_512), digest]), BASE32).slice(0, UDF_BITS / 5)
  return (text.match(/.{4}/g) ?? []).join("-")
}

/** The 32 characters that stand for a local part in well-known addresses: z-base-32 of SHA-1 of it in lower case. */
export function localPartHash(localPart: string): string {
  return encodeBits(sha1(new TextEncoder().encode(localPart.toLowerCase())), ZBASE32)
}

/**
 * The same in OpenPGP's Web Key Directory, which maps A to Z to lower case and nothing else (draft-koch-openpgp-webkey-service §3.1): another hash
 * only where a local part has capitals outside ASCII.
 */
export function wkdHash(localPart: string): string {
  const lower = localPart.replace(/[A-Z]/g, (letter) => letter.toLowerCase())
  return encodeBits(sha1(new TextEncoder().encode(lower)), ZBASE32)
}

/** Five bits for a character, most significant first; zero bits fill the last. */
function encodeBits(octets: Uint8Array, alphabet: string): string {
  const bits = Array.from(octets, (octet) => octet.toString(2).padStart(8, "0")).join("")
  return (bits.match(/.{1,5}/g) ?? []).map((five) => alphabet[Number.parseInt(five.padEnd(5, "0"), 2)]).join("")
}
