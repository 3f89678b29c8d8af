import { GatewayError } from "../../errors.ts"
import { type Certificate, readCertificate, readExtensions, readTime } from "../cms/certificate.ts"
import {
  childrenOf,
  contentOf,
  hex,
  nil,
  octetString,
  octetsOf,
  oid,
  readWhole,
  sequence,
  TAG,
  tagged,
  type WholeElement,
} from "../cms/der.ts"
import { sha1, sha256 } from "../primitives/hash.ts"
import { CLOCK_SKEW_MS, reasonName } from "./crl.ts"
import { allowsPurpose, allowsUsage, KEY_USAGE } from "./extension-values.ts"
import { unfit } from "./path.ts"
import { isObjectSignedBy, readSignedObject, type SignedObject, signatureScheme } from "./signed-object.ts"

/** What an OCSP responder (RFC 6960) says of one certificate. */
export type OcspAnswer =
  | { readonly kind: "good"; readonly until: Date }
  | { readonly kind: "revoked"; readonly since: Date; readonly reason: string | null }
  | { readonly kind: "unknown" }
  /** It says nothing that counts; `because`: one clause for people. */
  | { readonly kind: "unusable"; readonly because: string }

export interface OcspQuestion {
  readonly certificate: Certificate
  readonly issuer: Certificate
  readonly at: Date
}

export const OCSP_REQUEST_TYPE = "application/ocsp-request"

/**
 * An OCSPRequest (RFC 6960 §4.1) for one certificate, without a nonce, so that the answer may be one made before (RFC 5019 §2.1.1). The certificate is
 * named with SHA-1, which every responder knows, and for which nothing hangs on collisions.
 */
export function ocspRequest({ certificate, issuer }: OcspQuestion): Uint8Array {
  const id = sequence(
    sequence(SHA1, nil()),
    octetString(sha1(issuer.subject)),
    octetString(sha1(keyBits(issuer))),
    tagged(TAG.integer, certificate.identity.serial),
  )
  return sequence(sequence(sequence(sequence(id))))
}

/**
 * Reads an OCSPResponse (RFC 6960 §4.2) and checks it (§3.2): by the issuer itself or by somebody whom it certified for that, about this certificate,
 * and not too old. Whether the responder's own certificate is revoked is not asked (§4.2.2.2.1 leaves that open; they live for weeks).
 * @throws GatewayError DER_SYNTAX, CERTIFICATE_INVALID
 */
export function readOcsp(der: Uint8Array, question: OcspQuestion): OcspAnswer {
  const whole = readWhole(der, 0, der.length, TAG.sequence)
  const [status, wrapped] = childrenOf(der, whole)
  const code = status?.tag === ENUMERATED ? (der[status.contentStart] ?? -1) : -1
  if (code !== 0) return unusable(`the responder answers “${FAILURES[code] ?? "nothing that makes sense"}”`)
  const signed = readSignedObject(basicResponse(der, wrapped))
  const { responder, responses, extensions } = readResponseData(signed.content)
  if (extensions && hasCritical(signed.content, extensions))
    return unusable("the answer has a critical extension that Postern does not know")
  const because = wrongSigner(signed, responder, question)
  if (because !== null) return unusable(because)
  return singleAnswer(signed.content, responses, question)
}

// RFC 6960 §4.2.1: [0] SEQUENCE { id-pkix-ocsp-basic, OCTET STRING }
function basicResponse(der: Uint8Array, wrapped: WholeElement | undefined): Uint8Array {
  const bytes = wrapped?.tag === 0xa0 ? readWhole(der, wrapped.contentStart, wrapped.end, TAG.sequence) : null
  const [type, value] = bytes ? childrenOf(der, bytes) : []
  if (!type || value?.tag !== TAG.octetString || hex(octetsOf(der, type)) !== BASIC) throw invalid("no basic response")
  return contentOf(der, value)
}

interface ResponseData {
  /** ResponderID: [1] Name or [2] SHA-1 of a key. */
  readonly responder: { readonly name: Uint8Array } | { readonly keyHash: Uint8Array }
  readonly responses: WholeElement
  readonly extensions: WholeElement | null
}

// RFC 6960 §4.2.1: SEQUENCE { [0] version?, responderID, producedAt, responses, [1] extensions? }
function readResponseData(content: Uint8Array): ResponseData {
  const fields = childrenOf(content, readWhole(content, 0, content.length, TAG.sequence))
  if (fields[0]?.tag === 0xa0) fields.shift()
  const [responder, producedAt, responses, extensions] = fields
  if (!responder || producedAt?.tag !== TAG.generalizedTime || responses?.tag !== TAG.sequence)
    throw invalid("fields of its data")
  const inner = readWhole(content, responder.contentStart, responder.end)
  if (responder.tag !== 0xa1 && responder.tag !== 0xa2) throw invalid("responder")
  return {
    responder: responder.tag === 0xa1 ? { name: octetsOf(content, inner) } : { keyHash: contentOf(content, inner) },
    responses,
    extensions: extensions?.tag === 0xa1 ? extensions : null,
  }
}

/** Why nobody who may signed the answer, for people; null when somebody did. */
function wrongSigner(
  signed: SignedObject,
  responder: ResponseData["responder"],
  { issuer, at }: OcspQuestion,
): string | null {
  const known = signatureScheme(signed.algorithm)
  if (known.kind === "refused") return `the answer is signed with ${known.name}`
  const isNamed = (certificate: Certificate) =>
    "name" in responder
      ? Buffer.compare(certificate.subject, responder.name) === 0
      : Buffer.compare(sha1(keyBits(certificate)), responder.keyHash) === 0
  if (isNamed(issuer) && isObjectSignedBy(signed, known.scheme, issuer.subjectPublicKeyInfo)) return null
  const delegate = certificatesOf(signed).find(isNamed)
  if (!delegate) return "nobody who may signed the answer"
  if (!isDelegate(delegate, issuer, at)) return "who signed the answer may not"
  return isObjectSignedBy(signed, known.scheme, delegate.subjectPublicKeyInfo)
    ? null
    : "the answer's signature is wrong"
}

/** RFC 6960 §4.2.2.2: issued by the very authority that issued the certificate, for signing OCSP answers. */
function isDelegate(delegate: Certificate, issuer: Certificate, at: Date): boolean {
  const signed = readSignedObject(delegate.der)
  const known = signatureScheme(signed.algorithm)
  return (
    Buffer.compare(delegate.identity.issuer, issuer.subject) === 0 &&
    unfit(delegate, at) === null &&
    allowsPurpose(delegate, "ocspSigning") &&
    allowsUsage(delegate, KEY_USAGE.digitalSignature, KEY_USAGE.nonRepudiation) &&
    known.kind === "scheme" &&
    isObjectSignedBy(signed, known.scheme, issuer.subjectPublicKeyInfo)
  )
}

function certificatesOf({ rest }: SignedObject): Certificate[] {
  const [wrapped] = rest
  if (wrapped?.[0] !== 0xa0) return []
  const list = readWhole(wrapped, readWhole(wrapped, 0, wrapped.length).contentStart, wrapped.length, TAG.sequence)
  return childrenOf(wrapped, list)
    .slice(0, MAX_CERTIFICATES)
    .map((found) => readCertificate(octetsOf(wrapped, found)))
}

function singleAnswer(content: Uint8Array, responses: WholeElement, question: OcspQuestion): OcspAnswer {
  for (const single of childrenOf(content, responses)) {
    const [id, status, thisUpdate, ...rest] = childrenOf(content, single)
    if (!id || !status || !thisUpdate) throw invalid("single response")
    if (!isAbout(content, id, question)) continue
    const next = rest.find(({ tag }) => tag === 0xa0)
    const extensions = rest.find(({ tag }) => tag === 0xa1)
    if (extensions && hasCritical(content, extensions))
      return unusable("the answer has a critical extension that Postern does not know")
    const from = readTime(content, thisUpdate)
    // Without nextUpdate there is always something newer (RFC 6960 §4.2.2.1).
    const until = next
      ? readTime(content, readWhole(content, next.contentStart, next.end))
      : new Date(from.getTime() + MAX_AGE_MS)
    if (from.getTime() > question.at.getTime() + CLOCK_SKEW_MS) return unusable("the answer is from the future")
    if (until.getTime() <= question.at.getTime()) return unusable("the answer is too old")
    return statusOf(content, status, until)
  }
  return unusable("the answer is about another certificate")
}

// RFC 6960 §4.2.1: [0] good, [1] { revocationTime, [0] reason? }, [2] unknown
function statusOf(content: Uint8Array, status: WholeElement, until: Date): OcspAnswer {
  if (status.tag === 0x80) return { kind: "good", until }
  if (status.tag === 0x82) return { kind: "unknown" }
  if (status.tag !== 0xa1) throw invalid("status")
  const [time, reason] = childrenOf(content, status)
  if (!time) throw invalid("revocation without a time")
  return {
    kind: "revoked",
    since: readTime(content, time),
    reason: reason ? reasonName(content[reason.end - 1] ?? 0) : null,
  }
}

// RFC 6960 §4.1.1: SEQUENCE { hashAlgorithm, issuerNameHash, issuerKeyHash, serialNumber }
function isAbout(content: Uint8Array, id: WholeElement, { certificate, issuer }: OcspQuestion): boolean {
  const [algorithm, nameHash, keyHash, serial] = childrenOf(content, id)
  const [name] = algorithm ? childrenOf(content, algorithm) : []
  if (!name || !nameHash || !keyHash || !serial) throw invalid("certificate id")
  const digest = DIGESTS.get(hex(octetsOf(content, name)))
  const is = (found: WholeElement, wanted: Uint8Array) => Buffer.compare(contentOf(content, found), wanted) === 0
  return (
    digest !== undefined &&
    is(nameHash, digest(issuer.subject)) &&
    is(keyHash, digest(keyBits(issuer))) &&
    is(serial, certificate.identity.serial)
  )
}

function hasCritical(content: Uint8Array, extensions: WholeElement): boolean {
  return readExtensions(content, extensions)
    .values()
    .some(({ isCritical }) => isCritical)
}

/** Content of the BIT STRING in SubjectPublicKeyInfo, without its count of unused bits (RFC 6960 §4.1.1). */
function keyBits({ subjectPublicKeyInfo: spki }: Certificate): Uint8Array {
  const [, key] = childrenOf(spki, readWhole(spki, 0, spki.length, TAG.sequence))
  if (!key) throw invalid("key of a certificate")
  return contentOf(spki, key).subarray(1)
}

function unusable(because: string): OcspAnswer {
  return { kind: "unusable", because }
}

function invalid(what: string): GatewayError {
  return new GatewayError("CERTIFICATE_INVALID", `ocsp: ${what}`)
}

const ENUMERATED = 0x0a
const BASIC = hex(oid("1.3.6.1.5.5.7.48.1.1"))
const SHA1 = oid("1.3.14.3.2.26")
const DIGESTS: ReadonlyMap<string, (octets: Uint8Array) => Uint8Array> = new Map([
  [hex(SHA1), sha1],
  [hex(oid("2.16.840.1.101.3.4.2.1")), sha256],
])
/** RFC 6960 §4.2.1 OCSPResponseStatus */
const FAILURES: readonly (string | undefined)[] = [
  undefined,
  "malformed request",
  "internal error",
  "try later",
  undefined,
  "signature required",
  "unauthorized",
]
/** Answers carry the responder's certificate and at most its authorities'. */
const MAX_CERTIFICATES = 8
const MAX_AGE_MS = 86_400_000
