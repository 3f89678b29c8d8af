/** PURE */
import { readEnvelope } from "../../crypto/dare/envelope.ts"
import { equalConstantTime } from "../../crypto/primitives/hash.ts"
import { type ErrorCode, GatewayError } from "../../errors.ts"
import { MAX_MESSAGE_OCTETS } from "../mail/statement.ts"
import { pinId, pinWitness, saltedPin } from "../pin.ts"
import type { Profile, ProfileUser } from "../profile.ts"
import { type Speaker, speakerOf } from "../speaker.ts"
import { isNamed, tried } from "../tried.ts"
import { type ClaimedContact, type ContactStatement, readContactMessage } from "./message.ts"
import { readContactPerson } from "./person.ts"
import { type TextFault, textFault } from "./text.ts"

/** To whom a contact message came, through whom, and when. */
export interface ExpectedContact {
  /** The service that posts it. */
  readonly service: Pick<Profile, "binaryUdf">
  readonly recipient: Pick<ProfileUser, "binaryUdf" | "address">
  readonly now: Date
}

/** Why a contact message is refused, before anybody asks who its sender is to the recipient. */
export type ContactRefusal =
  | "too large"
  | "malformed"
  | "other sender"
  | "other service"
  | "wrong recipient"
  | "too old"
  | "from the future"
  | "device expired"
  | "forged"
  | `text: ${TextFault}`

/** `profile`: whose keys have signed all of it. That the address in it is his, only the address's domain can say. */
export type ContactVerdict =
  | { readonly kind: "refused"; readonly reason: ContactRefusal }
  | (ClaimedContact & { readonly kind: "verified"; readonly profile: ProfileUser; readonly speaker: Speaker })

/** For so long after it was written a message may come in: senders keep trying for five days. */
export const MAX_AGE_MS = 7 * 86_400e3
/** How far the sender's clock may be ahead of ours. */
export const MAX_AHEAD_MS = 300_000

/**
 * Checks a contact message by itself: one profile has signed it and the contact in it, through the service that the profile names, to this recipient, and what it
 * says is plain text. Replays, limits and who the sender is are the caller's to know.
 */
export function checkContactMessage(message: Uint8Array, expected: ExpectedContact): ContactVerdict {
  if (message.length > MAX_MESSAGE_OCTETS) return refused("too large")
  const read = tried(() => {
    const claimed = readContactMessage(message)
    // What is no PIN could not be answered.
    if (claimed.statement.pin !== null) saltedPin(claimed.statement.pin, "Contact")
    return { claimed, contact: readContactPerson(claimed.statement.contact) }
  })
  if (read instanceof GatewayError) return refused(FORGED.includes(read.code) ? "forged" : "malformed")
  const { claimed, contact } = read
  const { statement, object } = claimed
  const { profile } = contact
  const reason = misdirectionOf(statement, profile, expected) ?? untimely(statement, expected.now)
  if (reason !== null) return refused(reason)
  const speaker = tried(() => {
    speakerOf(contact.object.end, profile, statement.connection, expected.now)
    return speakerOf(object.end, profile, statement.connection, expected.now)
  })
  if (speaker instanceof GatewayError) return refused(speaker.code === "MESH_EXPIRED" ? "device expired" : "forged")
  const fault = statement.proof !== null && statement.text === "" ? null : textFault(statement.text)
  return fault === null ? { kind: "verified", ...claimed, profile, speaker } : refused(`text: ${fault}`)
}

/**
 * Whether an answer shows that its sender knows the PIN that was asked for.
 * @param salted `saltedPin` of it for "Contact", as it was kept
 * @param account address of who asked, to whom the answer goes
 */
export function showsPin({ proof, contact }: ContactStatement, salted: string, account: string): boolean {
  if (proof === null || tried(() => pinId(salted, account)) !== proof.pinId) return false
  const witness = pinWitness(salted, account, proof.nonce, readEnvelope(contact).payloadDigest)
  return equalConstantTime(witness, proof.witness)
}

function misdirectionOf(
  statement: ContactStatement,
  profile: ProfileUser,
  { service, recipient }: ExpectedContact,
): ContactRefusal | null {
  if (statement.sender !== profile.address) return "other sender"
  if (profile.serviceUdf === null || !isNamed(service, profile.serviceUdf)) return "other service"
  if (!isNamed(recipient, statement.recipientUdf) || statement.recipient !== recipient.address) return "wrong recipient"
  return null
}

function untimely({ date }: ContactStatement, now: Date): ContactRefusal | null {
  const ageMs = now.getTime() - date.getTime()
  if (ageMs > MAX_AGE_MS) return "too old"
  return ageMs < -MAX_AHEAD_MS ? "from the future" : null
}

function refused(reason: ContactRefusal): ContactVerdict {
  return { kind: "refused", reason }
}

const FORGED: readonly ErrorCode[] = ["MESH_UNTRUSTED", "DARE_ALTERED"]
