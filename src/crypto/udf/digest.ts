import { sha3Of512Bits, sha512 } from "../primitives/hash.ts"
import { base32Encode } from "./base32.ts"
import { binaryUdf, UDF_TYPE, type Udf } from "./udf.ts"

/** Of the digest types M and K. */
export type UdfHash = "SHA-2-512" | "SHA-3-512"

/**
 * The strings that are hashed before what is identified. For keys and lists they are the *names* of the library's constants, not the media
 * types that the drafts print: every published fingerprint says so.
 */
export const CONTENT_TYPE = {
  key: "PKIXKey",
  encryptionKey: "UDFEncryption",
  list: "UdfList",
  /** A message's envelope, and the answer to a message: these are as printed. */
  envelopeId: "application/mmm/envelopeid",
  responseId: "application/mmm/responseid",
} as const

/**
 * The content digest (types M and K), 65 octets: type || H(contentType ':' H(content)). Present it with {@link presentUdf}.
 * The type counts the zero bits at the *end* of the digest, and the data begins with its first octet; the draft's text says otherwise
 * (§3.4), its examples and the library agree with this.
 */
export function contentUdf(content: Uint8Array, contentType: string, hash: UdfHash = "SHA-2-512"): Uint8Array {
  return digestUdf(HASHES[hash](content), contentType, hash)
}

/** The content digest of what has been hashed already, or of what stands in its place: a symmetric key, a list. */
export function digestUdf(contentDigest: Uint8Array, contentType: string, hash: UdfHash = "SHA-2-512"): Uint8Array {
  const digest = HASHES[hash](Buffer.concat([Buffer.from(`${contentType}:`), contentDigest]))
  return binaryUdf(TYPES[hash] + compression(digest), digest)
}

/**
 * The UDF of a list of UDFs, 66 octets: what names a profile in generation 2024, from its binary root fingerprints (65 octets each). The
 * type octet stands there twice, so that presented they all begin with `MBQ`.
 */
export function listUdf(udfs: readonly Uint8Array[]): Uint8Array {
  const listed = udfs.flatMap((udf) => [Uint8Array.of(udf.length), udf])
  return binaryUdf(UDF_TYPE.digestSha2, digestUdf(sha512(Buffer.concat(listed)), CONTENT_TYPE.list))
}

/** True when `presented` is the binary UDF, to as many bits as were presented, of which there must be `minimumBits`. */
export function presents(presented: Udf, binary: Uint8Array, minimumBits = 100): boolean {
  const characters = presented.text.replaceAll("-", "")
  const octets = Math.floor((characters.length * 5) / 8)
  if (octets > binary.length || characters.length * 5 < minimumBits) return false
  const full = base32Encode(binary)
  // The second form ends with a whole octet.
  return full.startsWith(characters) || characters === base32Encode(binary.subarray(0, octets))
}

/** How many steps of zero bits the digest ends with: 20, 30, 40, 50. */
function compression(digest: Uint8Array): number {
  let zeros = 0
  for (let at = digest.length - 1; at >= 0 && zeros <= 50; at--) {
    const octet = digest[at] ?? 0
    zeros += octet === 0 ? 8 : 31 - Math.clz32(octet & -octet)
    if (octet !== 0) break
  }
  return zeros < 20 ? 0 : Math.min(4, Math.floor(zeros / 10) - 1)
}

const HASHES = { "SHA-2-512": sha512, "SHA-3-512": sha3Of512Bits }
const TYPES = { "SHA-2-512": UDF_TYPE.digestSha2, "SHA-3-512": UDF_TYPE.digestSha3 }
