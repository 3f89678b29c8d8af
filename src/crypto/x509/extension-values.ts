import { GatewayError } from "../../errors.ts"
import type { Certificate, Extension } from "../cms/certificate.ts"
import { childrenOf, contentOf, hex, octetsOf, oid, readWhole, TAG, type WholeElement } from "../cms/der.ts"

/** basicConstraints (RFC 5280 §4.2.1.9). */
export interface BasicConstraints {
  readonly isAuthority: boolean
  /** Authorities that may stand between it and an end entity; null: as many as like. */
  readonly pathLength: number | null
}

/** @returns null when the certificate has none. @throws GatewayError DER_SYNTAX, CERTIFICATE_INVALID */
export function basicConstraints({ extensions }: Certificate): BasicConstraints | null {
  const value = extensions.get(EXTENSION.basicConstraints)?.value
  if (!value) return null
  const fields = childrenOf(value, readWhole(value, 0, value.length, TAG.sequence))
  const flag = fields[0]?.tag === TAG.boolean ? fields.shift() : undefined
  const length = fields[0]?.tag === TAG.integer ? smallNumber(contentOf(value, fields[0])) : null
  return { isAuthority: flag !== undefined && value[flag.contentStart] !== 0, pathLength: length }
}

/** Bit numbers of RFC 5280 §4.2.1.3. */
export const KEY_USAGE = {
  digitalSignature: 0,
  nonRepudiation: 1,
  keyEncipherment: 2,
  keyAgreement: 4,
  keyCertSign: 5,
  crlSign: 6,
} as const

/** Whether keyUsage (RFC 5280 §4.2.1.3) has one of `bits`; a certificate without the extension allows everything. Throws GatewayError DER_SYNTAX. */
export function allowsUsage({ extensions }: Certificate, ...bits: readonly number[]): boolean {
  const value = extensions.get(EXTENSION.keyUsage)?.value
  if (!value) return true
  const octets = contentOf(value, readWhole(value, 0, value.length, TAG.bitString)).subarray(1)
  return bits.some((bit) => ((octets[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0)
}

/** Purposes of extendedKeyUsage (RFC 5280 §4.2.1.12) that matter here. */
export type Purpose = "emailProtection" | "ocspSigning"

/**
 * Whether extendedKeyUsage allows `purpose`. Without the extension everything is allowed but signing OCSP answers, which has to be said (RFC 6960
 * §4.2.2.2), as anyExtendedKeyUsage does not say it.
 * @throws GatewayError DER_SYNTAX
 */
export function allowsPurpose({ extensions }: Certificate, purpose: Purpose): boolean {
  const value = extensions.get(EXTENSION.extendedKeyUsage)?.value
  if (!value) return purpose !== "ocspSigning"
  const named = childrenOf(value, readWhole(value, 0, value.length, TAG.sequence)).map((id) => hex(octetsOf(value, id)))
  return named.includes(PURPOSES[purpose]) || (purpose !== "ocspSigning" && named.includes(ANY_PURPOSE))
}

/** keyIdentifier of authorityKeyIdentifier (RFC 5280 §4.2.1.1). @returns null when there is none. @throws GatewayError DER_SYNTAX */
export function authorityKeyIdentifier({ extensions }: Certificate): Uint8Array | null {
  const value = extensions.get(EXTENSION.authorityKeyIdentifier)?.value
  if (!value) return null
  const found = childrenOf(value, readWhole(value, 0, value.length, TAG.sequence)).find(({ tag }) => tag === 0x80)
  return found ? contentOf(value, found) : null
}

/** A certificate's own words on where revocations stand. */
export interface RevocationPlaces {
  /** URLs of OCSP responders (RFC 5280 §4.2.2.1). */
  readonly ocsp: readonly string[]
  /** URLs of complete CRLs (RFC 5280 §4.2.1.13) that the issuer itself signs. */
  readonly crl: readonly string[]
  /** Certificates too short-lived to be revoked say so (RFC 9608 §2). */
  readonly never: boolean
}

/** @throws GatewayError DER_SYNTAX */
export function revocationPlaces({ extensions }: Certificate): RevocationPlaces {
  return {
    ocsp: accessUrls(extensions.get(EXTENSION.authorityInfoAccess)),
    crl: distributionUrls(extensions.get(EXTENSION.crlDistributionPoints)),
    never: extensions.has(EXTENSION.noRevAvail),
  }
}

/**
 * Whether smimeCapabilities (RFC 4262; RFC 8551 §2.5.2) name AES-GCM for content encryption (RFC 5084 §3.2).
 * @throws GatewayError DER_SYNTAX
 */
export function readsAesGcm({ extensions }: Certificate): boolean {
  const value = extensions.get(EXTENSION.smimeCapabilities)?.value
  if (!value) return false
  return childrenOf(value, readWhole(value, 0, value.length, TAG.sequence)).some((capability) => {
    const [name] = capability.tag === TAG.sequence ? childrenOf(value, capability) : []
    return name !== undefined && hex(octetsOf(value, name)) === AES256_GCM
  })
}

/** Text of a DistributionPointName's or accessLocation's uniformResourceIdentifier. */
export function uriOf(der: Uint8Array, { tag, contentStart, end }: WholeElement): string | null {
  return tag === URI ? Buffer.from(der.subarray(contentStart, end)).toString("latin1") : null
}

/** URLs in the fullName of a DistributionPointName: [0] { [0] GeneralNames }. */
export function fullNameUrls(der: Uint8Array, name: WholeElement): string[] {
  const full = childrenOf(der, name).find(({ tag }) => tag === 0xa0)
  return full ? childrenOf(der, full).flatMap((general) => uriOf(der, general) ?? []) : []
}

// RFC 5280 §4.2.1.13: SEQUENCE OF { [0] name, [1] reasons, [2] cRLIssuer }; what has only some reasons or another issuer is not for us.
function distributionUrls(extension: Extension | undefined): string[] {
  if (!extension) return []
  const { value } = extension
  return childrenOf(value, readWhole(value, 0, value.length, TAG.sequence)).flatMap((point) => {
    const fields = point.tag === TAG.sequence ? childrenOf(value, point) : []
    const name = fields[0]
    return fields.length === 1 && name?.tag === 0xa0 ? fullNameUrls(value, name) : []
  })
}

// RFC 5280 §4.2.2.1: SEQUENCE OF { accessMethod, accessLocation }
function accessUrls(extension: Extension | undefined): string[] {
  if (!extension) return []
  const { value } = extension
  return childrenOf(value, readWhole(value, 0, value.length, TAG.sequence)).flatMap((description) => {
    const [method, location] = description.tag === TAG.sequence ? childrenOf(value, description) : []
    if (!method || !location || hex(octetsOf(value, method)) !== OCSP) return []
    return uriOf(value, location) ?? []
  })
}

/** @throws GatewayError CERTIFICATE_INVALID when it is negative or above 2^31 */
export function smallNumber(octets: Uint8Array): number {
  const number = octets.reduce((sum, octet) => sum * 256 + octet, 0)
  if (octets.length === 0 || (octets[0] ?? 0) >= 0x80 || number > 0x7fff_ffff)
    throw new GatewayError("CERTIFICATE_INVALID", "x509: a number out of range")
  return number
}

const URI = 0x86
const OCSP = hex(oid("1.3.6.1.5.5.7.48.1"))
const ANY_PURPOSE = hex(oid("2.5.29.37.0"))
const PURPOSES: Readonly<Record<Purpose, string>> = {
  emailProtection: hex(oid("1.3.6.1.5.5.7.3.4")),
  ocspSigning: hex(oid("1.3.6.1.5.5.7.3.9")),
}
const AES256_GCM = hex(oid("2.16.840.1.101.3.4.1.46"))

/** Keys of {@link Certificate.extensions}. */
export const EXTENSION = {
  subjectKeyIdentifier: hex(oid("2.5.29.14")),
  keyUsage: hex(oid("2.5.29.15")),
  subjectAltName: hex(oid("2.5.29.17")),
  basicConstraints: hex(oid("2.5.29.19")),
  nameConstraints: hex(oid("2.5.29.30")),
  crlDistributionPoints: hex(oid("2.5.29.31")),
  certificatePolicies: hex(oid("2.5.29.32")),
  policyMappings: hex(oid("2.5.29.33")),
  authorityKeyIdentifier: hex(oid("2.5.29.35")),
  extendedKeyUsage: hex(oid("2.5.29.37")),
  inhibitAnyPolicy: hex(oid("2.5.29.54")),
  noRevAvail: hex(oid("2.5.29.56")),
  ocspNoCheck: hex(oid("1.3.6.1.5.5.7.48.1.5")),
  authorityInfoAccess: hex(oid("1.3.6.1.5.5.7.1.1")),
  smimeCapabilities: hex(oid("1.2.840.113549.1.9.15")),
} as const
