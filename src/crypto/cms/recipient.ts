import { GatewayError } from "../../errors.ts"
import { type EcCurve, ecEphemeral, ecPointOctets } from "../primitives/ec.ts"
import { digest, hkdfSha256, sha256 } from "../primitives/hash.ts"
import { WRAP_OVERHEAD_OCTETS, wrapKey } from "../primitives/keywrap.ts"
import { P256_POINT_OCTETS, p256Ephemeral, p256ScalarFromSeed } from "../primitives/p256.ts"
import type { Certificate } from "./certificate.ts"
import { bitString, elementSize, explicit, integer, nil, octetString, oid, sequence, TAG, tagged } from "./der.ts"
import { oaepAlgorithm, type RecipientKey, type RsaPadding, recipientKey } from "./recipient-key.ts"

/** Whom an envelope is for: the key of a certificate, kept ready for many envelopes, and what tells it from others. */
export interface CmsRecipient {
  readonly key: RecipientKey
  /** DER of IssuerAndSerialNumber (RFC 5652 §10.2.4). */
  readonly identifier: Uint8Array
  /** SHA-256 of the certificate. */
  readonly digest: Uint8Array
}

/**
 * The holder of a certificate as somebody to encrypt to. `padding`: for RSA keys that leave it open.
 * @throws GatewayError CERTIFICATE_UNSUPPORTED for a key that is neither on P-256, P-384 or P-521 nor RSA; CERTIFICATE_INVALID, POINT_INVALID
 */
export function cmsRecipient(certificate: Certificate, padding: RsaPadding = "pkcs1v15"): CmsRecipient {
  return {
    key: recipientKey(certificate, padding),
    identifier: issuerAndSerialNumber(certificate),
    digest: sha256(certificate.der),
  }
}

/** What the recipients of one envelope have in common. */
export interface Wrapping {
  /** The content-encryption key. */
  readonly key: Uint8Array
  /** P-256 scalar of the first recipient's ephemeral key; those of others are derived from it. */
  readonly ephemeral: Uint8Array
}

/**
 * The RecipientInfo (RFC 5652 §6.2) that gives the content-encryption key to the holder of a certificate: KeyAgreeRecipientInfo with ECDH for P-256,
 * P-384 and P-521 (RFC 5753), KeyTransRecipientInfo for RSA, with PKCS#1 v1.5 (RFC 3370 §4.2.1) or OAEP (RFC 3560). `index`: its place in the envelope.
 */
export function recipientInfo(recipient: CmsRecipient, index: number, wrapping: Wrapping): Uint8Array {
  const { key, identifier } = recipient
  if (key.kind === "rsa")
    return sequence(integer(0), identifier, transportAlgorithm(key), octetString(key.transport.encrypt(wrapping.key)))
  const { ephemeralPoint, sharedX } = agree(recipient, index, key, wrapping.ephemeral)
  return agreeInfo(recipient, { ephemeralPoint, wrappedKey: wrapAgreed(suiteOf(key), sharedX, wrapping.key) })
}

/** A content-encryption key under what was agreed with a recipient: all that a KeyAgreeRecipientInfo has beside names. */
export interface AgreedKey {
  /** The sender's ephemeral point, uncompressed. */
  readonly ephemeralPoint: Uint8Array
  /** The content-encryption key in AES-256 key wrap (RFC 3394). */
  readonly wrappedKey: Uint8Array
}

/**
 * The content-encryption key wrapped for a point of P-256 (RFC 5753 §3.1); `ephemeral`: a scalar.
 * @throws GatewayError SCALAR_INVALID, POINT_INVALID
 */
export function p256AgreedKey(point: Uint8Array, ephemeral: Uint8Array, key: Uint8Array): AgreedKey {
  const { ephemeralPoint, sharedX } = p256Ephemeral(ephemeral, point)
  return { ephemeralPoint, wrappedKey: wrapAgreed(SUITES["P-256"], sharedX, key) }
}

/**
 * The KeyAgreeRecipientInfo of {@link recipientInfo}, around a key that was agreed with the recipient wherever.
 * @throws GatewayError CERTIFICATE_UNSUPPORTED for an RSA key
 */
export function agreeInfo({ key, identifier }: CmsRecipient, { ephemeralPoint, wrappedKey }: AgreedKey): Uint8Array {
  if (key.kind === "rsa") throw new GatewayError("CERTIFICATE_UNSUPPORTED", "cms: no key can be agreed with RSA")
  const { originatorHead, algorithm } = suiteOf(key)
  const keys = sequence(sequence(identifier, octetString(wrappedKey)))
  // RFC 5652 §6.2.2: [1] { version 3, originator [0] { [1] OriginatorPublicKey }, keyEncryptionAlgorithm, recipientEncryptedKeys }
  return explicit(1, originatorHead, ephemeralPoint, algorithm, keys)
}

function wrapAgreed(suite: Suite, sharedX: Uint8Array, key: Uint8Array): Uint8Array {
  // SEC 1 §3.6.1, one block: Hash(Z || counter || SharedInfo), of which AES-256 takes 32 octets.
  return wrapKey(digest(suite.hash, sharedX, KDF_SUFFIX).subarray(0, 32), key)
}

/** Octets of {@link recipientInfo} for a content-encryption key of `keyOctets`. */
export function recipientInfoSize({ key, identifier }: CmsRecipient, keyOctets: number): number {
  if (key.kind === "rsa") {
    const encrypted = elementSize(key.transport.modulusOctets)
    return elementSize(integer(0).length + identifier.length + transportAlgorithm(key).length + encrypted)
  }
  const { originatorHead, algorithm, pointOctets } = suiteOf(key)
  const keys = elementSize(elementSize(identifier.length + elementSize(keyOctets + WRAP_OVERHEAD_OCTETS)))
  return elementSize(originatorHead.length + pointOctets + algorithm.length + keys)
}

/** True for a recipient whose RecipientInfo has version 0 (RFC 5652 §6.2.1). */
export function hasOnlyKeyTransport({ key }: CmsRecipient): boolean {
  return key.kind === "rsa"
}

/** One ephemeral key for each recipient: a shared one would tell that two blocks belong together after one was patched. */
function agree(
  recipient: CmsRecipient,
  index: number,
  key: Exclude<RecipientKey, { kind: "rsa" }>,
  ephemeral: Uint8Array,
): { readonly ephemeralPoint: Uint8Array; readonly sharedX: Uint8Array } {
  const secret = (octets: number): Uint8Array =>
    hkdfSha256(ephemeral, recipient.digest, `postern/cms/1 recipient ${index}`, octets)
  if (key.kind === "ec") return ecEphemeral(key.curve, secret, key.point)
  return p256Ephemeral(index === 0 ? ephemeral : p256ScalarFromSeed(secret(48)), key.point)
}

function transportAlgorithm({ oaepHash }: RecipientKey & { kind: "rsa" }): Uint8Array {
  return oaepHash === null ? sequence(RSA_ENCRYPTION, nil()) : oaepAlgorithm(oaepHash)
}

// RFC 5652 §10.2.4
function issuerAndSerialNumber({ identity }: Certificate): Uint8Array {
  // The serial number's octets go out as they stood: a public authority's non-minimal one must still be found by its owner.
  return sequence(identity.issuer, tagged(TAG.integer, identity.serial))
}

/** What a curve's KeyAgreeRecipientInfo is made of. */
interface Suite {
  readonly hash: "sha256" | "sha384" | "sha512"
  /** Version 3 and the originator's key up to its point: id-ecPublicKey without parameters, as OpenSSL and NSS write it (RFC 5753 §3.1.1 allows both). */
  readonly originatorHead: Uint8Array
  readonly pointOctets: number
  /** dhSinglePass-stdDH with the hash's KDF and aes256-wrap (RFC 5753 §7.1.4). */
  readonly algorithm: Uint8Array
}

function suiteOf(key: RecipientKey & { kind: "p256" | "ec" }): Suite {
  return SUITES[key.kind === "p256" ? "P-256" : key.curve]
}

function suite(hash: Suite["hash"], scheme: string, pointOctets: number): Suite {
  const originator = explicit(
    0,
    explicit(1, sequence(oid("1.2.840.10045.2.1")), bitString(new Uint8Array(pointOctets))),
  )
  const whole = Buffer.concat([integer(3), originator])
  const originatorHead = whole.subarray(0, whole.length - pointOctets)
  return { hash, originatorHead, pointOctets, algorithm: sequence(oid(scheme), AES256_WRAP) }
}

const RSA_ENCRYPTION = oid("1.2.840.113549.1.1.1")
const AES256_WRAP = sequence(oid("2.16.840.1.101.3.4.1.45"))
/** RFC 5753 §7.2 ECC-CMS-SharedInfo: keyInfo, no entityUInfo, suppPubInfo [2] = 256 bits; before it the counter of the KDF. */
const KDF_SUFFIX = Buffer.concat([
  Uint8Array.of(0, 0, 0, 1),
  sequence(AES256_WRAP, explicit(2, octetString(Uint8Array.of(0, 0, 1, 0)))),
])
/** RFC 5753 §8: the hash that fits the curve. OpenSSL and NSS read each with each. */
const SUITES: Readonly<Record<"P-256" | EcCurve, Suite>> = {
  "P-256": suite("sha256", "1.3.132.1.11.1", P256_POINT_OCTETS),
  "P-384": suite("sha384", "1.3.132.1.11.2", ecPointOctets("P-384")),
  "P-521": suite("sha512", "1.3.132.1.11.3", ecPointOctets("P-521")),
}
