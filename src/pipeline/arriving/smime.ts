import { type Certificate, readableCertificates } from "../../crypto/cms/certificate.ts"
import { checkSigner, identified } from "../../crypto/cms/signed-check.ts"
import {
  type ContentDigest,
  ID_DATA,
  readSignedData,
  type SignedData,
  type SignerInfo,
} from "../../crypto/cms/signed-data.ts"
import { digestOf } from "../../crypto/primitives/hash.ts"
import { GatewayError } from "../../errors.ts"
import type { Address } from "../../message/address.ts"
import { namesAddress } from "../../profiles/usable/addresses.ts"
import type { SmimeQuestion } from "./ports.ts"
import { entityNamesAnother } from "./protected-header.ts"
import { trustSigner } from "./smime-trust.ts"
import type { SignatureResult, SignatureVerdict } from "./verdict.ts"

/** What a signature that passed tells of how its author reads encrypted mail. Verified is that the author signed it; the rest is for others to judge. */
export interface SmimeSigner {
  /** DER of the certificate to encrypt to. */
  readonly certificate: Uint8Array
  /** DER of what came along, to build its path with. */
  readonly chain: readonly Uint8Array[]
  /** DER of SMIMECapabilities. */
  readonly capabilities: Uint8Array | null
}

/** Where the signed octets are. */
export type SignedContent =
  | { readonly kind: "inside" }
  | { readonly kind: "outside"; pieces(): AsyncIterable<Uint8Array> }

interface SmimeVerified {
  readonly verdict: SignatureVerdict
  readonly signer: SmimeSigner | null
}

/** Looks at an S/MIME signature: DER or BER of a ContentInfo. */
export async function verifySmime(
  octets: Uint8Array,
  content: SignedContent,
  question: SmimeQuestion,
): Promise<SmimeVerified> {
  try {
    const data = readSignedData(octets)
    const [signer] = data.signers
    if (signer === undefined) return told("permerror", "nobody signed it")
    return unfitting(data, content, question) ?? (await verifyOne(data, signer, content, question))
  } catch (error) {
    if (error instanceof GatewayError) return told("permerror", "the signature is malformed")
    throw error
  }
}

/** What speaks against the signature before it is computed. */
function unfitting(
  { contentType, content: inside, signers }: SignedData,
  content: SignedContent,
  { author }: SmimeQuestion,
): SmimeVerified | null {
  if (signers.length > 1) return told("policy", "it has several signers")
  if (contentType !== ID_DATA) return told("policy", "what is signed is no mail")
  if (content.kind === "outside") return inside === null ? null : told("policy", "the signature has content of its own")
  if (inside === null || inside.length === 0) return told("permerror", "nothing is signed")
  return entityNamesAnother(inside, author) ? told("policy", "the signed header is by somebody else") : null
}

async function verifyOne(
  data: SignedData,
  signer: SignerInfo,
  content: SignedContent,
  question: SmimeQuestion,
): Promise<SmimeVerified> {
  const { author, micalg } = question
  if (signer.digest === null) return told("policy", "it is signed with a weak hash, or one that is not known")
  if (contradicts(micalg, signer.digest)) return told("policy", "micalg names another hash than the signature")
  const certificates = readableCertificates(data.certificates, MAX_CERTIFICATES)
  const certificate = identified(signer.signer, certificates)
  if (certificate === null) return told("neutral", "the signer's certificate did not come along")
  const digest = await digestOfContent(signer.digest, data.content, content)
  const checked = checkSigner(signer, data.contentType, digest, certificate)
  if (checked.kind !== "good") return told(RESULTS[checked.kind], checked.because)
  if (certificate.emailAddresses.length === 0) return told("policy", "the signer's certificate names no address")
  if (!namesAddress(certificate.emailAddresses, author, false)) return told("policy", "the signer is not the author")
  const trust = await trustSigner(certificate, certificates, question)
  if (trust.kind !== "good") return told(trust.kind, trust.because)
  const key = Buffer.from(certificate.identity.serial).toString("hex")
  return {
    verdict: { by: "smime", result: "pass", because: trust.because, signer: { address: author, key } },
    signer: trust.isRooted ? encryptionOf(signer, certificate, certificates, author) : null,
  }
}

async function digestOfContent(
  hash: ContentDigest,
  inside: Uint8Array | null,
  content: SignedContent,
): Promise<Uint8Array> {
  const digest = digestOf(hash)
  if (content.kind === "inside") digest.update(inside ?? new Uint8Array(0))
  else for await (const piece of content.pieces()) digest.update(piece)
  return digest.digest()
}

/** RFC 8551 §3.5.3.2: names that nobody knows are passed over. Some write none of what they did; a known one that is wrong is no slip. */
function contradicts(micalg: string, hash: ContentDigest): boolean {
  const named = micalg.split(",").map((name) => name.trim().replace(/^sha(?=\d)/, "sha-"))
  const known = named.filter((name) => MICALGS.includes(name))
  return known.length > 0 && !known.includes(hash.replace("sha", "sha-"))
}

/** The certificate that the signer wants mail encrypted to (RFC 8551 §2.5.3); else the signer's own, or one beside it of the same subject. */
function encryptionOf(
  { attributes }: SignerInfo,
  own: Certificate,
  certificates: readonly Certificate[],
  author: Address,
): SmimeSigner | null {
  const preferred = attributes?.encryptionKey ? identified(attributes.encryptionKey, certificates) : null
  const beside = certificates.find(
    ({ subject, mayEncrypt }) => mayEncrypt && Buffer.compare(subject, own.subject) === 0,
  )
  const found = preferred ?? (own.mayEncrypt ? own : (beside ?? null))
  if (found === null || !found.mayEncrypt || !namesAddress(found.emailAddresses, author, false)) return null
  return {
    certificate: found.der,
    chain: certificates.filter((other) => other !== found).map(({ der }) => der),
    capabilities: attributes?.capabilities ?? null,
  }
}

function told(result: SignatureResult, because: string): SmimeVerified {
  return { verdict: { by: "smime", result, because }, signer: null }
}

const RESULTS = { wrong: "fail", refused: "policy", malformed: "permerror" } as const
const MICALGS: readonly string[] = ["md5", "sha-1", "sha-224", "sha-256", "sha-384", "sha-512"]
/** Of a path, and of another for encryption. */
export const MAX_CERTIFICATES = 16
