import { GatewayError } from "../../errors.ts"
import { unwrapKey } from "../primitives/keywrap.ts"
import { aesCbcDecrypt, aesGcmDecrypt, type KdfHash, x963Kdf } from "../primitives/opening.ts"
import { p256SharedX } from "../primitives/p256.ts"
import type { CertificateIdentity } from "./certificate.ts"
import { isEndOfContents, readElement, TAG, tagged } from "./der.ts"

/** A key that may open a message: the device's, or the account's where its keyring is. */
export interface OpeningKey {
  readonly identity: CertificateIdentity
  /** P-256 scalar. */
  readonly scalar: Uint8Array
}

/**
 * Opens EnvelopedData (RFC 5652 §6) or AuthEnvelopedData (RFC 5083) that a P-256 KeyAgreeRecipientInfo addresses to `key`.
 * For the reader's side (export, demonstration): holds the message whole. The gateway itself opens nothing.
 * @returns null when no RecipientInfo is addressed to `key`
 * @throws GatewayError CMS_MALFORMED, DECRYPTION_FAILED
 */
export function openEnveloped(octets: Uint8Array, key: OpeningKey): Uint8Array | null {
  const outer = parse(octets)
  const [type, content] = outer.children
  const authenticated = hex(type) === OID_AUTH_ENVELOPED
  if (!authenticated && hex(type) !== OID_ENVELOPED) throw malformed("content type")
  const parts = content?.children[0]?.children ?? []
  const recipients = parts.find((part) => part.tag === TAG.set)
  const encrypted = parts.find((part) => part.tag === TAG.sequence)
  if (!recipients || !encrypted) throw malformed("structure")
  for (const recipient of recipients.children) {
    const contentKey = recipient.tag === 0xa1 ? unwrapFor(recipient, key) : null
    if (contentKey) return decrypt(encrypted, contentKey, authenticated, parts)
  }
  return null
}

/** KeyAgreeRecipientInfo (RFC 5652 §6.2.2): the content-encryption key, or null when it is addressed to somebody else. */
function unwrapFor(recipient: Node, key: OpeningKey): Uint8Array | null {
  const parts = recipient.children
  const originatorKey = parts.find((part) => part.tag === 0xa0)?.children.find((part) => part.tag === 0xa1)
  const point = originatorKey?.children[1]
  const ukm = parts.find((part) => part.tag === 0xa1)?.children[0]
  const [algorithm, encryptedKeys] = parts.filter((part) => part.tag === TAG.sequence)
  const [scheme, wrap] = algorithm?.children ?? []
  const own = encryptedKeys?.children.find((candidate) => addressedTo(candidate.children[0], key.identity))
  const wrapped = own?.children[1]
  if (!own) return null
  const hash = KDF_HASHES[hex(scheme)]
  const keyOctets = WRAP_OCTETS[hex(wrap?.children[0])]
  if (!point || !wrapped || !wrap || !hash || !keyOctets) throw malformed("KeyAgreeRecipientInfo")
  // ECC-CMS-SharedInfo, RFC 5753 §7.2
  const info = tagged(
    TAG.sequence,
    wrap.octets,
    ...(ukm ? [tagged(0xa0, tagged(TAG.octetString, value(ukm)))] : []),
    tagged(0xa2, tagged(TAG.octetString, new Uint8Array([0, 0, (keyOctets * 8) >> 8, (keyOctets * 8) & 0xff]))),
  )
  const shared = p256SharedX(key.scalar, value(point).subarray(1))
  return unwrapKey(x963Kdf(hash, shared, info, keyOctets), value(wrapped))
}

function addressedTo(identifier: Node | undefined, identity: CertificateIdentity): boolean {
  if (!identifier) return false
  if (identifier.tag === TAG.sequence) {
    const [issuer, serial] = identifier.children
    return same(issuer?.octets, identity.issuer) && same(serial && value(serial), identity.serial)
  }
  return (
    identity.subjectKeyIdentifier !== null &&
    same(identifier.children[0] && value(identifier.children[0]), identity.subjectKeyIdentifier)
  )
}

function decrypt(encrypted: Node, contentKey: Uint8Array, authenticated: boolean, parts: readonly Node[]): Uint8Array {
  const [, algorithm, content] = encrypted.children
  const [cipher, parameters] = algorithm?.children ?? []
  if (!cipher || !parameters || !content) throw malformed("EncryptedContentInfo")
  if (!authenticated) {
    if (!CBC.has(hex(cipher))) throw malformed("content cipher")
    return aesCbcDecrypt(contentKey, value(parameters), value(content))
  }
  const nonce = parameters.children[0]
  const tag = parts.findLast((part) => part.tag === TAG.octetString)
  if (!GCM.has(hex(cipher)) || !nonce || !tag) throw malformed("content cipher")
  // RFC 5083 §2.2: authenticated attributes are associated data, as a SET OF.
  const attributes = parts.find((part) => part.tag === 0xa1)
  const associated = attributes
    ? Buffer.concat([Uint8Array.of(TAG.set), attributes.octets.subarray(1)])
    : new Uint8Array(0)
  return aesGcmDecrypt(contentKey, value(nonce), value(content), value(tag), associated)
}

/** One BER element with what is in it. */
interface Node {
  readonly tag: number
  /** Header included. */
  readonly octets: Uint8Array
  readonly content: Uint8Array
  readonly children: readonly Node[]
}

/** CMS nests about ten deep. */
const MAX_DEPTH = 24

function parse(octets: Uint8Array): Node {
  const [node] = parseAt(octets, 0, 0)
  return node
}

function parseAt(octets: Uint8Array, offset: number, depth: number): [Node, number] {
  const element = readElement(octets, offset)
  if (!element || depth > MAX_DEPTH || (element.end !== null && element.end > octets.length)) throw malformed("BER")
  const { tag, contentStart, end } = element
  const children: Node[] = []
  let at = contentStart
  if ((tag & 0x20) !== 0)
    while (end === null ? !isEndOfContents(octets, at) : at < end) {
      const [child, next] = parseAt(octets, at, depth + 1)
      children.push(child)
      at = next
    }
  const contentEnd = end ?? at
  const behind = end ?? at + 2
  return [
    { tag, octets: octets.subarray(offset, behind), content: octets.subarray(contentStart, contentEnd), children },
    behind,
  ]
}

/** The content octets; those of a constructed string (X.690 §8.7.3) put together. */
function value(node: Node): Uint8Array {
  return (node.tag & 0x20) === 0 ? node.content : Buffer.concat(node.children.map(value))
}

function hex(node: Node | undefined): string {
  return node ? Buffer.from(node.content).toString("hex") : ""
}

function same(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && Buffer.compare(a, b) === 0
}

function malformed(what: string): GatewayError {
  return new GatewayError("CMS_MALFORMED", `cms: ${what} is malformed or not supported`)
}

// Content octets of the object identifiers: RFC 5652 §14, RFC 5083 §2.1, RFC 5753 §7.1.4, RFC 3565, RFC 5084.
const OID_ENVELOPED = "2a864886f70d010703"
const OID_AUTH_ENVELOPED = "2a864886f70d0109100117"
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
const CBC = new Set(["608648016503040102", "608648016503040116", "60864801650304012a"])
const GCM = new Set(["608648016503040106", "60864801650304011a", "60864801650304012e"])
