/** PURE. TLSA records (RFC 6698, RFC 7671) and what of them SMTP uses (RFC 7672 §3.1). */
import { equalConstantTime, sha256, sha512 } from "../crypto/primitives/hash.ts"

/** One record; numbers as registered (RFC 7218). */
export interface TlsaRecord {
  /** 0 PKIX-TA, 1 PKIX-EE, 2 DANE-TA, 3 DANE-EE. */
  readonly usage: number
  /** 0 Cert, 1 SPKI. */
  readonly selector: number
  /** 0 Full, 1 SHA2-256, 2 SHA2-512. */
  readonly matchingType: number
  readonly association: Uint8Array
}

/** A certificate as a record can mean it. */
export interface MatchedCertificate {
  /** DER of the certificate. */
  readonly der: Uint8Array
  /** DER of its SubjectPublicKeyInfo. */
  readonly spki: Uint8Array
}

/** Records that can be used: RFC 7672 §3.1.3 has PKIX-TA and PKIX-EE treated as unusable. */
export function usableRecords(records: readonly TlsaRecord[]): readonly TlsaRecord[] {
  return records.filter(
    ({ usage, selector, matchingType, association }) =>
      (usage === DANE_TA || usage === DANE_EE) &&
      (selector === 0 || selector === 1) &&
      (matchingType === 0 ? association.length > 0 : association.length === DIGEST_OCTETS[matchingType]),
  )
}

/** True when a DANE-EE record is for this certificate; its names and dates do not matter (RFC 7671 §5.1). */
export function matchesEndEntity(records: readonly TlsaRecord[], certificate: MatchedCertificate): boolean {
  return records.some((record) => record.usage === DANE_EE && matches(record, certificate))
}

/** The certificates that a DANE-TA record is for: issuers that a chain may end in (RFC 7671 §5.2). */
export function trustAnchors<T extends MatchedCertificate>(
  records: readonly TlsaRecord[],
  certificates: readonly T[],
): readonly T[] {
  return certificates.filter((certificate) =>
    records.some((record) => record.usage === DANE_TA && matches(record, certificate)),
  )
}

/** As in a zone file: "3 1 1 0123…". */
export function tlsaText({ usage, selector, matchingType, association }: TlsaRecord): string {
  return `${usage} ${selector} ${matchingType} ${Buffer.from(association).toString("hex")}`
}

function matches({ selector, matchingType, association }: TlsaRecord, { der, spki }: MatchedCertificate): boolean {
  const selected = selector === 0 ? der : spki
  switch (matchingType) {
    case 0:
      return equalConstantTime(selected, association)
    case 1:
      return equalConstantTime(sha256(selected), association)
    case 2:
      return equalConstantTime(sha512(selected), association)
    default:
      return false
  }
}

const DANE_TA = 2
const DANE_EE = 3
const DIGEST_OCTETS: Readonly<Record<number, number>> = { 1: 32, 2: 64 }
