import { setImmediate } from "node:timers/promises"
import { readEnvelope } from "../crypto/dare/envelope.ts"
import { hasCode } from "../errors.ts"
import type { Log } from "../log/log.ts"
import { solving } from "../mesh/admission.ts"
import { NONCE_OCTETS, type PinProof, writeContactMessage } from "../mesh/contact/message.ts"
import { makeContactPerson } from "../mesh/contact/person.ts"
import { pinId, pinWitness, saltedPin } from "../mesh/pin.ts"
import type { ProfileUser } from "../mesh/profile.ts"
import type { SpeakingFor } from "../mesh/speaker.ts"
import type { ContactBook } from "../store/contact-book.ts"
import type { ContactPost } from "../store/contact-posts.ts"

/** One of our people, and what signs for him. */
export interface ContactSender {
  readonly profile: ProfileUser
  readonly speaker: SpeakingFor
}

/** Who is written to, as the address's domain has it. `Route`: what its poster knows beside, such as his service. */
export interface ContactRecipient<Route> {
  readonly profile: ProfileUser
  readonly route: Route
}

/** What became of a message that was posted. */
export type ContactPosting =
  | { readonly kind: "accepted" }
  | { readonly kind: "refused"; readonly reason: string }
  | { readonly kind: "later"; readonly reason: string }
  | { readonly kind: "admission"; readonly challenge: Uint8Array }

/** What sending contact messages takes. */
export interface ContactSending<Route> {
  readonly book: ContactBook
  /** @returns null: the account has no part in the Mesh, or this gateway may not speak for it */
  senderOf(account: string): ContactSender | null
  /**
   * @returns null: its domain says that the address has no part in the Mesh
   * @throws GatewayError KEY_SOURCE_SILENT
   */
  find(address: string, signal: AbortSignal): Promise<ContactRecipient<Route> | null>
  post(
    message: Uint8Array,
    recipient: ContactRecipient<Route>,
    admission: Uint8Array | null,
    signal: AbortSignal,
  ): Promise<ContactPosting>
  /** Does work that keeps a processor busy, when nobody else's is done. */
  inTurn<T>(work: () => Promise<T>): Promise<T>
  readonly random: (octets: number) => Uint8Array
  readonly now: () => Date
  readonly log: Log
}

/** For so long a message is tried. */
export const TRIED_MS = 5 * 86_400e3
/** Between the first two attempts, as a person waits; twice as long each time, and six hours at most. */
export const RETRY_MS = 5_000
const MAX_RETRY_MS = 6 * 3_600e3

/** Makes one attempt at a contact message, and notes what came of it. */
export async function sendContact<Route>(
  post: ContactPost,
  sending: ContactSending<Route>,
  signal: AbortSignal,
): Promise<void> {
  const { book, now, log } = sending
  const { kind, ...rest } = await attempted(post, sending, signal)
  const reason = "reason" in rest ? rest.reason : ""
  const { account, address } = post
  log.info("mesh.contact-sent", { account, address, what: post.kind, outcome: kind, reason })
  if (kind === "later" && now().getTime() - post.madeAt.getTime() < TRIED_MS) {
    const waitMs = Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** post.attempts)
    book.posts.postpone(post, reason, new Date(now().getTime() + waitMs))
    return
  }
  book.posts.settle(post, kind === "accepted" ? "sent" : "failed", reason)
}

type Attempt = Exclude<ContactPosting, { readonly kind: "admission" }>

async function attempted<Route>(
  post: ContactPost,
  sending: ContactSending<Route>,
  signal: AbortSignal,
): Promise<Attempt> {
  const sender = sending.senderOf(post.account)
  if (sender === null) return failed(`${post.account} has no part in the Mesh, or not by this gateway`)
  const recipient = await found(post, sending, signal)
  if (recipient === "silent") return { kind: "later", reason: "its domain does not answer" }
  if (recipient === null) return failed("its domain says that it has no part in the Mesh")
  const { udf, address } = recipient.profile
  if (address !== post.address || (post.udf !== "" && post.udf !== udf))
    return failed("its domain names another profile for it")
  const message = post.message.length > 0 ? post.message : composed(post, sender, recipient.profile, sending)
  return posted(message, recipient, sending, signal)
}

async function found<Route>({ address }: ContactPost, sending: ContactSending<Route>, signal: AbortSignal) {
  try {
    return await sending.find(address, signal)
  } catch (error) {
    if (hasCode(error, "KEY_SOURCE_SILENT")) return "silent"
    throw error
  }
}

/** Posts, and works once where that is asked for: a service that then asks for more is tried later. */
async function posted<Route>(
  message: Uint8Array,
  recipient: ContactRecipient<Route>,
  sending: ContactSending<Route>,
  signal: AbortSignal,
): Promise<Attempt> {
  const first = await sending.post(message, recipient, null, signal)
  if (first.kind !== "admission") return first
  const admission = await sending.inTurn(() => solved(first.challenge, signal))
  if (admission === null) return failed("its service asks for more work than anybody should do")
  const second = await sending.post(message, recipient, admission, signal)
  return second.kind === "admission" ? { kind: "later", reason: "its service asks for more work" } : second
}

/** Others have their turn between the steps. @returns null: it is too much work, or no challenge */
async function solved(challenge: Uint8Array, signal: AbortSignal): Promise<Uint8Array | null> {
  for (const solution of solving(challenge) ?? []) {
    if (solution !== null) return solution
    await setImmediate(undefined, { signal })
  }
  return null
}

/** Signed once and kept: whoever gets it twice sees that it is the same. */
function composed<Route>(
  post: ContactPost,
  { profile, speaker }: ContactSender,
  recipient: ProfileUser,
  { book, random }: ContactSending<Route>,
): Uint8Array {
  const contact = makeContactPerson(profile, speaker, post.madeAt)
  const isRequest = post.kind === "request"
  const message = writeContactMessage(
    {
      messageId: post.id,
      sender: profile.address,
      recipient: recipient.address,
      recipientUdf: recipient.udf,
      date: post.madeAt,
      reply: isRequest,
      text: post.text,
      pin: isRequest ? post.pin : null,
      proof: isRequest || post.pin === "" ? null : proofOf(post, recipient, contact, random(NONCE_OCTETS)),
      contact,
      introduction: post.introduction.length === 0 ? null : post.introduction,
    },
    speaker,
  )
  book.posts.compose(post.id, recipient.udf, message)
  return message
}

function proofOf({ pin }: ContactPost, { address }: ProfileUser, contact: Uint8Array, nonce: Uint8Array): PinProof {
  const salted = saltedPin(pin, "Contact")
  const { payloadDigest } = readEnvelope(contact)
  return { pinId: pinId(salted, address), nonce, witness: pinWitness(salted, address, nonce, payloadDigest) }
}

function failed(reason: string): Attempt {
  return { kind: "refused", reason }
}
