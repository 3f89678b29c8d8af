import { GatewayError } from "../../errors.ts"
import { type Certificate, readExtensions, readTime } from "../cms/certificate.ts"
import { childrenOf, contentOf, hex, octetsOf, oid, readWhole, TAG, type WholeElement } from "../cms/der.ts"
import { allowsUsage, basicConstraints, fullNameUrls, KEY_USAGE, revocationPlaces } from "./extension-values.ts"
import { isObjectSignedBy, readSignedObject, signatureScheme } from "./signed-object.ts"

/** What a certificate revocation list (RFC 5280 §5) says of one certificate. */
export type CrlAnswer =
  | { readonly kind: "good"; readonly until: Date }
  | { readonly kind: "revoked"; readonly since: Date; readonly reason: string | null }
  /** It says nothing that counts; `because`: one clause for people. */
  | { readonly kind: "unusable"; readonly because: string }

/** What {@link readCrl} is asked. */
export interface CrlQuestion {
  readonly certificate: Certificate
  /** Whose list it has to be: the certificate's issuer, who signs it himself. */
  readonly issuer: Certificate
  readonly at: Date
}

/**
 * Looks a certificate up in a complete CRL. Delta and indirect CRLs, those for some reasons only and those with a critical extension that is not known
 * are of no use (RFC 5280 §6.3.3).
 * @throws GatewayError DER_SYNTAX, CERTIFICATE_INVALID
 */
export function readCrl(der: Uint8Array, question: CrlQuestion): CrlAnswer {
  const signed = readSignedObject(der)
  const list = readList(signed.content)
  const { issuer, certificate, at } = question
  if (Buffer.compare(list.issuer, issuer.subject) !== 0) return unusable("it is somebody else's list")
  if (!allowsUsage(issuer, KEY_USAGE.crlSign)) return unusable("its authority may not sign lists")
  const because = outOfScope(signed.content, list, question)
  if (because !== null) return unusable(because)
  if (list.thisUpdate.getTime() > at.getTime() + CLOCK_SKEW_MS) return unusable("the list is from the future")
  if (list.nextUpdate === null || list.nextUpdate <= at) return unusable("the list is too old")
  const known = signatureScheme(signed.algorithm)
  if (known.kind === "refused") return unusable(`the list is signed with ${known.name}`)
  if (!isObjectSignedBy(signed, known.scheme, issuer.subjectPublicKeyInfo))
    return unusable("the list's signature is wrong")
  const entry = findEntry(signed.content, list.entries, certificate.identity.serial)
  return entry === null ? { kind: "good", until: list.nextUpdate } : { kind: "revoked", ...entry }
}

/** CRLReason (RFC 5280 §5.3.1) for people; null for unspecified ones. */
export function reasonName(code: number): string | null {
  return REASONS[code] ?? null
}

interface List {
  readonly issuer: Uint8Array
  readonly thisUpdate: Date
  readonly nextUpdate: Date | null
  /** Absent when nothing is revoked. */
  readonly entries: WholeElement | null
  readonly extensions: WholeElement | null
}

// RFC 5280 §5.1: SEQUENCE { version?, signature, issuer, thisUpdate, nextUpdate?, revokedCertificates?, [0] extensions? }
function readList(content: Uint8Array): List {
  const fields = childrenOf(content, readWhole(content, 0, content.length, TAG.sequence))
  if (fields[0]?.tag === TAG.integer) fields.shift()
  const [algorithm, issuer, thisUpdate, ...rest] = fields
  if (algorithm?.tag !== TAG.sequence || issuer?.tag !== TAG.sequence || !thisUpdate)
    throw new GatewayError("CERTIFICATE_INVALID", "crl: fields of tbsCertList")
  const next = rest[0]?.tag === TAG.utcTime || rest[0]?.tag === TAG.generalizedTime ? rest.shift() : undefined
  return {
    issuer: octetsOf(content, issuer),
    thisUpdate: readTime(content, thisUpdate),
    nextUpdate: next ? readTime(content, next) : null,
    entries: rest.find(({ tag }) => tag === TAG.sequence) ?? null,
    extensions: rest.find(({ tag }) => tag === 0xa0) ?? null,
  }
}

/** Why the list does not cover the certificate, for people; null when it does. */
function outOfScope(content: Uint8Array, { extensions }: List, question: CrlQuestion): string | null {
  if (!extensions) return null
  for (const [name, { isCritical, value }] of readExtensions(content, extensions)) {
    if (name === ISSUING_DISTRIBUTION_POINT) {
      const because = otherPoint(value, question)
      if (because !== null) return because
    } else if (name === DELTA_CRL_INDICATOR) return "it is a list of changes only"
    else if (isCritical) return "it has a critical extension that Postern does not know"
  }
  return null
}

// RFC 5280 §5.2.5: [0] distributionPoint, [1] user certificates, [2] authorities, [3] some reasons, [4] indirect, [5] attribute certificates
function otherPoint(value: Uint8Array, { certificate }: CrlQuestion): string | null {
  const isAuthority = basicConstraints(certificate)?.isAuthority ?? false
  for (const field of childrenOf(value, readWhole(value, 0, value.length, TAG.sequence))) {
    const isTrue = value[field.contentStart] !== 0
    if (field.tag === 0xa0) {
      // RFC 5280 §6.3.3 (b)(2)(i): one of the places that the certificate names, wherever the list came from.
      const named = revocationPlaces(certificate).crl
      if (!fullNameUrls(value, field).some((url) => named.includes(url))) return "the list is for another place"
    } else if (field.tag === 0x81 && isTrue && isAuthority) return "the list is for people only"
    else if (field.tag === 0x82 && isTrue && !isAuthority) return "the list is for authorities only"
    else if (field.tag === 0x83 || (field.tag > 0x83 && isTrue)) return "the list is not about all revocations"
  }
  return null
}

/** Goes through the entries one by one, without an object for each: large lists have hundreds of thousands. */
function findEntry(
  content: Uint8Array,
  entries: WholeElement | null,
  serial: Uint8Array,
): { readonly since: Date; readonly reason: string | null } | null {
  if (!entries) return null
  for (let at = entries.contentStart; at < entries.end; ) {
    const entry = readWhole(content, at, entries.end, TAG.sequence)
    at = entry.end
    const number = readWhole(content, entry.contentStart, entry.end, TAG.integer)
    if (Buffer.compare(contentOf(content, number), serial) === 0) return readEntry(content, entry)
  }
  return null
}

// RFC 5280 §5.3: SEQUENCE { serial, revocationDate, extensions? }. What it says beside does not make it less revoked.
function readEntry(content: Uint8Array, entry: WholeElement): { readonly since: Date; readonly reason: string | null } {
  const [, date, extensions] = childrenOf(content, entry)
  if (!date) throw new GatewayError("CERTIFICATE_INVALID", "crl: entry without a date")
  const reason = extensions && reasonOf(content, extensions)
  return { since: readTime(content, date), reason: reason ?? null }
}

function reasonOf(content: Uint8Array, extensions: WholeElement): string | null {
  for (const extension of childrenOf(content, extensions)) {
    const parts = childrenOf(content, extension)
    const [name, value] = [parts[0], parts.at(-1)]
    if (name && value && hex(octetsOf(content, name)) === REASON_CODE) return reasonName(content[value.end - 1] ?? 0)
  }
  return null
}

function unusable(because: string): CrlAnswer {
  return { kind: "unusable", because }
}

/** Authorities whose clock is ahead of ours. */
export const CLOCK_SKEW_MS = 300_000
const ISSUING_DISTRIBUTION_POINT = hex(oid("2.5.29.28"))
const DELTA_CRL_INDICATOR = hex(oid("2.5.29.27"))
const REASON_CODE = hex(oid("2.5.29.21"))
const REASONS: readonly (string | null)[] = [
  null,
  "key compromise",
  "compromise of the authority",
  "affiliation changed",
  "superseded",
  "cessation of operation",
  "on hold",
  null,
  "removed from the list",
  "privilege withdrawn",
  "compromise of the attribute authority",
]
