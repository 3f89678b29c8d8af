import { GatewayError, hasCode } from "../errors.ts"
import { EncryptionClassifier } from "../mime/classify.ts"
import { outerFields, withoutMarker } from "../mime/compose.ts"
import { headerEnd } from "../mime/header.ts"
import type { HeldOctets, HeldShare } from "./held-octets.ts"
import { readMarker } from "./marker-field.ts"
import { Marking } from "./marking.ts"
import { type Prepared, prefixed, preparedOf } from "./prepared.ts"
import { type AtRest, encryptedMessage, protectAtRest } from "./protect.ts"
import { genuineMarker } from "./restore.ts"
import { RestoredUpload } from "./restored-upload.ts"
import { takeHead, type UploadHead } from "./upload-head.ts"

/** A message that a client uploads; its content can be had once. */
export interface Upload {
  readonly sizeOctets: number
  readonly content: AsyncIterable<Uint8Array>
}

/** What becomes of an upload. `text` may begin with a response code (RFC 9051 §7.1). */
export type UploadPlan = StoredUpload | { readonly kind: "refuse"; readonly text: string }

/** What is stored in place of an upload. */
export interface StoredUpload {
  /** `asIs`: it was encrypted already. */
  readonly kind: "asIs" | "encrypt"
  /** Exactly as many octets as `content` gives. */
  readonly sizeOctets: number
  /** Streams, and reads the rest of the upload on the way. May throw before its end: then nothing must be stored. */
  readonly content: AsyncIterable<Uint8Array>
  /** Blocks in its head that were in the form of a device of the account. */
  readonly restored: number
  /** Gives back the memory that is held; must be called at the end, whatever came of it. */
  release(): void
}

/**
 * Decides how an upload is stored: what is encrypted already stays, in the account's form; everything else is encrypted to the
 * account. Length and head of the result are known beforehand, so that a large message streams through.
 */
export async function planUpload(
  upload: Upload,
  seed: Uint8Array,
  rest: AtRest,
  memory: HeldOctets,
): Promise<UploadPlan> {
  const share = memory.share()
  try {
    const plan = await planned(upload, seed, rest, share)
    if (plan.kind === "refuse") share.release()
    return plan
  } catch (error) {
    share.release()
    if (hasCode(error, "HEADER_TOO_LARGE")) return { kind: "refuse", text: "header section too large" }
    if (hasCode(error, "UPLOADS_FULL"))
      return { kind: "refuse", text: "[UNAVAILABLE] too many uploads at once, try again later" }
    throw error
  }
}

async function planned(upload: Upload, seed: Uint8Array, rest: AtRest, share: HeldShare): Promise<UploadPlan> {
  const restored = new RestoredUpload(rest)
  const source = upload.content[Symbol.asyncIterator]()
  const head = await takeHead(source, upload.sizeOctets, restored, share)
  if (restored.lost) return { kind: "refuse", text: LOST }
  const uploaded: Uploaded = {
    sizeOctets: upload.sizeOctets,
    bodyStart: headerEnd(head.octets) ?? head.octets.length,
    head,
    following: () => following(source, restored),
  }
  const plan = isEncrypted(head) ? planKept(uploaded, rest) : await planClear(uploaded, seed, rest)
  return plan.kind === "refuse" ? plan : { ...plan, restored: restored.restored, release: () => share.release() }
}

/** An upload whose head is known, in the account's form. */
interface Uploaded {
  readonly sizeOctets: number
  readonly head: UploadHead
  /** Offset of the body in the head. */
  readonly bodyStart: number
  /** What comes behind the head. */
  following(): AsyncIterable<Uint8Array>
}

type Plan = Omit<StoredUpload, "restored" | "release"> | { readonly kind: "refuse"; readonly text: string }

/** @throws GatewayError DEVICE_REVOKED when it shows only now that nobody could open the message */
async function* following(source: AsyncIterator<Uint8Array>, restored: RestoredUpload): AsyncGenerator<Uint8Array> {
  for (let next = await source.next(); next.done !== true; next = await source.next()) {
    yield* restored.push(next.value)
    if (restored.lost) throw new GatewayError("DEVICE_REVOKED", "append: block is in the form of no live device")
  }
  yield* restored.end()
}

/**
 * Whether everything is encrypted, as far as the head tells. A large upload whose end is not known yet is taken for encrypted only when
 * the head has no octet in clear: the classifier, fed with it, has seen nothing but encrypted content so far.
 */
function isEncrypted({ octets, whole }: UploadHead): boolean {
  const classifier = new EncryptionClassifier()
  classifier.push(octets)
  return (whole ? classifier.end() : classifier.soFar()) !== "clear"
}

async function planClear(uploaded: Uploaded, seed: Uint8Array, rest: AtRest): Promise<Plan> {
  const { head } = uploaded
  if (!head.whole) return planLarge(uploaded, seed, rest)
  const stored = await protectAtRest(preparedOf(head.octets), [], seed, rest)
  return { kind: "encrypt", sizeOctets: stored.sizeOctets, content: stored.content() }
}

async function planLarge(
  { head, bodyStart, sizeOctets, following }: Uploaded,
  seed: Uint8Array,
  rest: AtRest,
): Promise<Plan> {
  const body = (content: () => AsyncIterable<Uint8Array>) =>
    encryptedMessage({ sizeOctets, content }, seed, rest.account, rest.target)
  const marker = await markHead(body(inPieces(head.octets)).body, rest)
  const encrypted = body(async function* () {
    yield head.octets
    yield* following()
  })
  const outside = outerFields(head.octets.subarray(0, bodyStart), rest.subject)
  const stored = prefixed([...outside, marker, ...encrypted.fields], encrypted.body)
  return { kind: "encrypt", sizeOctets: stored.sizeOctets, content: stored.content() }
}

/** The marker over the first octets of the ciphertext: the head is encrypted once more for it. */
async function markHead(body: Prepared, rest: AtRest): Promise<Uint8Array> {
  const marking = new Marking("this gateway", rest, MARKED_OCTETS)
  try {
    // The head alone is shorter than announced, so the encryption ends in LENGTH_MISMATCH; by then the marked octets are out.
    for await (const part of body.content()) marking.push(part)
  } catch (error) {
    if (!hasCode(error, "LENGTH_MISMATCH")) throw error
  }
  return marking.field()
}

/** The encoders hold back the last piece they got: it should not be all. */
function inPieces(octets: Uint8Array): () => AsyncIterable<Uint8Array> {
  return async function* () {
    for (let at = 0; at < octets.length; at += PIECE_OCTETS) yield octets.subarray(at, at + PIECE_OCTETS)
  }
}

/** What is encrypted already gets a marker, unless it has one: its tag tells the account's form from its devices' from now on. */
function planKept({ head, bodyStart, sizeOctets, following }: Uploaded, rest: AtRest): Plan {
  const { octets, whole } = head
  // RFC 3516 §4.4: what can be stored in an ordinary literal only must not hold NUL.
  if (octets.includes(0)) return { kind: "refuse", text: "[UNKNOWN-CTE] encrypted message holds NUL" }
  const header = markedHeader(octets, bodyStart, whole, rest)
  const front = preparedOf(...header, octets.subarray(bodyStart))
  return {
    kind: "asIs",
    sizeOctets: front.sizeOctets + sizeOctets - octets.length,
    content: whole ? front.content() : asLongAsEncrypted(octets, front, following()),
  }
}

function markedHeader(octets: Uint8Array, bodyStart: number, whole: boolean, rest: AtRest): readonly Uint8Array[] {
  const header = octets.subarray(0, bodyStart)
  // Of version 1 nobody knows whether it is genuine.
  if (genuineMarker(header, rest) !== null || readMarker(header)?.version === 1) return [header]
  const marking = new Marking("unknown", rest, whole ? null : MARKED_OCTETS)
  marking.push(octets.subarray(bodyStart))
  return [marking.field(), ...withoutMarker(header)]
}

/**
 * Passes a large upload on that began as an encrypted one; should anything stand in clear behind, it is broken off before its end.
 * Throws GatewayError CLEAR_CONTENT: the store must not be told that the message is complete.
 */
async function* asLongAsEncrypted(
  head: Uint8Array,
  front: Prepared,
  rest: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const classifier = new EncryptionClassifier()
  classifier.push(head)
  yield* front.content()
  let last: Uint8Array | null = null
  for await (const octets of rest) {
    if (octets.includes(0)) throw new GatewayError("CLEAR_CONTENT", "upload: holds NUL and cannot be kept")
    if (last) yield last
    classifier.push(octets)
    last = octets
  }
  if (classifier.end() === "clear")
    throw new GatewayError("CLEAR_CONTENT", "upload: begins encrypted and goes on in clear")
  if (last) yield last
}

/** Octets of the body that the marker of a large upload covers: its field is written before the rest is known. */
const MARKED_OCTETS = 32_768
const PIECE_OCTETS = 8_192
const LOST = "[CANNOT] message can be opened by no device: it is in the form of one that was revoked, or was altered"
