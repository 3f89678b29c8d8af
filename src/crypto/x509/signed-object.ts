import { GatewayError } from "../../errors.ts"
import { childrenOf, contentOf, hex, octetsOf, oid, readWhole, TAG, type WholeElement } from "../cms/der.ts"
import { isSignedBy, type SignatureHash, type SignatureScheme } from "../primitives/signature-check.ts"

/** What certificates, CRLs and OCSP answers have in common: SEQUENCE { what is signed, AlgorithmIdentifier, BIT STRING, … }. */
export interface SignedObject {
  /** DER of what is signed. */
  readonly content: Uint8Array
  /** DER of the AlgorithmIdentifier. */
  readonly algorithm: Uint8Array
  readonly signature: Uint8Array
  /** DER of what stands behind the signature (certificates of an OCSP answer). */
  readonly rest: readonly Uint8Array[]
}

/** @throws GatewayError DER_SYNTAX, CERTIFICATE_INVALID */
export function readSignedObject(der: Uint8Array): SignedObject {
  const whole = readWhole(der, 0, der.length, TAG.sequence)
  const [content, algorithm, signature, ...rest] = childrenOf(der, whole)
  if (content?.tag !== TAG.sequence || algorithm?.tag !== TAG.sequence || signature?.tag !== TAG.bitString)
    throw new GatewayError("CERTIFICATE_INVALID", "x509: not content, algorithm and signature")
  const bits = contentOf(der, signature)
  if (bits[0] !== 0 || whole.end !== der.length)
    throw new GatewayError("CERTIFICATE_INVALID", "x509: signature or end of a signed object")
  return {
    content: octetsOf(der, content),
    algorithm: octetsOf(der, algorithm),
    signature: bits.subarray(1),
    rest: rest.map((element) => octetsOf(der, element)),
  }
}

/** The scheme of an AlgorithmIdentifier, or why signatures made by it do not count. */
export type KnownScheme = { readonly kind: "scheme"; readonly scheme: SignatureScheme } | Refused
export interface Refused {
  readonly kind: "refused"
  /** For people, to stand behind "signed with". */
  readonly name: string
}

/** Whether `object` is signed by the key in `subjectPublicKeyInfo`. */
export function isObjectSignedBy(
  object: SignedObject,
  scheme: SignatureScheme,
  subjectPublicKeyInfo: Uint8Array,
): boolean {
  return isSignedBy(subjectPublicKeyInfo, scheme, object.content, object.signature)
}

/**
 * Reads the AlgorithmIdentifier of a signature (RFC 4055 §5, RFC 5758 §3, RFC 8410 §3). MD5 and SHA-1 are refused: certificates with chosen-prefix
 * collisions have been made with both.
 */
export function signatureScheme(algorithm: Uint8Array): KnownScheme {
  const [name, parameters] = childrenOf(algorithm, readWhole(algorithm, 0, algorithm.length, TAG.sequence))
  const id = name ? hex(octetsOf(algorithm, name)) : ""
  if (id === RSA_PSS) return pssScheme(algorithm, parameters)
  return SCHEMES.get(id) ?? { kind: "refused", name: WEAK.get(id) ?? "an algorithm that Postern does not know" }
}

// RFC 4055 §3.1: SEQUENCE { [0] hash, [1] mask generation, [2] INTEGER salt, [3] INTEGER trailer }; what is missing means SHA-1 and 20 octets.
function pssScheme(der: Uint8Array, parameters: WholeElement | undefined): KnownScheme {
  const fields = parameters?.tag === TAG.sequence ? childrenOf(der, parameters) : []
  const field = (tag: number): WholeElement | null => {
    const found = fields.find((candidate) => candidate.tag === tag)
    return found ? readWhole(der, found.contentStart, found.end) : null
  }
  const [hashField, maskField, saltField] = [field(0xa0), field(0xa1), field(0xa2)]
  const hash = hashField && hashOf(der, hashField)
  const [maskName, maskHash] = maskField?.tag === TAG.sequence ? childrenOf(der, maskField) : []
  const isMgf1 = maskName !== undefined && hex(octetsOf(der, maskName)) === MGF1
  if (!hash || !isMgf1 || !maskHash || hashOf(der, maskHash) !== hash || fields.some(({ tag }) => tag > 0xa2))
    return { kind: "refused", name: "RSA-PSS with SHA-1 or with parameters that nobody uses" }
  const saltOctets = saltField ? contentOf(der, saltField).reduce((number, octet) => number * 256 + octet, 0) : 20
  return { kind: "scheme", scheme: { kind: "rsa-pss", hash, saltOctets } }
}

function hashOf(der: Uint8Array, algorithm: WholeElement): SignatureHash | null {
  const [name] = algorithm.tag === TAG.sequence ? childrenOf(der, algorithm) : []
  return (name && HASHES.get(hex(octetsOf(der, name)))) ?? null
}

const HASHES: ReadonlyMap<string, SignatureHash> = new Map([
  [hex(oid("2.16.840.1.101.3.4.2.1")), "sha256"],
  [hex(oid("2.16.840.1.101.3.4.2.2")), "sha384"],
  [hex(oid("2.16.840.1.101.3.4.2.3")), "sha512"],
])
const RSA_PSS = hex(oid("1.2.840.113549.1.1.10"))
const MGF1 = hex(oid("1.2.840.113549.1.1.8"))

function scheme(id: string, made: SignatureScheme): [string, KnownScheme] {
  return [hex(oid(id)), { kind: "scheme", scheme: made }]
}

const SCHEMES: ReadonlyMap<string, KnownScheme> = new Map([
  scheme("1.2.840.113549.1.1.11", { kind: "rsa", hash: "sha256" }),
  scheme("1.2.840.113549.1.1.12", { kind: "rsa", hash: "sha384" }),
  scheme("1.2.840.113549.1.1.13", { kind: "rsa", hash: "sha512" }),
  scheme("1.2.840.10045.4.3.2", { kind: "ecdsa", hash: "sha256" }),
  scheme("1.2.840.10045.4.3.3", { kind: "ecdsa", hash: "sha384" }),
  scheme("1.2.840.10045.4.3.4", { kind: "ecdsa", hash: "sha512" }),
  scheme("1.3.101.112", { kind: "eddsa" }),
  scheme("1.3.101.113", { kind: "eddsa" }),
])
const WEAK: ReadonlyMap<string, string> = new Map([
  [hex(oid("1.2.840.113549.1.1.2")), "MD2"],
  [hex(oid("1.2.840.113549.1.1.4")), "MD5"],
  [hex(oid("1.2.840.113549.1.1.5")), "SHA-1"],
  [hex(oid("1.3.14.3.2.29")), "SHA-1"],
  [hex(oid("1.2.840.10040.4.3")), "SHA-1"],
  [hex(oid("1.2.840.10045.4.1")), "SHA-1"],
])
