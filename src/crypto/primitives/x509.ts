import { X509Certificate } from "node:crypto"

/** True when a TLS client that looks for `host` accepts this certificate (DER) as the host's (RFC 9525 §6.3). @throws Error what is no certificate */
export function certificateNames(der: Uint8Array, host: string): boolean {
  return new X509Certificate(der).checkHost(host, { subject: "never" }) !== undefined
}
