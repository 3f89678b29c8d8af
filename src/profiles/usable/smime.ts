import {
  type Certificate,
  publicKeyFingerprint,
  readableCertificates,
  readCertificate,
} from "../../crypto/cms/certificate.ts"
import { cmsRecipient } from "../../crypto/cms/recipient.ts"
import { readsAesGcm } from "../../crypto/x509/extension-values.ts"
import { nameText } from "../../crypto/x509/names.ts"
import { findPath, MAX_BETWEEN, type PathFound } from "../../crypto/x509/path.ts"
import { keyName } from "../../crypto/x509/public-key.ts"
import { hasCode } from "../../errors.ts"
import type { KeyCandidate } from "../key.ts"
import type { RevocationStatus } from "./revocation-status.ts"
import type { KeyRules } from "./rules.ts"
import { earlier, type KeyFacts, type Verdict } from "./verdict.ts"

/**
 * Whether an S/MIME certificate is good at all, whoever's it is: for e-mail and encryption, of a kind that is encrypted to here, in force, under a
 * root of the rules or under what its own source vouches for, and not revoked.
 * @throws GatewayError DER_SYNTAX, CERTIFICATE_INVALID
 */
export async function judgeSmime(candidate: KeyCandidate, rules: KeyRules, signal: AbortSignal): Promise<Verdict> {
  const certificate = readCertificate(candidate.octets)
  const vouched = anchorsOf(candidate)
  const path = pathOf(certificate, vouched, candidate, rules)
  if (path.kind === "none") return { kind: "rejected", because: path.because }
  if (!canEncryptTo(certificate)) return { kind: "rejected", because: "Postern cannot encrypt to a key of its kind" }
  const anchor = path.certificates.at(-1) ?? certificate
  const isVouched = vouched.some(({ der }) => Buffer.compare(der, anchor.der) === 0)
  const revocation = await checkRevocation(path.certificates, isVouched, rules, signal)
  if (revocation.kind !== "good") return revocation
  const issued = anchor === certificate ? "its source vouches for it" : `issued under ${nameText(anchor.subject)}`
  return {
    kind: "good",
    addresses: certificate.emailAddresses,
    // Under an authority that an administrator named it is not its source alone that says whose it is.
    facts: { ...factsOf(certificate), vouched: anchor !== certificate && !isVouched },
    because: [issued, ...revocation.remarks].join("; "),
    until: earlier(revocation.until, ends(path.certificates)),
  }
}

/** A path to somebody else first, even where the source vouches for the certificate itself: then its authority may have revoked it. */
function pathOf(
  certificate: Certificate,
  vouched: readonly Certificate[],
  { chain }: KeyCandidate,
  { roots, at }: KeyRules,
): PathFound {
  const isItself = ({ der }: Certificate) => Buffer.compare(der, certificate.der) === 0
  const others = [...vouched, ...roots].filter((anchor) => !isItself(anchor))
  const search = { between: readableCertificates(chain, MAX_BETWEEN), at, purpose: "encryption" } as const
  const found = findPath(certificate, { ...search, anchors: others })
  const self = vouched.find(isItself)
  return found.kind === "path" || !self ? found : findPath(certificate, { ...search, anchors: [self] })
}

function factsOf(certificate: Certificate): Omit<KeyFacts, "vouched"> {
  return {
    octets: certificate.der,
    fingerprint: Buffer.from(publicKeyFingerprint(certificate)).toString("hex"),
    algorithm: keyName(certificate) ?? "unknown",
    expiresAt: certificate.notAfter,
    // Only what its holder says: that a program is new enough for a curve does not tell that it reads AuthEnvelopedData (RFC 5083).
    reads: { aesGcm: readsAesGcm(certificate), seipdV2: false },
  }
}

/** What the candidate's source vouches for. An administrator who pins a certificate means this one. */
function anchorsOf({ anchors = [], trust, octets }: KeyCandidate): Certificate[] {
  return readableCertificates(trust === "pinned" ? [...anchors, octets] : anchors, MAX_BETWEEN)
}

function canEncryptTo(certificate: Certificate): boolean {
  try {
    cmsRecipient(certificate)
    return true
  } catch (error) {
    if (hasCode(error, "CERTIFICATE_UNSUPPORTED")) return false
    throw error
  }
}

type Checked =
  | { readonly kind: "good"; readonly remarks: readonly string[]; readonly until: Date | null }
  | { readonly kind: "rejected" | "undecided"; readonly because: string }

/**
 * Every certificate of the path but its anchor, from the anchor down. Under an anchor that the source vouches for, a certificate that names no place
 * to ask at is not revoked: its source would not give it any more.
 */
async function checkRevocation(
  path: readonly Certificate[],
  isVouched: boolean,
  { revocation, at }: KeyRules,
  signal: AbortSignal,
): Promise<Checked> {
  if (revocation.kind === "off") return { kind: "good", remarks: [], until: null }
  const remarks: string[] = []
  let until: Date | null = null
  for (let index = path.length - 2; index >= 0; index--) {
    const [certificate, issuer] = path.slice(index, index + 2)
    if (!certificate || !issuer) break
    const whose = index === 0 ? "it" : `its authority ${nameText(certificate.subject)}`
    const status = await revocation.status(certificate, issuer, at, signal)
    if (status.kind === "good") {
      until = earlier(until, status.until)
      continue
    }
    if (status.kind === "nowhere" && isVouched) continue
    const because = describe(status, whose)
    if (status.kind === "revoked" || status.kind === "unknown") return { kind: "rejected", because }
    if (revocation.kind === "hard") return { kind: "undecided", because }
    remarks.push(because)
    until = earlier(until, new Date(at.getTime() + ASK_AGAIN_MS))
  }
  return { kind: "good", remarks, until }
}

function describe(status: Exclude<RevocationStatus, { kind: "good" }>, whose: string): string {
  switch (status.kind) {
    case "revoked": {
      const reason = status.reason === null ? "" : ` (${status.reason})`
      return `${whose} was revoked on ${status.since.toISOString().slice(0, 10)}${reason}`
    }
    case "unknown":
      return `the responder of its authority does not know ${whose}`
    case "nowhere":
      return `${whose} names no place that says whether it is revoked`
    case "unanswered":
      return `whether ${whose} is revoked could not be learned (${status.because})`
  }
  return status satisfies never
}

function ends(path: readonly Certificate[]): Date {
  return new Date(Math.min(...path.map(({ notAfter }) => notAfter.getTime())))
}

/** Of an authority that did not answer. */
const ASK_AGAIN_MS = 3_600_000
