import { GatewayError } from "../../errors.ts"
import { digestOf, hkdfSha256, sha256 } from "../primitives/hash.ts"
import { type RsaTransport, rsaTransport, WRAP_OVERHEAD_OCTETS, wrapKey } from "../primitives/keywrap.ts"
import { P256_POINT_OCTETS, p256Ephemeral, p256ScalarFromSeed } from "../primitives/p256.ts"
import type { Certificate } from "./certificate.ts"
import { bitString, elementSize, explicit, integer, nil, octetString, oid, sequence, TAG, tagged } from "./der.ts"

/**
 * The RecipientInfo (RFC 5652 §6.2) that gives `key` to the holder of a certificate: KeyAgreeRecipientInfo with ECDH for P-256 (RFC 5753),
 * KeyTransRecipientInfo with PKCS#1 v1.5 for RSA (RFC 3370 §4.2.1). The recipient at `index` 0 gets the ephemeral scalar itself, others one derived from it.
 * @throws GatewayError CERTIFICATE_UNSUPPORTED for any other kind of key
 */
export function recipientInfo(
  recipient: Certificate,
  index: number,
  key: Uint8Array,
  ephemeral: Uint8Array,
): Uint8Array {
  if (recipient.point)
    return keyAgreement(recipient, recipient.point, ephemeralScalar(ephemeral, recipient, index), key)
  return sequence(
    integer(0),
    issuerAndSerialNumber(recipient),
    sequence(RSA_ENCRYPTION, nil()),
    octetString(transportOf(recipient).encrypt(key)),
  )
}

/** Octets of {@link recipientInfo} for a content-encryption key of 32 octets. Throws GatewayError CERTIFICATE_UNSUPPORTED. */
export function recipientInfoSize(recipient: Certificate): number {
  const identifier = issuerAndSerialNumber(recipient).length
  if (!recipient.point) {
    const version = integer(0).length
    const algorithm = sequence(RSA_ENCRYPTION, nil()).length
    return elementSize(version + identifier + algorithm + elementSize(transportOf(recipient).modulusOctets))
  }
  const keys = elementSize(elementSize(identifier + elementSize(CONTENT_KEY_OCTETS + WRAP_OVERHEAD_OCTETS)))
  return elementSize(ORIGINATOR_HEAD.length + P256_POINT_OCTETS + AGREEMENT_ALGORITHM.length + keys)
}

/** True for a recipient whose RecipientInfo has version 0 (RFC 5652 §6.2.1). */
export function hasOnlyKeyTransport(recipient: Certificate): boolean {
  return recipient.point === null
}

// RFC 5652 §6.2.2: [1] { version 3, originator [0] { [1] OriginatorPublicKey }, keyEncryptionAlgorithm, recipientEncryptedKeys }
function keyAgreement(recipient: Certificate, point: Uint8Array, scalar: Uint8Array, key: Uint8Array): Uint8Array {
  const { ephemeralPoint, sharedX } = p256Ephemeral(scalar, point)
  // SEC 1 §3.6.1, one block: SHA-256(Z || counter || SharedInfo).
  const keyEncryptionKey = digestOf("sha256").update(sharedX).update(KDF_SUFFIX).digest()
  const wrapped = octetString(wrapKey(keyEncryptionKey, key))
  return explicit(
    1,
    ORIGINATOR_HEAD,
    ephemeralPoint,
    AGREEMENT_ALGORITHM,
    sequence(sequence(issuerAndSerialNumber(recipient), wrapped)),
  )
}

/** One ephemeral key for each recipient: a shared one would tell that two blocks belong together after one was patched. */
function ephemeralScalar(ephemeral: Uint8Array, recipient: Certificate, index: number): Uint8Array {
  if (index === 0) return ephemeral
  const info = `postern/cms/1 recipient ${index}`
  return p256ScalarFromSeed(hkdfSha256(ephemeral, sha256(recipient.der), info, 48))
}

// RFC 5652 §10.2.4
function issuerAndSerialNumber(recipient: Certificate): Uint8Array {
  // The serial number's octets go out as they stood: a public authority's non-minimal one must still be found by its owner.
  return sequence(recipient.identity.issuer, tagged(TAG.integer, recipient.identity.serial))
}

function transportOf(recipient: Certificate): RsaTransport {
  const transport = rsaTransport(recipient.subjectPublicKeyInfo)
  if (transport === null) throw new GatewayError("CERTIFICATE_UNSUPPORTED", "cms: key is neither P-256 nor RSA")
  return transport
}

/** AES-256. */
const CONTENT_KEY_OCTETS = 32
const RSA_ENCRYPTION = oid("1.2.840.113549.1.1.1")
const AES256_WRAP = sequence(oid("2.16.840.1.101.3.4.1.45"))
/** dhSinglePass-stdDH-sha256kdf-scheme with aes256-wrap (RFC 5753 §7.1.4). */
const AGREEMENT_ALGORITHM = sequence(oid("1.3.132.1.11.1"), AES256_WRAP)
/** RFC 5753 §7.2 ECC-CMS-SharedInfo: keyInfo, no entityUInfo, suppPubInfo [2] = 256 bits; before it the counter of the KDF. */
const KDF_SUFFIX = Buffer.concat([
  Uint8Array.of(0, 0, 0, 1),
  sequence(AES256_WRAP, explicit(2, octetString(Uint8Array.of(0, 0, 1, 0)))),
])
/** Version 3 and the originator's key up to its point: id-ecPublicKey without parameters, as OpenSSL and NSS write it (RFC 5753 §3.1.1 allows both). */
const ORIGINATOR_HEAD = originatorHead()

function originatorHead(): Uint8Array {
  const whole = Buffer.concat([
    integer(3),
    explicit(0, explicit(1, sequence(oid("1.2.840.10045.2.1")), bitString(new Uint8Array(P256_POINT_OCTETS)))),
  ])
  return whole.subarray(0, whole.length - P256_POINT_OCTETS)
}
