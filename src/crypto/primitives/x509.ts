import { X509Certificate } from "node:crypto"

/** True when a TLS client that looks for `host` accepts this certificate (DER) as the host's (RFC 9525 §6.3). @throws Error what is no certificate */
export function certificateNames(der: Uint8Array, host: string): boolean {
  return new X509Certificate(der).checkHost(host, { subject: "never" }) !== undefined
}

/** When a certificate (DER) ends. @throws Error what is no certificate */
export function certificateEnd(der: Uint8Array): Date {
  return new X509Certificate(der).validToDate
}

/** A certificate in the forms that others refer to it by. */
export interface CertificateForms {
  /** DER of the certificate. */
  readonly der: Uint8Array
  /** DER of its SubjectPublicKeyInfo. */
  readonly spki: Uint8Array
  readonly pem: string
}

/** @throws Error what is no certificate, or has a key that OpenSSL does not know */
export function certificateForms(der: Uint8Array): CertificateForms {
  const certificate = new X509Certificate(der)
  return {
    der: certificate.raw,
    spki: certificate.publicKey.export({ type: "spki", format: "der" }),
    pem: certificate.toString(),
  }
}
