import { GatewayError } from "../../errors.ts"
import { type BerElement, berChildren, readBer } from "../recryption/ber.ts"
import { hex, oid, TAG } from "./der.ts"

/** SignedData (RFC 5652 §5.1). Nothing in it is verified. */
export interface SignedData {
  /** OBJECT IDENTIFIER of what is signed, hexadecimal DER. */
  readonly contentType: string
  /** What is signed; null: it is not inside. */
  readonly content: Uint8Array | null
  /** DER of X.509 certificates that came along. */
  readonly certificates: readonly Uint8Array[]
  readonly signers: readonly SignerInfo[]
}

/** Hashes that are believed, of content. */
export type ContentDigest = "sha256" | "sha384" | "sha512"

/** SignerInfo (RFC 5652 §5.3). */
export interface SignerInfo {
  readonly signer: SignerIdentifier
  /** null: one that is not believed (MD5, SHA-1), or not known. */
  readonly digest: ContentDigest | null
  /** null: there are none, and the signature is over the content itself. */
  readonly attributes: SignedAttributes | null
  /** DER of the AlgorithmIdentifier. */
  readonly algorithm: Uint8Array
  readonly signature: Uint8Array
}

export type SignerIdentifier =
  | {
      readonly kind: "issuer"
      /** DER of its Name. */
      readonly issuer: Uint8Array
      /** Content octets of the INTEGER. */
      readonly serial: Uint8Array
    }
  | { readonly kind: "key"; readonly keyIdentifier: Uint8Array }

export interface SignedAttributes {
  /** What is signed: their DER as SET OF (RFC 5652 §5.4). */
  readonly signed: Uint8Array
  /** Hexadecimal DER of the OBJECT IDENTIFIER; null: not said, which RFC 5652 §11.1 forbids. */
  readonly contentType: string | null
  readonly messageDigest: Uint8Array | null
  /** DER of SMIMECapabilities (RFC 8551 §2.5.2). */
  readonly capabilities: Uint8Array | null
  /** Of the certificate that mail to the signer is to be encrypted to (RFC 8551 §2.5.3). */
  readonly encryptionKey: SignerIdentifier | null
}

/** Signers are one or two, and each costs verifications. */
export const MAX_SIGNERS = 8

/** True when a ContentInfo says that it holds SignedData, whatever that is worth. */
export function isSignedData(octets: Uint8Array): boolean {
  const head = Buffer.from(octets.subarray(0, CONTENT_INFO_HEAD_OCTETS))
  return head[0] === TAG.sequence && head.indexOf(SIGNED_DATA) >= 0
}

/**
 * Reads a ContentInfo with SignedData, DER or BER.
 * @throws GatewayError DER_SYNTAX, CMS_MALFORMED
 */
export function readSignedData(octets: Uint8Array): SignedData {
  const [, , contentInfo, ...more] = berChildren(octets, signedDataOf(octets))
  const signers = more.at(-1)
  if (contentInfo?.tag !== TAG.sequence || signers?.tag !== TAG.set) throw malformed("no content or no signerInfos")
  const infos = berChildren(octets, signers)
  if (infos.length > MAX_SIGNERS) throw malformed(`over ${MAX_SIGNERS} signers`)
  const [type, content] = berChildren(octets, contentInfo)
  if (type?.tag !== TAG.oid) throw malformed("no content type")
  const certificates = more.find(({ tag }) => tag === CONTEXT_0)
  return {
    contentType: hex(whole(octets, type)),
    content: content === undefined ? null : contentOctets(octets, content),
    certificates: certificates === undefined ? [] : x509Of(octets, certificates),
    signers: infos.map((info) => signerInfo(octets, info)),
  }
}

// ContentInfo ::= SEQUENCE { contentType OBJECT IDENTIFIER, content [0] EXPLICIT SignedData }
function signedDataOf(octets: Uint8Array): BerElement {
  const outer = readBer(octets, 0, octets.length)
  if (outer?.tag !== TAG.sequence) throw malformed("no ContentInfo")
  // Line ends that were encoded along are common; anything else is not ours to overlook.
  if (octets.subarray(outer.end).some((octet) => octet !== 10 && octet !== 13)) throw malformed("octets behind its end")
  const [type, content] = berChildren(octets, outer)
  if (type === undefined || Buffer.compare(whole(octets, type), SIGNED_DATA) !== 0 || content?.tag !== CONTEXT_0)
    throw malformed("no SignedData")
  const [signedData] = berChildren(octets, content)
  if (signedData?.tag !== TAG.sequence) throw malformed("no SignedData")
  return signedData
}

// eContent [0] EXPLICIT OCTET STRING, in one piece or in several (X.690 §8.7.3).
function contentOctets(octets: Uint8Array, explicit: BerElement): Uint8Array {
  const [string, ...more] = explicit.tag === CONTEXT_0 ? berChildren(octets, explicit) : []
  if (string === undefined || more.length > 0) throw malformed("content")
  if (string.tag === TAG.octetString) return inside(octets, string)
  if (string.tag !== CONSTRUCTED_OCTET_STRING) throw malformed("content is no OCTET STRING")
  return Buffer.concat(segments(octets, string))
}

/** Not by berChildren: a large content has more pieces than other things have elements. */
function segments(octets: Uint8Array, { contentStart, contentEnd }: BerElement): Uint8Array[] {
  const found: Uint8Array[] = []
  for (let at = contentStart; at < contentEnd; ) {
    const piece = readBer(octets, at, contentEnd)
    if (piece?.tag !== TAG.octetString) throw malformed("piece of the content")
    found.push(inside(octets, piece))
    at = piece.end
  }
  return found
}

/** CertificateChoices: those that are no X.509 certificate are left out. */
function x509Of(octets: Uint8Array, certificates: BerElement): Uint8Array[] {
  return berChildren(octets, certificates)
    .filter(({ tag }) => tag === TAG.sequence)
    .map((certificate) => whole(octets, certificate))
}

// SEQUENCE { version, sid, digestAlgorithm, [0] signedAttrs OPTIONAL, signatureAlgorithm, signature, [1] unsignedAttrs OPTIONAL }
function signerInfo(octets: Uint8Array, info: BerElement): SignerInfo {
  const [version, signer, digest, ...rest] = info.tag === TAG.sequence ? berChildren(octets, info) : []
  const attributes = rest[0]?.tag === CONTEXT_0 ? rest.shift() : undefined
  const [algorithm, signature] = rest
  if (
    version?.tag !== TAG.integer ||
    signer === undefined ||
    digest?.tag !== TAG.sequence ||
    algorithm?.tag !== TAG.sequence ||
    signature?.tag !== TAG.octetString
  )
    throw malformed("signerInfo")
  const [digestName] = berChildren(octets, digest)
  return {
    signer: identifier(octets, signer),
    digest: (digestName && DIGESTS.get(hex(whole(octets, digestName)))) ?? null,
    attributes: attributes === undefined ? null : signedAttributes(octets, attributes),
    algorithm: whole(octets, algorithm),
    signature: inside(octets, signature),
  }
}

// SignerIdentifier ::= CHOICE { IssuerAndSerialNumber, [0] SubjectKeyIdentifier }
function identifier(octets: Uint8Array, element: BerElement): SignerIdentifier {
  if (element.tag === IMPLICIT_0) return { kind: "key", keyIdentifier: inside(octets, element) }
  if (element.tag !== TAG.sequence) throw malformed("signer identifier")
  return issuerAndSerial(octets, element)
}

function issuerAndSerial(octets: Uint8Array, element: BerElement): SignerIdentifier {
  const [issuer, serial] = berChildren(octets, element)
  if (issuer?.tag !== TAG.sequence || serial?.tag !== TAG.integer) throw malformed("issuer and serial number")
  return { kind: "issuer", issuer: whole(octets, issuer), serial: inside(octets, serial) }
}

function signedAttributes(octets: Uint8Array, set: BerElement): SignedAttributes {
  const values = new Map<string, BerElement>()
  for (const attribute of berChildren(octets, set)) {
    const [type, all] = attribute.tag === TAG.sequence ? berChildren(octets, attribute) : []
    const [value, ...more] = all?.tag === TAG.set ? berChildren(octets, all) : []
    if (type?.tag !== TAG.oid) throw malformed("signed attribute")
    const name = hex(whole(octets, type))
    if (!KNOWN.includes(name)) continue
    // RFC 5652 §11, RFC 8551 §2.5: once, with one value. Of two, programs would choose differently.
    if (value === undefined || more.length > 0 || values.has(name))
      throw malformed("signed attribute with several values")
    values.set(name, value)
  }
  const [type, digest] = [values.get(CONTENT_TYPE), values.get(MESSAGE_DIGEST)]
  const [capabilities, encryptionKey] = [values.get(CAPABILITIES), values.get(ENCRYPTION_KEY)]
  return {
    signed: Buffer.concat([Uint8Array.of(TAG.set), whole(octets, set).subarray(1)]),
    contentType: type?.tag === TAG.oid ? hex(whole(octets, type)) : null,
    messageDigest: digest?.tag === TAG.octetString ? inside(octets, digest) : null,
    capabilities: capabilities ? whole(octets, capabilities) : null,
    encryptionKey: encryptionKey ? preferredKey(octets, encryptionKey) : null,
  }
}

// SMIMEEncryptionKeyPreference ::= CHOICE { [0] IssuerAndSerialNumber, [1] RecipientKeyIdentifier, [2] SubjectKeyIdentifier }, implicit
function preferredKey(octets: Uint8Array, element: BerElement): SignerIdentifier | null {
  if (element.tag === CONTEXT_0) return issuerAndSerial(octets, element)
  if (element.tag === IMPLICIT_2) return { kind: "key", keyIdentifier: inside(octets, element) }
  if (element.tag !== CONTEXT_1) return null
  const [keyIdentifier] = berChildren(octets, element)
  return keyIdentifier?.tag === TAG.octetString ? { kind: "key", keyIdentifier: inside(octets, keyIdentifier) } : null
}

function whole(octets: Uint8Array, { start, end }: BerElement): Uint8Array {
  return octets.subarray(start, end)
}

function inside(octets: Uint8Array, { contentStart, contentEnd }: BerElement): Uint8Array {
  return octets.subarray(contentStart, contentEnd)
}

function malformed(what: string): GatewayError {
  return new GatewayError("CMS_MALFORMED", `signed data: ${what}`)
}

/** Hexadecimal DER of id-data (RFC 5652 §4): MIME entities are that. */
export const ID_DATA = hex(oid("1.2.840.113549.1.7.1"))
const SIGNED_DATA = oid("1.2.840.113549.1.7.2")
/** Longest header of a ContentInfo, then the OBJECT IDENTIFIER. */
const CONTENT_INFO_HEAD_OCTETS = 32
const CONTENT_TYPE = hex(oid("1.2.840.113549.1.9.3"))
const MESSAGE_DIGEST = hex(oid("1.2.840.113549.1.9.4"))
const CAPABILITIES = hex(oid("1.2.840.113549.1.9.15"))
const ENCRYPTION_KEY = hex(oid("1.2.840.113549.1.9.16.2.11"))
const KNOWN: readonly string[] = [CONTENT_TYPE, MESSAGE_DIGEST, CAPABILITIES, ENCRYPTION_KEY]
const DIGESTS: ReadonlyMap<string, ContentDigest> = new Map([
  [hex(oid("2.16.840.1.101.3.4.2.1")), "sha256"],
  [hex(oid("2.16.840.1.101.3.4.2.2")), "sha384"],
  [hex(oid("2.16.840.1.101.3.4.2.3")), "sha512"],
])
const CONTEXT_0 = 0xa0
const CONTEXT_1 = 0xa1
const IMPLICIT_0 = 0x80
const IMPLICIT_2 = 0x82
const CONSTRUCTED_OCTET_STRING = 0x24
