import { isSignedData } from "../../crypto/cms/signed-data.ts"
import { BEGIN_CLEARTEXT, checkOpenPgp, readCleartext } from "../../crypto/openpgp/verify.ts"
import { hasCode } from "../../errors.ts"
import type { Address } from "../../message/address.ts"
import { type SignedBy, type SignedForm, signedForm } from "../../mime/signed.ts"
import type { Entity } from "../../mime/structure.ts"
import type { KeyCandidate } from "../../profiles/key.ts"
import { namesAddress } from "../../profiles/usable/addresses.ts"
import { mailAddress } from "../../profiles/usable/openpgp.ts"
import { type Prepared, WHOLE_OCTETS } from "../prepared.ts"
import { type Arrived, bodyOf, piecesOf, rangeOf } from "./arrived.ts"
import type { VerifyingMeans } from "./ports.ts"
import { namesAnother } from "./protected-header.ts"
import { type SmimeSigner, verifySmime } from "./smime.ts"
import type { SignatureResult, SignatureVerdict } from "./verdict.ts"

/** What became of a message's signature. */
export interface Verified {
  readonly verdict: SignatureVerdict
  /** S/MIME, where it passed: what the signature brings. */
  readonly signer: SmimeSigner | null
}

/** Signatures over more than this are not looked at, where the signed octets have to be held: everywhere but in S/MIME's multipart/signed. */
export const MAX_HELD_OCTETS = 16_777_216
/** A signature with the certificates of its path; post-quantum ones are below 100 KB. */
export const MAX_SIGNATURE_OCTETS = 262_144

/** A signature that can be seen in a message; what it says is not looked at. */
export type SeenSignature =
  | Extract<SignedForm, { readonly kind: "detached" | "partial" }>
  | { readonly kind: "opaque"; readonly octets: Uint8Array | null }
  /** Text in the cleartext form, as it stands. */
  | { readonly kind: "cleartext"; readonly octets: Uint8Array }

/**
 * The signature that can be seen in a message, as it stands in clear.
 * @returns null when there is none
 */
export async function seenSignature({ message, root, fields }: Arrived): Promise<SeenSignature | null> {
  const form = signedForm(root, fields)
  if (form.kind === "detached" || form.kind === "partial") return form
  if (form.kind === "opaque") {
    const octets = await bodyOf(message, root, MAX_HELD_OCTETS)
    return octets !== null && !isSignedData(octets) ? null : { kind: "opaque", octets }
  }
  if (root.bodyEnd - root.bodyStart > WHOLE_OCTETS) return null
  const octets = await (form.kind === "text" ? bodyOf(message, root, WHOLE_OCTETS) : rawBody(message, root))
  if (octets === null || !holdsCleartext(octets)) return null
  return form.kind === "text" ? { kind: "cleartext", octets } : { kind: "partial", by: "openpgp", because: PARTIAL }
}

/**
 * Looks at the signature of a message. It passes only if it covers all that readers show, was made by the one author, with a key that is known to be
 * theirs, in force and not revoked `at` the time.
 */
export async function verifySignature(
  arrived: Arrived,
  seen: SeenSignature,
  at: Date,
  means: VerifyingMeans,
): Promise<Verified> {
  switch (seen.kind) {
    case "partial":
      return refused(seen.by, seen.because)
    case "cleartext":
      return verifyText(seen.octets, arrived, at, means)
    case "opaque":
      return verifyOpaque(seen.octets, arrived, at, means)
    case "detached":
      return verifyDetached(arrived, seen, at, means)
  }
  return seen satisfies never
}

async function verifyDetached(
  arrived: Arrived,
  form: SignedForm & { kind: "detached" },
  at: Date,
  means: VerifyingMeans,
): Promise<Verified> {
  const { message, author } = arrived
  const { by, signed } = form
  if (author === null) return refused(by, NO_AUTHOR)
  const beside = await besideSigned(message, arrived.root, form)
  if (beside !== null) return refused(by, beside)
  if (await namesAnother(message, signed, author)) return refused(by, "the signed header is by somebody else")
  const signature = await bodyOf(message, form.signature, MAX_SIGNATURE_OCTETS)
  if (signature === null) return told(by, "permerror", "the signature cannot be read")
  if (by === "smime") {
    const content = { kind: "outside", pieces: () => piecesOf(message, signed.headerStart, signed.bodyEnd) } as const
    return verifySmime(signature, content, { author, micalg: form.micalg, at, means })
  }
  const content = await rangeOf(message, [signed.headerStart, signed.bodyEnd], MAX_HELD_OCTETS)
  return content === null ? tooLarge(by) : verifyOpenPgp({ content, signature, micalg: form.micalg }, author, at, means)
}

async function verifyOpaque(
  octets: Uint8Array | null,
  { root, author }: Arrived,
  at: Date,
  means: VerifyingMeans,
): Promise<Verified> {
  if (root.bodyEnd - root.bodyStart > MAX_HELD_OCTETS) return tooLarge("smime")
  if (octets === null) return told("smime", "permerror", "its encoding is broken")
  if (author === null) return refused("smime", NO_AUTHOR)
  return verifySmime(octets, { kind: "inside" }, { author, micalg: "", at, means })
}

async function verifyText(octets: Uint8Array, { author }: Arrived, at: Date, means: VerifyingMeans): Promise<Verified> {
  try {
    const text = readCleartext(octets)
    if (text === null) return refused("openpgp", PARTIAL)
    if (author === null) return refused("openpgp", NO_AUTHOR)
    return await verifyOpenPgp({ content: text.signed, signature: text.signature, micalg: "" }, author, at, means)
  } catch (error) {
    if (hasCode(error, "OPENPGP_MALFORMED")) return told("openpgp", "permerror", "the signed text is malformed")
    throw error
  }
}

/** As it stands: signed text that is no plain text on its own is in an attachment, or in a comment of HTML. */
function rawBody(message: Prepared, { bodyStart, bodyEnd }: Entity): Promise<Uint8Array | null> {
  return rangeOf(message, [bodyStart, bodyEnd], WHOLE_OCTETS)
}

function holdsCleartext(octets: Uint8Array): boolean {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.length).includes(BEGIN_CLEARTEXT)
}

interface Signed {
  readonly content: Uint8Array
  readonly signature: Uint8Array
  readonly micalg: string
}

async function verifyOpenPgp(
  { content, signature, micalg }: Signed,
  author: Address,
  at: Date,
  { keys }: VerifyingMeans,
): Promise<Verified> {
  const { candidates, silent } = await keys.candidates(author)
  const known = candidates.filter(({ format, trust }) => format === "openpgp" && trust !== "keyserver")
  const certificates = known.slice(0, MAX_CERTIFICATES).map(({ octets }) => octets)
  const checked = await checkOpenPgp(content, signature, certificates, at, micalg)
  if (checked.kind === "unknown" && silent) return told("openpgp", "temperror", "no answer on the keys of its author")
  if (checked.kind !== "good") return told("openpgp", RESULTS[checked.kind], checked.because)
  if (!namesAddress(checked.userIds.map(mailAddress), author, false))
    return refused("openpgp", "the signer is not the author")
  const source = sourceOf(known, checked.certificate)
  const signer = { address: author, key: checked.fingerprint }
  return { verdict: { by: "openpgp", result: "pass", because: `certificate from ${source}`, signer }, signer: null }
}

function sourceOf(known: readonly KeyCandidate[], certificate: Uint8Array): string {
  return known.find(({ octets }) => octets === certificate)?.source ?? "a source"
}

/**
 * What stands around the parts of a multipart/signed: the boundary lines; before the first a line or two that tell old programs what this is, which
 * nobody sees; nothing behind the last.
 * @returns why there is more than is signed, or null
 */
async function besideSigned(
  message: Prepared,
  root: Entity,
  { signed, signature, boundary }: SignedForm & { kind: "detached" },
): Promise<string | null> {
  const texts = [
    await rangeOf(message, [root.bodyStart, signed.headerStart], MAX_BESIDE_OCTETS),
    await rangeOf(message, [signed.bodyEnd, signature.headerStart], MAX_BESIDE_OCTETS),
    await rangeOf(message, [signature.bodyEnd, root.bodyEnd], MAX_BESIDE_OCTETS),
  ].map((octets) => (octets === null ? null : Buffer.from(octets).toString("latin1")))
  const [before, between, behind] = texts
  const line = `--${boundary}`
  if (!before || !isPreamble(before, line)) return "text stands before the signed part"
  if (between?.trim() !== line) return "text stands beside the signed part"
  return behind?.trim() === `${line}--` ? null : "text stands behind the signature"
}

function isPreamble(text: string, line: string): boolean {
  if (!text.trimEnd().endsWith(line)) return false
  const preamble = text.trimEnd().slice(0, -line.length)
  return preamble.length <= MAX_PREAMBLE_OCTETS && PREAMBLE.test(preamble)
}

function refused(by: SignedBy, because: string): Verified {
  return told(by, "policy", because)
}

function tooLarge(by: SignedBy): Verified {
  return told(by, "neutral", `over ${MAX_HELD_OCTETS / 1_048_576} MiB are not verified`)
}

function told(by: SignedBy, result: SignatureResult, because: string): Verified {
  return { verdict: { by, result, because }, signer: null }
}

const RESULTS = { unknown: "neutral", wrong: "fail", refused: "policy", malformed: "permerror" } as const
const PARTIAL = "only a part of it is signed"
const NO_AUTHOR = "it has no author, or several"
/** Boundary line, and the preamble before the first. */
const MAX_BESIDE_OCTETS = 1_024
/** "This is a cryptographically signed message in MIME format." */
const MAX_PREAMBLE_OCTETS = 256
/** Text of which no line is a field, a boundary or a tag, whatever reads it. */
const PREAMBLE = /^(?:(?!--)[\x20-\x39\x3b\x3d\x3f-\x7e]*\r?\n){0,4}$/
/** Of one author. Each costs milliseconds. */
const MAX_CERTIFICATES = 8
