import { GatewayError } from "../../errors.ts"
import type { Certificate } from "../cms/certificate.ts"
import { childrenOf, octetsOf, readWhole, TAG } from "../cms/der.ts"
import {
  allowsPurpose,
  allowsUsage,
  authorityKeyIdentifier,
  basicConstraints,
  EXTENSION,
  KEY_USAGE,
} from "./extension-values.ts"
import { brokenNameConstraint, nameText } from "./names.ts"
import { isRsa, weakness } from "./public-key.ts"
import { isObjectSignedBy, readSignedObject, signatureScheme } from "./signed-object.ts"

/** What the end entity's key is wanted for. */
export type PathPurpose = "encryption" | "signature"

export interface PathRules {
  /** Certificates that are believed: a path ends at one of them. Constraints in them count, their own signatures do not. */
  readonly anchors: readonly Certificate[]
  /** Others that may stand between. */
  readonly between: readonly Certificate[]
  readonly at: Date
  readonly purpose: PathPurpose
}

export type PathFound =
  /** From the end entity to the anchor; one certificate when it is an anchor itself. */
  | { readonly kind: "path"; readonly certificates: readonly [Certificate, ...Certificate[]] }
  /** `because`: one clause for people. */
  | { readonly kind: "none"; readonly because: string }

/** Certificates in a path, anchor included: public ones have three or four. */
export const MAX_PATH = 8
/** Signatures checked in the search for one path: certificates that name each other as issuers would be gone through without end. */
export const MAX_SIGNATURES = 32
/** Certificates considered as intermediates. */
export const MAX_BETWEEN = 64

/**
 * Looks for a certification path (RFC 5280 §6.1) from `certificate` to one of the anchors. Policies are not looked at: who demands one in a
 * critical policyConstraints is refused, as is every critical extension that is not known here.
 * @throws GatewayError DER_SYNTAX, CERTIFICATE_INVALID when the certificate itself has a malformed extension
 */
export function findPath(certificate: Certificate, rules: PathRules): PathFound {
  const because = unfitFor(certificate, rules.purpose) ?? unfit(certificate, rules.at)
  if (because !== null) return { kind: "none", because }
  if (rules.anchors.some((anchor) => sameOctets(anchor.der, certificate.der)))
    return { kind: "path", certificates: [certificate] }
  const search: Search = { rules, signatures: 0, because: null }
  const found = extend(search, [certificate])
  if (found) return { kind: "path", certificates: found }
  return { kind: "none", because: search.because ?? "nobody who issued it is known" }
}

interface Search {
  readonly rules: PathRules
  signatures: number
  /** Why the first path that was broken off was: of the nearest failure people learn most. */
  because: string | null
}

type Path = readonly [Certificate, ...Certificate[]]

/** The first good path that begins with `path`, or null. Anchors are tried before others. */
function extend(search: Search, path: Path): Path | null {
  const { anchors, between } = search.rules
  const last = lastOf(path)
  const isNew = (candidate: Certificate) => !path.some((other) => isSameEntity(other, candidate))
  const issuers = [
    ...anchors.map((issuer) => ({ issuer, isAnchor: true })),
    ...between
      .slice(0, MAX_BETWEEN)
      .filter(isNew)
      .map((issuer) => ({ issuer, isAnchor: false })),
  ].filter(({ issuer }) => mayIssue(issuer, last))
  if (issuers.length === 0) note(search, unknownIssuer(path))
  for (const { issuer, isAnchor } of issuers) {
    const longer: Path = [...path, issuer]
    const because = reason(() => brokenLink(search, path, issuer) ?? (isAnchor ? brokenConstraint(longer) : null))
    if (because !== null) {
      note(search, because)
      continue
    }
    if (isAnchor) return longer
    const found = longer.length < MAX_PATH ? extend(search, longer) : null
    if (found) return found
  }
  return null
}

/** Why `issuer` cannot stand behind `path`, for people; null when it can. */
function brokenLink(search: Search, path: Path, issuer: Certificate): string | null {
  const unfitting = unfitAuthority(issuer, path) ?? unfit(issuer, search.rules.at)
  const name = nameText(issuer.subject)
  if (unfitting !== null) return `its authority ${name}: ${unfitting}`
  if (++search.signatures > MAX_SIGNATURES) return "too many authorities to choose from"
  return wrongSignature(lastOf(path), issuer.subjectPublicKeyInfo, { whose: whose(path), issuer: name })
}

/** Why a certificate is not signed by this key, for people; null when it is. */
function wrongSignature(
  { der }: Certificate,
  subjectPublicKeyInfo: Uint8Array,
  names: { readonly whose: string; readonly issuer: string },
): string | null {
  const signed = readSignedObject(der)
  const known = signatureScheme(signed.algorithm)
  if (known.kind === "refused") return `${names.whose} is signed with ${known.name}`
  if (!sameOctets(signed.algorithm, innerAlgorithm(signed.content)))
    return `${names.whose} names two signature algorithms`
  const isRight = isObjectSignedBy(signed, known.scheme, subjectPublicKeyInfo)
  return isRight ? null : `the signature of ${names.issuer} on ${names.whose} is wrong`
}

/** Name constraints, once a path is complete: comparing costs time, and only authorities of an anchor may ask for it. */
function brokenConstraint(path: Path): string | null {
  for (const [above, authority] of path.entries())
    for (const [at, certificate] of path.slice(0, above).entries()) {
      // RFC 5280 §6.1.3 (b), (c): an authority's certificate for itself is not held against them.
      const broken = at > 0 && isSelfIssued(certificate) ? null : brokenNameConstraint(authority, certificate)
      if (broken !== null) return `name constraints of its authority ${nameText(authority.subject)}: ${broken}`
    }
  return null
}

/** RFC 5280 §6.1.4 (k) to (n), §4.2.1.12. Certificates without extensions (version 1) are authorities where somebody made them anchors. */
function unfitAuthority(issuer: Certificate, path: Path): string | null {
  // Read here, so that a malformed one ends this path and not the search.
  authorityKeyIdentifier(issuer)
  const constraints = basicConstraints(issuer)
  const isOldRoot = issuer.extensions.size === 0 && isSelfIssued(issuer)
  if (!constraints?.isAuthority && !isOldRoot) return "it is no certification authority"
  const between = path.slice(1).filter((certificate) => !isSelfIssued(certificate)).length
  if (between > (constraints?.pathLength ?? MAX_PATH)) return "it may not have so many authorities below it"
  if (!allowsUsage(issuer, KEY_USAGE.keyCertSign)) return "its key usage allows no certificates"
  return allowsPurpose(issuer, "emailProtection") ? null : "it is not for e-mail"
}

/** What is asked of the end entity (RFC 8550 §4.4). */
function unfitFor(certificate: Certificate, purpose: PathPurpose): string | null {
  if (!allowsPurpose(certificate, "emailProtection")) return "it is not for e-mail (extended key usage)"
  const bits = purpose === "signature" ? SIGNING : isRsa(certificate) ? TRANSPORT : AGREEMENT
  return allowsUsage(certificate, ...bits) ? null : `its key usage allows no ${purpose} with such a key`
}

/** Why a certificate of any kind is of no use, for people; null when it is in force, its key has some strength, and no critical extension is unknown. */
export function unfit(certificate: Certificate, at: Date): string | null {
  const { notBefore, notAfter } = certificate
  if (notAfter.getTime() < at.getTime()) return `it expired on ${day(notAfter)}`
  if (notBefore.getTime() > at.getTime()) return `it is not valid before ${day(notBefore)}`
  const unknown = [...certificate.extensions].find(([name, { isCritical }]) => isCritical && !UNDERSTOOD.includes(name))
  if (unknown) return `it has a critical extension that Postern does not know (${dotted(unknown[0])})`
  return weakness(certificate)
}

/** Subject is issuer, and key identifiers agree where both are there (RFC 5280 §4.2.1.1: they choose among several keys of one name). */
function mayIssue(issuer: Certificate, certificate: Certificate): boolean {
  if (!sameOctets(issuer.subject, certificate.identity.issuer)) return false
  const wanted = authorityKeyIdentifier(certificate)
  const own = issuer.identity.subjectKeyIdentifier
  return wanted === null || own === null || sameOctets(wanted, own)
}

function isSelfIssued({ subject, identity }: Certificate): boolean {
  return sameOctets(subject, identity.issuer)
}

function isSameEntity(a: Certificate, b: Certificate): boolean {
  return sameOctets(a.subject, b.subject) && sameOctets(a.subjectPublicKeyInfo, b.subjectPublicKeyInfo)
}

// RFC 5280 §4.1.2.3: the same as outside, where nothing signs it.
function innerAlgorithm(content: Uint8Array): Uint8Array {
  const fields = childrenOf(content, readWhole(content, 0, content.length, TAG.sequence))
  const found = fields[fields[0]?.tag === 0xa0 ? 2 : 1]
  return found ? octetsOf(content, found) : new Uint8Array(0)
}

/** A malformed authority ends that path, not the search. */
function reason(look: () => string | null): string | null {
  try {
    return look()
  } catch (error) {
    if (error instanceof GatewayError) return `one of its authorities cannot be read (${error.message})`
    throw error
  }
}

function note(search: Search, because: string): void {
  search.because ??= because
}

function unknownIssuer(path: Path): string {
  const { subject, identity } = lastOf(path)
  if (sameOctets(subject, identity.issuer))
    return path.length === 1
      ? "it vouches for itself, and nobody else does"
      : `nobody vouches for ${whose(path)}, under which it is issued`
  return `${nameText(identity.issuer)}, which issued ${whose(path)}, is not known`
}

function whose(path: Path): string {
  return path.length === 1 ? "it" : nameText(lastOf(path).subject)
}

function lastOf(path: Path): Certificate {
  return path.at(-1) ?? path[0]
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10)
}

/** The dotted form of an OBJECT IDENTIFIER given as hexadecimal DER. */
function dotted(name: string): string {
  const arcs: number[] = []
  let arc = 0
  for (const octet of Buffer.from(name, "hex").subarray(2)) {
    arc = arc * 128 + (octet & 0x7f)
    if (octet < 0x80) {
      arcs.push(arc)
      arc = 0
    }
  }
  const [first = 0, ...rest] = arcs
  const root = Math.min(2, Math.floor(first / 40))
  return [root, first - root * 40, ...rest].join(".")
}

function sameOctets(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

const SIGNING = [KEY_USAGE.digitalSignature, KEY_USAGE.nonRepudiation]
const TRANSPORT = [KEY_USAGE.keyEncipherment]
const AGREEMENT = [KEY_USAGE.keyAgreement]
/** Critical or not, these are either done above or restrict only what nobody asks for here (policies). */
const UNDERSTOOD: readonly string[] = Object.values(EXTENSION)
