import { CONTENT_TYPE, contentUdf, digestUdf } from "./digest.ts"
import { binaryUdf, presentBits, presentUdf, UDF_TYPE } from "./udf.ts"

/** A symmetric key as a UDF of type E: whoever has the text has the key. */
export function encryptionKeyUdf(key: Uint8Array): string {
  return presentUdf(binaryUdf(UDF_TYPE.encryptionKey, key))
}

/**
 * The identifier of a symmetric key (`kid` of a base seed, PublicationId): type E over a digest of the key that has kept its own type octet,
 * cut to 140 bits. The key stands for its own digest, it is not hashed before. An identifier is compared as text and is no UDF to parse.
 */
export function symmetricKeyId(key: Uint8Array): string {
  return presentBits(binaryUdf(UDF_TYPE.encryptionKey, digestUdf(key, CONTENT_TYPE.encryptionKey)))
}

/**
 * The name under which the content behind an EARL is found (draft-hallambaker-mesh-udf §5.2): a digest over the text of its key, 280 bits.
 * The key cannot be told from it.
 */
export function contentIdentifier(keyUdf: string): string {
  return presentUdf(contentUdf(Buffer.from(keyUdf), CONTENT_TYPE.encryptionKey), DOUBLE_BITS)
}

/** Double precision: what a digest needs that somebody else chooses the content of. */
const DOUBLE_BITS = 280
