import { readCertificate } from "../../crypto/openpgp/certificate.ts"
import { GatewayError } from "../../errors.ts"
import { type Address, formatAddress } from "../../message/address.ts"
import { MAX_OPENPGP_ANSWER_OCTETS, readOpenPgpAnswer } from "./openpgp-answer.ts"
import type { UploadPlace } from "./vks-upload.ts"

/** What a keyserver makes of an answer. `because` is a sentence for people. */
export type Confirmation = { readonly kind: "published" } | { readonly kind: "failed"; readonly because: string }

/**
 * Follows the link of a keyserver's mail, once, as the form behind it does (Hagrid: POST /verify/TOKEN; a GET changes nothing), and looks whether the certificate
 * can be found by the address then.
 * @param fingerprint lower case hexadecimal
 * @throws GatewayError WEB_*
 */
export async function confirmAtVks(
  { host, ask }: UploadPlace,
  address: Address,
  { token, fingerprint }: { readonly token: string; readonly fingerprint: string },
  signal: AbortSignal,
): Promise<Confirmation> {
  const at = (path: string): URL => new URL(path, `https://${host}`)
  const common = { isTrusted: true } as const
  const agreed = await ask({ ...common, url: at(`/verify/${token}`), body: FORM, maxOctets: MAX_PAGE_OCTETS }, signal)
  if (agreed.status !== 200) return { kind: "failed", because: `its link answers ${agreed.status}` }
  const place = at(`/vks/v1/by-email/${encodeURIComponent(formatAddress(address))}`)
  const found = await ask({ ...common, url: place, maxOctets: MAX_OPENPGP_ANSWER_OCTETS }, signal)
  if (found.status === 200 && holds(found.body, fingerprint)) return { kind: "published" }
  return { kind: "failed", because: "it took the answer, and does not give this certificate for the address" }
}

function holds(body: Uint8Array, fingerprint: string): boolean {
  return readOpenPgpAnswer(body).certificates.some((octets) => {
    try {
      return Buffer.from(readCertificate(octets).fingerprint).toString("hex") === fingerprint
    } catch (error) {
      if (error instanceof GatewayError) return false
      throw error
    }
  })
}

/** A form without fields. */
const FORM = { type: "application/x-www-form-urlencoded", octets: new Uint8Array(0) } as const
/** A page for people. */
const MAX_PAGE_OCTETS = 262_144
