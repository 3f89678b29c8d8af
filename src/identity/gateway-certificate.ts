/** PURE. Whether what its owner has certified may sign for an account. */
import { type Certificate, readCertificate } from "../crypto/cms/certificate.ts"
import { readCertificate as readOpenPgp } from "../crypto/openpgp/certificate.ts"
import { vouchedUntil } from "../crypto/openpgp/gateway-subkey.ts"
import { findPath } from "../crypto/x509/path.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import type { Account } from "../store/account.ts"
import type { GatewayKey } from "../store/gateway-keys.ts"

/** Whether a key may sign with what its owner has made of it, and until when. */
export type Fitness =
  | { readonly kind: "fit"; readonly until: Date }
  | { readonly kind: "unfit"; readonly because: string }

/**
 * `certified`: X.509 in DER, or a subkey's packets, which count for nothing unless they stand in the account's certificate.
 * @throws GatewayError DER_SYNTAX, CERTIFICATE_INVALID, OPENPGP_MALFORMED
 */
export function fitnessOf(
  { format, publicKey }: Pick<GatewayKey, "format" | "publicKey">,
  certified: Uint8Array,
  account: Account,
  at: Date,
): Fitness {
  return format === "smime" ? ofCertificate(publicKey, certified, account, at) : subkeyFitness(publicKey, account)
}

/** The same for a subkey, by its packet's body; it depends on the certificate alone. */
export function subkeyFitness(body: Uint8Array, { keys }: Account): Fitness {
  const key = keys.find(({ format, current }) => format === "openpgp" && current)
  const until = key === undefined ? null : vouchedUntil(key.certificate, body)
  if (key === undefined || until === null) return unfit("the account's certificate does not vouch for it")
  // A subkey is of no use behind the end of its primary key.
  const ends = readOpenPgp(key.certificate).expiresAt ?? until
  return { kind: "fit", until: new Date(Math.min(ends.getTime(), until.getTime())) }
}

function ofCertificate(point: Uint8Array, der: Uint8Array, account: Account, at: Date): Fitness {
  const certificate = readCertificate(der)
  if (certificate.point === null || Buffer.compare(certificate.point, point) !== 0) return unfit("it is of another key")
  if (!isOf(certificate, account.address)) return unfit(`it is not of ${account.address}`)
  const anchors = [readCertificate(account.root)]
  const between = [readCertificate(account.intermediate)]
  const found = findPath(certificate, { anchors, between, at, purpose: "signature" })
  return found.kind === "path" ? { kind: "fit", until: certificate.notAfter } : unfit(found.because)
}

function unfit(because: string): Fitness {
  return { kind: "unfit", because }
}

function isOf({ emailAddresses }: Certificate, address: string): boolean {
  return emailAddresses.length > 0 && emailAddresses.every((email) => addressKey(parseAddress(email)) === address)
}
