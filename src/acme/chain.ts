import { type Certificate, readCertificate } from "../crypto/cms/certificate.ts"
import { pemDecode, pemEncode } from "../crypto/cms/pem.ts"
import { p256PublicPoint } from "../crypto/primitives/p256.ts"
import { certificateNames } from "../crypto/primitives/x509.ts"
import { AcmeError } from "./problem.ts"

/**
 * What a CA issued (`application/pem-certificate-chain`, RFC 8555 §9.1), checked to be of our key, for our names, and in force.
 * @returns PEM of the certificates and nothing else, ours first
 * @throws AcmeError ACME_PROTOCOL
 */
export function readChain(
  text: string,
  { scalar, names, now }: { readonly scalar: Uint8Array; readonly names: readonly string[]; readonly now: Date },
): string {
  const chain = pemDecode("CERTIFICATE", text)
  const [own] = chain
  if (own === undefined || chain.length > MAX_CERTIFICATES) throw unfit(`${chain.length} certificates`)
  const { point, notAfter } = parsed(chain)
  if (point === null || Buffer.compare(point, p256PublicPoint(scalar)) !== 0) throw unfit("of another key")
  const lacking = names.find((name) => !certificateNames(own, name))
  if (lacking !== undefined) throw unfit(`does not name ${lacking}`)
  if (notAfter <= now) throw unfit(`ended at ${notAfter.toISOString()}`)
  return chain.map((der) => pemEncode("CERTIFICATE", der)).join("")
}

/** The first; all of them must be certificates. */
function parsed([own, ...others]: readonly Uint8Array[]): Certificate {
  try {
    for (const other of others) readCertificate(other)
    return readCertificate(own ?? new Uint8Array())
  } catch (cause) {
    throw unfit("is none", cause)
  }
}

function unfit(what: string, cause?: unknown): AcmeError {
  return new AcmeError("ACME_PROTOCOL", `certificate: ${what}`, { cause })
}

const MAX_CERTIFICATES = 10
