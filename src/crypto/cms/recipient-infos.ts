import { unwrapKey } from "../primitives/keywrap.ts"
import { type KdfHash, x963Kdf } from "../primitives/opening.ts"
import { p256SharedX } from "../primitives/p256.ts"
import { malformed, membersOf, type Node, oidHex, valueOctets } from "./ber.ts"
import type { CertificateIdentity } from "./certificate.ts"
import { TAG, tagged } from "./der.ts"

/** A key that may open a message: the device's, the account's where its keyring is, or that of a certificate which the gateway made. */
export interface OpeningKey {
  readonly identity: CertificateIdentity
  /** P-256 scalar. */
  readonly scalar: Uint8Array
}

/** Whose certificate a RecipientInfo names (RFC 5652 §6.2.1, RecipientIdentifier). */
export type Addressee =
  /** DER of the issuer's Name, and the content octets of the serial number. */
  | { readonly kind: "issuer"; readonly issuer: Uint8Array; readonly serial: Uint8Array }
  | { readonly kind: "key"; readonly keyIdentifier: Uint8Array }

/**
 * Everybody whom the RecipientInfos (BER of the whole SET) name by a certificate: key transport and key agreement.
 * @throws GatewayError DER_SYNTAX, CMS_MALFORMED
 */
export function addressees(recipientInfos: Uint8Array): readonly Addressee[] {
  const found: Addressee[] = []
  for (const info of membersOf(recipientInfos))
    for (const identifier of identifiersIn(info)) {
      const addressee = addresseeOf(identifier)
      if (addressee !== null) found.push(addressee)
    }
  return found
}

/**
 * The content-encryption key that P-256 key agreement gives to `key` (RFC 5652 §6.2.2, RFC 5753).
 * @returns null when no RecipientInfo is addressed to it
 * @throws GatewayError DER_SYNTAX, CMS_MALFORMED, POINT_INVALID, DECRYPTION_FAILED
 */
export function contentKeyFor(recipientInfos: Uint8Array, key: OpeningKey): Uint8Array | null {
  for (const info of membersOf(recipientInfos)) {
    const contentKey = info.tag === KEY_AGREE ? unwrapFor(info, key) : null
    if (contentKey !== null) return contentKey
  }
  return null
}

function unwrapFor(recipient: Node, key: OpeningKey): Uint8Array | null {
  const parts = recipient.children
  const originatorKey = parts.find((part) => part.tag === 0xa0)?.children.find((part) => part.tag === 0xa1)
  const point = originatorKey?.children[1]
  const ukm = parts.find((part) => part.tag === 0xa1)?.children[0]
  const [algorithm, encryptedKeys] = parts.filter((part) => part.tag === TAG.sequence)
  const [scheme, wrap] = algorithm?.children ?? []
  const own = encryptedKeys?.children.find(({ children: [identifier] }) => isAddressedTo(identifier, key.identity))
  const wrapped = own?.children[1]
  if (!own) return null
  const hash = KDF_HASHES[oidHex(scheme)]
  const keyOctets = WRAP_OCTETS[oidHex(wrap?.children[0])]
  if (!point || !wrapped || !wrap || !hash || !keyOctets) throw malformed("KeyAgreeRecipientInfo")
  // ECC-CMS-SharedInfo, RFC 5753 §7.2
  const info = tagged(
    TAG.sequence,
    wrap.octets,
    ...(ukm ? [tagged(0xa0, tagged(TAG.octetString, valueOctets(ukm)))] : []),
    tagged(0xa2, tagged(TAG.octetString, new Uint8Array([0, 0, (keyOctets * 8) >> 8, (keyOctets * 8) & 0xff]))),
  )
  const shared = p256SharedX(key.scalar, valueOctets(point).subarray(1))
  return unwrapKey(x963Kdf(hash, shared, info, keyOctets), valueOctets(wrapped))
}

function isAddressedTo(identifier: Node | undefined, identity: CertificateIdentity): boolean {
  const addressee = identifier === undefined ? null : addresseeOf(identifier)
  if (addressee?.kind === "issuer")
    return same(addressee.issuer, identity.issuer) && same(addressee.serial, identity.serial)
  const { subjectKeyIdentifier } = identity
  return addressee !== null && subjectKeyIdentifier !== null && same(addressee.keyIdentifier, subjectKeyIdentifier)
}

// RFC 5652 §6.2: KeyTransRecipientInfo ::= SEQUENCE { version, rid, … }; KeyAgreeRecipientInfo ::= [1] { …, SEQUENCE OF { rid, encryptedKey } }
function identifiersIn(info: Node): readonly Node[] {
  const identifiers =
    info.tag === TAG.sequence
      ? [info.children[1]]
      : info.tag === KEY_AGREE
        ? (info.children.findLast((part) => part.tag === TAG.sequence)?.children ?? []).map((key) => key.children[0])
        : []
  return identifiers.filter((identifier) => identifier !== undefined)
}

// IssuerAndSerialNumber, or [0]: SubjectKeyIdentifier in key transport, RecipientKeyIdentifier in key agreement.
function addresseeOf({ tag, content, children }: Node): Addressee | null {
  const [first, second] = children
  if (tag === TAG.sequence && first !== undefined && second?.tag === TAG.integer)
    return { kind: "issuer", issuer: first.octets, serial: valueOctets(second) }
  if (tag === 0x80) return { kind: "key", keyIdentifier: content }
  return tag === 0xa0 && first !== undefined ? { kind: "key", keyIdentifier: valueOctets(first) } : null
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

const KEY_AGREE = 0xa1
// Content octets of the object identifiers: RFC 5753 §7.1.4, RFC 3565.
const KDF_HASHES: Readonly<Record<string, KdfHash>> = {
  "2b81051086483f0002": "sha1",
  "2b81040b00": "sha224",
  "2b81040b01": "sha256",
  "2b81040b02": "sha384",
  "2b81040b03": "sha512",
  "2b8104010b00": "sha224",
  "2b8104010b01": "sha256",
  "2b8104010b02": "sha384",
  "2b8104010b03": "sha512",
}
const WRAP_OCTETS: Readonly<Record<string, number>> = {
  "608648016503040105": 16,
  "608648016503040119": 24,
  "60864801650304012d": 32,
}
