import { hkdfSha512, hmacSha512, sha512 } from "../primitives/hash.ts"
import { binaryUdf, UDF_TYPE } from "./udf.ts"

/**
 * The authenticator (type A), 65 octets: commits to content without showing it to who lacks the key (draft-hallambaker-mesh-udf §3.5).
 * `key` is a UDF as presented, dashes included: it is the text that is keyed with.
 */
export function authenticatorUdf(key: string, content: Uint8Array, contentType: string): Uint8Array {
  const macKey = hkdfSha512(Buffer.from(key), "KeyedUDFMaster", "KeyedUDFExpand", 64)
  return macUdf(macKey, Buffer.concat([Buffer.from(`${contentType}:`), sha512(content)]))
}

/** HMAC-SHA-512 as type A, 65 octets, with the octets of a key: the form of PINs and of claims, unrelated to {@link authenticatorUdf}. */
export function macUdf(key: Uint8Array, octets: Uint8Array): Uint8Array {
  return binaryUdf(UDF_TYPE.authenticatorSha2, hmacSha512(key).update(octets).digest())
}
