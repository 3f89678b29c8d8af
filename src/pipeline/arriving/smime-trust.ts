import { type Certificate, readableCertificates } from "../../crypto/cms/certificate.ts"
import { nameText } from "../../crypto/x509/names.ts"
import { findPath } from "../../crypto/x509/path.ts"
import type { KeyCandidate } from "../../profiles/key.ts"
import type { RevocationStatus } from "../../profiles/usable/revocation-status.ts"
import type { SmimeQuestion } from "./ports.ts"

/** Whether a signer's certificate counts. `because`: one clause for people. */
export type SignerTrust =
  /** `isRooted`: under an authority that an administrator named, for everybody it issues for. */
  | { readonly kind: "good"; readonly because: string; readonly isRooted: boolean }
  | { readonly kind: "fail" | "policy" | "temperror"; readonly because: string }

/**
 * Whether the certificate is under a configured root or under what a source vouches for of this author, in force, for mail and signatures, and not revoked.
 * @throws GatewayError DER_SYNTAX, CERTIFICATE_INVALID
 */
export async function trustSigner(
  certificate: Certificate,
  certificates: readonly Certificate[],
  { author, at, means }: SmimeQuestion,
): Promise<SignerTrust> {
  const rules = means.rulesAt(at)
  const between = certificates.filter((other) => other !== certificate)
  const rooted = findPath(certificate, { anchors: rules.roots, between, at, purpose: "signature" })
  if (rooted.kind === "path") return unrevoked(rooted.certificates, true, { at, means })
  const { candidates, silent } = await means.keys.candidates(author)
  const anchors = candidates.flatMap(anchorsOf)
  const vouched = findPath(certificate, { anchors, between, at, purpose: "signature" })
  if (vouched.kind === "path") return unrevoked(vouched.certificates, false, { at, means })
  if (silent) return { kind: "temperror", because: "no answer on the keys of its author" }
  return { kind: "policy", because: `of the signer's certificate: ${rooted.because}` }
}

/** What a source vouches for; who pins a certificate or keeps a directory means that one. */
function anchorsOf({ format, trust, octets, anchors = [] }: KeyCandidate): Certificate[] {
  if (format !== "smime" || trust === "harvested" || trust === "keyserver") return []
  const own = trust === "pinned" || trust === "directory" ? [octets] : []
  return readableCertificates([...anchors, ...own], MAX_ANCHORS)
}

async function unrevoked(
  path: readonly Certificate[],
  isRooted: boolean,
  { at, means }: Pick<SmimeQuestion, "at" | "means">,
): Promise<SignerTrust> {
  const { revocation } = means.rulesAt(at)
  const anchor = path.at(-1)
  const because =
    anchor && path.length > 1 ? `issued under ${nameText(anchor.subject)}` : "known certificate of its author"
  if (revocation.kind === "off") return { kind: "good", because, isRooted }
  const limit = AbortSignal.timeout(STATUS_MS)
  for (let index = path.length - 2; index >= 0; index--) {
    const [own, issuer] = path.slice(index, index + 2)
    if (!own || !issuer) break
    const status = await statusWithin(limit, () => revocation.status(own, issuer, at, limit))
    if (status.kind === "revoked" || status.kind === "unknown")
      return { kind: "fail", because: "the signer's certificate, or an authority's of it, is revoked" }
    if (revocation.kind === "hard" && status.kind !== "good")
      return { kind: "temperror", because: "whether the signer's certificate is revoked could not be learned" }
  }
  return { kind: "good", because, isRooted }
}

/** Whoever takes too long has not answered. */
async function statusWithin(limit: AbortSignal, ask: () => Promise<RevocationStatus>): Promise<RevocationStatus> {
  try {
    return await ask()
  } catch (error) {
    if (limit.aborted) return { kind: "unanswered", because: `no answer within ${STATUS_MS / 1000} s` }
    throw error
  }
}

const MAX_ANCHORS = 8
/** Of all certificates of a path together: the message waits for it. */
const STATUS_MS = 5_000
