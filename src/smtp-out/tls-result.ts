/** PURE. The outcome of a session's TLS in the words of TLS-RPT (RFC 8460 §4.3). */

/** The policy that was in force (RFC 8460 §4.2). */
export interface AppliedPolicy {
  readonly type: "tlsa" | "sts" | "no-policy-found"
  /** The policy itself, by lines or records. */
  readonly strings: readonly string[]
  /** `mx:` of an MTA-STS policy. */
  readonly mx: readonly string[]
}

/** RFC 8460 §4.3; `success` besides. */
export type TlsResultType =
  | "success"
  | "starttls-not-supported"
  | "certificate-host-mismatch"
  | "certificate-expired"
  | "certificate-not-trusted"
  | "validation-failure"
  | "tlsa-invalid"
  | "dnssec-invalid"
  | "dane-required"
  | "sts-policy-fetch-error"
  | "sts-policy-invalid"
  | "sts-webpki-invalid"

/** One session with a mail exchanger, or the refusal to have one. */
export interface TlsSession {
  /** The recipient's domain. */
  readonly domain: string
  readonly policy: AppliedPolicy
  readonly result: TlsResultType
  /** Name and address of the mail exchanger; "": it did not come so far. */
  readonly mx: string
  readonly address: string
  /** Why it failed, a code of TLS's; "": none. */
  readonly reason: string
}

/** Where sessions are counted. */
export interface TlsResults {
  count(session: TlsSession): void
}

/** What a code of OpenSSL or Node says about a certificate. */
export function resultOfCode(code: string): TlsResultType {
  return CODES[code] ?? "validation-failure"
}

const CODES: Readonly<Record<string, TlsResultType>> = {
  NO_TLS: "starttls-not-supported",
  CERT_HAS_EXPIRED: "certificate-expired",
  CERT_NOT_YET_VALID: "certificate-expired",
  ERR_TLS_CERT_ALTNAME_INVALID: "certificate-host-mismatch",
  HOSTNAME_MISMATCH: "certificate-host-mismatch",
  DEPTH_ZERO_SELF_SIGNED_CERT: "certificate-not-trusted",
  SELF_SIGNED_CERT_IN_CHAIN: "certificate-not-trusted",
  UNABLE_TO_GET_ISSUER_CERT: "certificate-not-trusted",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "certificate-not-trusted",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "certificate-not-trusted",
  CERT_UNTRUSTED: "certificate-not-trusted",
  CERT_REJECTED: "certificate-not-trusted",
}
