import { RecryptionStream } from "../crypto/recryption/stream.ts"
import { GatewayError } from "../errors.ts"
import { EncryptionClassifier } from "../mime/classify.ts"
import { outerFields } from "../mime/compose.ts"
import { headerEnd } from "../mime/header.ts"
import { MarkerMac, markerField } from "./marker.ts"
import { type Prepared, prefixed, preparedOf } from "./prepared.ts"
import { type AtRest, encryptedMessage, protectAtRest } from "./protect.ts"

/** A message that a client uploads: its head, or all of it when it is small. */
export interface Upload {
  /** The whole header section and at least 64 KiB of the body; the whole message when `whole`. */
  readonly head: Uint8Array
  readonly whole: boolean
  readonly sizeOctets: number
}

/** What becomes of an upload. `encrypt` turns the uploaded octets, streaming, into exactly `sizeOctets` octets. */
export type UploadPlan =
  | { readonly kind: "asIs" }
  | {
      readonly kind: "encrypt"
      readonly sizeOctets: number
      encrypt(content: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array>
    }
  | { readonly kind: "refuse"; readonly text: string }

/** Octets of the body that the marker of a large upload covers: its field is written before the rest is known. */
const MARKED_OCTETS = 32_768

/**
 * Decides how an upload is stored: what is encrypted already stays as it is, everything else is encrypted to the account.
 * Length and head of the result are known beforehand, so that a large message streams through.
 */
export async function planUpload(upload: Upload, seed: Uint8Array, rest: AtRest): Promise<UploadPlan> {
  if (upload.whole) return planWhole(upload.head, seed, rest)
  const end = headerEnd(upload.head)
  if (end === null) return { kind: "refuse", text: "header section too large" }
  if (looksEncrypted(upload.head)) return { kind: "encrypt", sizeOctets: upload.sizeOctets, encrypt: asLongAsEncrypted }
  return planLarge(upload, end, seed, rest)
}

async function planWhole(octets: Uint8Array, seed: Uint8Array, rest: AtRest): Promise<UploadPlan> {
  const classifier = new EncryptionClassifier()
  classifier.push(octets)
  if (classifier.end() !== "clear") return { kind: "asIs" }
  const stored = await protectAtRest(preparedOf(octets), [], seed, rest)
  return {
    kind: "encrypt",
    sizeOctets: stored.sizeOctets,
    async *encrypt(content) {
      for await (const _ of content) {
        // The head held all of it; the octets are only taken off the wire.
      }
      yield* stored.content()
    },
  }
}

async function planLarge(upload: Upload, bodyStart: number, seed: Uint8Array, rest: AtRest): Promise<UploadPlan> {
  const head = upload.head
  const body = (source: AsyncIterable<Uint8Array>): Prepared =>
    encryptedMessage({ sizeOctets: upload.sizeOctets, content: () => source }, seed, rest.account, rest.target).body
  const outside = outerFields(head.subarray(0, bodyStart), rest.subject)
  const marker = markerField("this gateway", await markHead(body, head, rest))
  const { fields, body: sized } = encryptedMessage(
    { sizeOctets: upload.sizeOctets, content: () => preparedOf().content() },
    seed,
    rest.account,
    rest.target,
  )
  const front = [...outside, marker, ...fields]
  return {
    kind: "encrypt",
    sizeOctets: prefixed(front, sized).sizeOctets,
    async *encrypt(content) {
      yield* front
      yield* body(content).content()
    },
  }
}

/** Encrypts the head once to know the first octets of the ciphertext, which the marker covers. */
async function markHead(
  body: (source: AsyncIterable<Uint8Array>) => Prepared,
  head: Uint8Array,
  rest: AtRest,
): Promise<ReturnType<MarkerMac["finish"]>> {
  const mac = new MarkerMac(rest.markerKey, rest.account, "this gateway", MARKED_OCTETS)
  const stream = new RecryptionStream([], { onStable: (octets) => mac.update(octets) })
  try {
    // The head alone is shorter than announced, so the encryption ends in LENGTH_MISMATCH; by then the marked octets are out.
    for await (const part of body(preparedOf(head).content()).content()) stream.push(part)
  } catch (error) {
    if (!(error instanceof GatewayError && error.code === "LENGTH_MISMATCH")) throw error
  }
  stream.end()
  return mac.finish()
}

/**
 * Passes a large upload on that began as an encrypted one; should anything stand in clear behind, it is broken off before its end.
 * Throws GatewayError CLEAR_CONTENT: the store must not be told that the message is complete.
 */
async function* asLongAsEncrypted(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const classifier = new EncryptionClassifier()
  let last: Uint8Array | null = null
  for await (const octets of content) {
    if (last) yield last
    classifier.push(octets)
    last = octets
  }
  if (classifier.end() === "clear")
    throw new GatewayError("CLEAR_CONTENT", "upload: begins encrypted and goes on in clear")
  if (last) yield last
}

/**
 * A large upload whose end is not known yet is taken for encrypted only when the head has no octet in clear: the classifier, fed
 * with it, has seen nothing but encrypted content so far.
 */
function looksEncrypted(head: Uint8Array): boolean {
  const classifier = new EncryptionClassifier()
  classifier.push(head)
  return classifier.soFar() !== "clear"
}
