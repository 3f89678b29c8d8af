import { GatewayError } from "../../errors.ts"
import { type BerElement, berChildren, readBer } from "../recryption/ber.ts"
import { explicit, integer, oid, sequence, setOf, TAG } from "./der.ts"

/** What a SignedData carries beside what it signs. */
export interface CertificateBag {
  /** DER, as they stand. */
  readonly certificates: readonly Uint8Array[]
  /** DER of SMIMECapabilities (RFC 8551 §2.5.2) among the signed attributes of its first signer, not verified; null: none. */
  readonly capabilities: Uint8Array | null
}

/**
 * Reads the certificates of a ContentInfo with SignedData (RFC 5652 §5.1), DER or BER. Nothing is verified: it is only how certificates are carried, in
 * LDAP's userSMIMECertificate (RFC 2798 §2.8) and in "certs-only" files (RFC 8551 §3.8).
 * @throws GatewayError DER_SYNTAX, CMS_MALFORMED
 */
export function readCertificateBag(octets: Uint8Array): CertificateBag {
  const signedData = signedDataOf(octets)
  const fields = berChildren(octets, signedData)
  const certificates = fields.find(({ tag }) => tag === CERTIFICATES)
  const signers = fields.at(-1)
  if (signers?.tag !== TAG.set) throw malformed("no signerInfos")
  const [signer] = berChildren(octets, signers)
  return {
    certificates: certificates === undefined ? [] : x509Of(octets, certificates),
    capabilities: signer === undefined ? null : capabilitiesOf(octets, signer),
  }
}

/** SignedData without content and signers, "certs-only". DER. */
export function writeCertificateBag(certificates: readonly Uint8Array[]): Uint8Array {
  // RFC 5652 §5.1: version 1, no digest algorithms, no signers; a SET OF is in order (X.690 §11.6).
  const inOrder = certificates.toSorted((a, b) => Buffer.compare(a, b))
  const signedData = sequence(integer(1), setOf(), sequence(DATA), explicit(0, ...inOrder), setOf())
  return sequence(SIGNED_DATA, explicit(0, signedData))
}

// ContentInfo ::= SEQUENCE { contentType OBJECT IDENTIFIER, content [0] EXPLICIT SignedData }
function signedDataOf(octets: Uint8Array): BerElement {
  const outer = readBer(octets, 0, octets.length)
  if (outer?.tag !== TAG.sequence || outer.end !== octets.length) throw malformed("no ContentInfo")
  const [type, content] = berChildren(octets, outer)
  if (type === undefined || !isOid(octets, type, SIGNED_DATA) || content?.tag !== EXPLICIT)
    throw malformed("no SignedData")
  const [signedData] = berChildren(octets, content)
  if (signedData?.tag !== TAG.sequence) throw malformed("no SignedData")
  return signedData
}

/** CertificateChoices: those that are no X.509 certificate are left out. */
function x509Of(octets: Uint8Array, certificates: BerElement): readonly Uint8Array[] {
  return berChildren(octets, certificates)
    .filter(({ tag }) => tag === TAG.sequence)
    .map(({ start, end }) => octets.subarray(start, end))
}

function capabilitiesOf(octets: Uint8Array, signer: BerElement): Uint8Array | null {
  const attributes = berChildren(octets, signer).find(({ tag }) => tag === SIGNED_ATTRIBUTES)
  if (attributes === undefined) return null
  for (const attribute of berChildren(octets, attributes)) {
    const [type, values] = berChildren(octets, attribute)
    if (type === undefined || values === undefined || !isOid(octets, type, CAPABILITIES)) continue
    const [value] = berChildren(octets, values)
    return value === undefined ? null : octets.subarray(value.start, value.end)
  }
  return null
}

function isOid(octets: Uint8Array, { start, end }: BerElement, wanted: Uint8Array): boolean {
  return Buffer.compare(octets.subarray(start, end), wanted) === 0
}

function malformed(what: string): GatewayError {
  return new GatewayError("CMS_MALFORMED", `certificates: ${what}`)
}

const DATA = oid("1.2.840.113549.1.7.1")
const SIGNED_DATA = oid("1.2.840.113549.1.7.2")
const CAPABILITIES = oid("1.2.840.113549.1.9.15")
const EXPLICIT = 0xa0
/** SignedData's [0] and SignerInfo's [0]. */
const CERTIFICATES = 0xa0
const SIGNED_ATTRIBUTES = 0xa0
