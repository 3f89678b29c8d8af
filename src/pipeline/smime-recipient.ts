import { readCertificate } from "../crypto/cms/certificate.ts"
import { type CmsRecipient, cmsRecipient } from "../crypto/cms/recipient.ts"

/**
 * The holder of a certificate, as somebody to encrypt to. Whoever keeps the octets has it made once: to read a certificate takes as long as to encrypt 40 KB.
 * @param certificate DER; nobody changes it
 * @throws GatewayError as `readCertificate` and `cmsRecipient`
 */
export function smimeRecipient(certificate: Uint8Array): CmsRecipient {
  const known = RECIPIENTS.get(certificate)
  if (known !== undefined) return known
  const made = cmsRecipient(readCertificate(certificate))
  RECIPIENTS.set(certificate, made)
  return made
}

const RECIPIENTS = new WeakMap<Uint8Array, CmsRecipient>()
