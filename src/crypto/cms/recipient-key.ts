import { GatewayError } from "../../errors.ts"
import { type EcCurve, ecPoint } from "../primitives/ec.ts"
import { type OaepHash, type RsaTransport, rsaTransport } from "../primitives/keywrap.ts"
import type { Certificate } from "./certificate.ts"
import { bitString, childrenOf, contentOf, explicit, nil, octetsOf, oid, readWhole, sequence, TAG } from "./der.ts"

/** Padding of key transport to RSA keys that leave it open. */
export type RsaPadding = "pkcs1v15" | "oaep"

/** The key of a certificate as something to encrypt to. */
export type RecipientKey =
  | { readonly kind: "p256"; readonly point: Uint8Array }
  | { readonly kind: "ec"; readonly curve: EcCurve; readonly point: Uint8Array }
  | { readonly kind: "rsa"; readonly transport: RsaTransport; readonly oaepHash: OaepHash | null }

/**
 * Reads the key of a certificate. A key that is named id-RSAES-OAEP is used in no other way, and with the hash that its parameters ask for (RFC 4055
 * §4.1; without parameters SHA-256); other RSA keys with `padding`, OAEP then with SHA-256.
 * @throws GatewayError CERTIFICATE_UNSUPPORTED for any other kind of key, CERTIFICATE_INVALID, POINT_INVALID
 */
export function recipientKey({ point, subjectPublicKeyInfo }: Certificate, padding: RsaPadding): RecipientKey {
  if (point) return { kind: "p256", point }
  const spki = subjectPublicKeyInfo
  const [algorithm, bits] = childrenOf(spki, readWhole(spki, 0, spki.length, TAG.sequence))
  if (algorithm === undefined || bits?.tag !== TAG.bitString) throw unsupported()
  const identifier = octetsOf(spki, algorithm)
  const key = contentOf(spki, bits).subarray(1)
  for (const [curve, written] of CURVES)
    if (equal(identifier, written)) return { kind: "ec", curve, point: ecPoint(curve, key) }
  const oaepHash = oaepHashOf(identifier)
  if (oaepHash !== null) return rsaKey(sequence(sequence(RSA_ENCRYPTION, nil()), bitString(key)), oaepHash)
  return rsaKey(spki, padding === "oaep" ? "sha256" : null)
}

function rsaKey(spki: Uint8Array, oaepHash: OaepHash | null): RecipientKey {
  const transport = rsaTransport(spki, oaepHash)
  if (transport === null) throw unsupported()
  return { kind: "rsa", transport, oaepHash }
}

// RFC 4055 §4.1: RSAES-OAEP-params ::= SEQUENCE { [0] hashFunc DEFAULT sha1, [1] maskGenFunc DEFAULT mgf1SHA1, [2] pSourceFunc DEFAULT empty }
/** @returns null for a key that is not named id-RSAES-OAEP */
function oaepHashOf(identifier: Uint8Array): OaepHash | null {
  const [name, parameters] = childrenOf(identifier, readWhole(identifier, 0, identifier.length, TAG.sequence))
  if (name === undefined || !equal(octetsOf(identifier, name), RSAES_OAEP)) return null
  if (parameters === undefined || parameters.tag === TAG.nil) return "sha256"
  const given = octetsOf(identifier, parameters)
  for (const [hash, forms] of OAEP_FORMS) if (forms.some((form) => equal(form, given))) return hash
  // Two different hashes, or a label: nobody has been seen to use them, and OpenSSL behind Node offers one hash for both.
  throw new GatewayError("CERTIFICATE_UNSUPPORTED", "cms: parameters of the RSAES-OAEP key are not supported")
}

function oaepForms(hash: Uint8Array): readonly Uint8Array[] {
  return [sequence(hash, nil()), sequence(hash)].map((identifier) => oaepParameters(identifier))
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

function unsupported(): GatewayError {
  return new GatewayError("CERTIFICATE_UNSUPPORTED", "cms: key is neither P-256, P-384, P-521 nor RSA")
}

/** RSAES-OAEP-params with one hash for the label and for MGF1. */
export function oaepParameters(hash: Uint8Array): Uint8Array {
  return sequence(explicit(0, hash), explicit(1, sequence(MGF1, hash)))
}

/** AlgorithmIdentifier of RSAES-OAEP as we write it. RFC 4055 §2.1: NULL, which everybody reads. */
export function oaepAlgorithm(hash: OaepHash): Uint8Array {
  const parameters = hash === "sha1" ? sequence() : oaepParameters(sequence(HASHES[hash], nil()))
  return sequence(RSAES_OAEP, parameters)
}

const EC_PUBLIC_KEY = oid("1.2.840.10045.2.1")
/** RFC 5480 §2.1.1. */
const CURVES: readonly (readonly [curve: EcCurve, identifier: Uint8Array])[] = [
  ["P-384", sequence(EC_PUBLIC_KEY, oid("1.3.132.0.34"))],
  ["P-521", sequence(EC_PUBLIC_KEY, oid("1.3.132.0.35"))],
]
const RSA_ENCRYPTION = oid("1.2.840.113549.1.1.1")
const RSAES_OAEP = oid("1.2.840.113549.1.1.7")
const MGF1 = oid("1.2.840.113549.1.1.8")
const HASHES = {
  sha256: oid("2.16.840.1.101.3.4.2.1"),
  sha384: oid("2.16.840.1.101.3.4.2.2"),
  sha512: oid("2.16.840.1.101.3.4.2.3"),
} as const
const SHA1 = oid("1.3.14.3.2.26")
const OAEP_FORMS: readonly (readonly [hash: OaepHash, forms: readonly Uint8Array[]])[] = [
  ["sha256", oaepForms(HASHES.sha256)],
  ["sha384", oaepForms(HASHES.sha384)],
  ["sha512", oaepForms(HASHES.sha512)],
  // All defaults, and the same written out.
  ["sha1", [sequence(), ...oaepForms(SHA1)]],
]
