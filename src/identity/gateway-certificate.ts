/** PURE. Whether what its owner has certified may sign for an account. */
import { type Certificate, readCertificate } from "../crypto/cms/certificate.ts"
import { findPath } from "../crypto/x509/path.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import type { Account } from "../store/account.ts"
import type { GatewayKey } from "../store/gateway-keys.ts"

/**
 * Why a key must not sign with this certificate; null when it may.
 * @throws GatewayError DER_SYNTAX, CERTIFICATE_INVALID
 */
export function unfitToSign(
  { publicKey }: Pick<GatewayKey, "publicKey">,
  der: Uint8Array,
  account: Pick<Account, "address" | "root" | "intermediate">,
  at: Date,
): string | null {
  const certificate = readCertificate(der)
  if (certificate.point === null || Buffer.compare(certificate.point, publicKey) !== 0) return "it is of another key"
  if (!isOf(certificate, account.address)) return `it is not of ${account.address}`
  const anchors = [readCertificate(account.root)]
  const between = [readCertificate(account.intermediate)]
  const found = findPath(certificate, { anchors, between, at, purpose: "signature" })
  return found.kind === "path" ? null : found.because
}

function isOf({ emailAddresses }: Certificate, address: string): boolean {
  return emailAddresses.length > 0 && emailAddresses.every((email) => addressKey(parseAddress(email)) === address)
}
