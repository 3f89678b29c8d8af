import { bitString, integer, nil, octetString, oid, sequence } from "../cms/der.ts"
import { CONTENT_TYPE, contentUdf, presents } from "../udf/digest.ts"
import { binaryUdf, presentUdf, UDF_TYPE, type Udf } from "../udf/udf.ts"
import type { Generation, NistCurve, PublicKey } from "./key.ts"

/** Whatever key of others a fingerprint may name. NIST: the uncompressed point. RSA: big-endian numbers, as in a JWK. */
export type FingerprintedKey =
  | PublicKey
  | { readonly curve: NistCurve; readonly octets: Uint8Array }
  | { readonly curve: "RSA"; readonly modulus: Uint8Array; readonly exponent: Uint8Array }

/**
 * The DER that a key is known by, in the Mesh's own form of SubjectPublicKeyInfo: the key's octets stand in an OCTET STRING within the BIT STRING,
 * which RFC 8410 does not have.
 *
 *     2022   SEQUENCE { SEQUENCE { OID of the curve, NULL }, BIT STRING { OCTET STRING } }
 *     2024   the same without NULL, and with the OID of Ed25519 for every curve of RFC 7748 and RFC 8032
 *
 * RSA: RSAPublicKey in the BIT STRING, NULL in 2022 only. NIST curves: id-ecPublicKey with the curve; nothing published shows their form.
 */
export function keyInfo(key: FingerprintedKey, generation: Generation): Uint8Array {
  const parameters = generation === 2022 ? [nil()] : []
  switch (key.curve) {
    case "RSA":
      return info([oid(RSA_ENCRYPTION), ...parameters], sequence(integer(key.modulus), integer(key.exponent)))
    case "P-256":
    case "P-384":
    case "P-521":
      return info([oid(EC_PUBLIC_KEY), oid(NIST_CURVES[key.curve])], octetString(key.octets))
    default: {
      const curve = generation === 2022 ? key.curve : "Ed25519"
      return info([oid(CFRG_CURVES[curve]), ...parameters], octetString(key.octets))
    }
  }
}

/** The fingerprint as a binary UDF, 65 octets. Generation 2022 keeps 64 of them in lists and witnesses. */
export function keyFingerprint(key: FingerprintedKey, generation: Generation): Uint8Array {
  return contentUdf(keyInfo(key, generation), CONTENT_TYPE.key)
}

/** The fingerprint as `KeyData.Udf` has it: 140 bits. */
export function keyUdf(key: FingerprintedKey, generation: Generation): string {
  return presentUdf(keyFingerprint(key, generation))
}

/** The key itself as a UDF (type O). */
export function oidSequenceUdf(key: FingerprintedKey, generation: Generation): string {
  return presentUdf(binaryUdf(UDF_TYPE.oidSequence, keyInfo(key, generation)))
}

/**
 * Which generation's fingerprint of the key this is.
 * @returns null when it is of another key, or has fewer than 128 bits: the key must not be used under that name
 */
export function fingerprintGeneration(fingerprint: Udf, key: FingerprintedKey): Generation | null {
  return GENERATIONS.find((generation) => presents(fingerprint, keyFingerprint(key, generation), MIN_KEY_BITS)) ?? null
}

function info(algorithm: readonly Uint8Array[], key: Uint8Array): Uint8Array {
  return sequence(sequence(...algorithm), bitString(key))
}

/** As the library (MinimumBits). */
const MIN_KEY_BITS = 128
const GENERATIONS: readonly Generation[] = [2024, 2022]
const RSA_ENCRYPTION = "1.2.840.113549.1.1.1"
/** RFC 5480 §2.1.1, RFC 8410 §3. */
const EC_PUBLIC_KEY = "1.2.840.10045.2.1"
const NIST_CURVES = { "P-256": "1.2.840.10045.3.1.7", "P-384": "1.3.132.0.34", "P-521": "1.3.132.0.35" } as const
const CFRG_CURVES = {
  X25519: "1.3.101.110",
  X448: "1.3.101.111",
  Ed25519: "1.3.101.112",
  Ed448: "1.3.101.113",
} as const
