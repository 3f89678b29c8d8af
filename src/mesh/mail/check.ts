/** PURE */
import { equalConstantTime } from "../../crypto/primitives/hash.ts"
import { GatewayError } from "../../errors.ts"
import { type ConnectionDevice, verifyConnectionDevice } from "../connection.ts"
import type { Profile, ProfileUser } from "../profile.ts"
import { checkSigned } from "../signed.ts"
import { isNamed, tried } from "../tried.ts"
import { checkEnclosed } from "./body.ts"
import { type ClaimedMail, MAX_MESSAGE_OCTETS, readMail } from "./statement.ts"

/** Who should have sent a mail, and to whom. The profiles are the receiving side's own copies, or verified. */
export interface ExpectedMail {
  readonly sender: ProfileUser
  readonly service: Profile
  readonly recipient: Pick<ProfileUser, "binaryUdf" | "address">
  readonly now: Date
  /** PayloadDigest of a mail of this sender's that came with this Salt before; null when none did. */
  readonly digestUnder: (salt: Uint8Array) => Uint8Array | null
  /** {@link verifyConnectionDevice}, or what remembers what that has verified. */
  readonly connectionOf?: typeof verifyConnectionDevice
}

/** Why a mail is refused. */
export type MailRefusal =
  | "too large"
  | "malformed"
  | "other sender"
  | "other service"
  | "wrong recipient"
  | "device unknown"
  | "device expired"
  | "device may not"
  | "forged"
  | "service forged"
  | "body altered"
  | "seed used twice"

export type MailVerdict =
  | { readonly kind: "refused"; readonly reason: MailRefusal }
  | (ClaimedMail & {
      readonly kind: "verified"
      /** Signed by a gateway for the account, or by a device of the person's. */
      readonly via: "gateway" | "device"
      readonly connection: ConnectionDevice
    })

/** Role of a device that sends mail for an account and does nothing else: a gateway. Ours. */
export const ROLE_SEND_MAIL = "send-mail"
/** Role of a device that reads and writes an account's messages, in the reference code's words. */
export const ROLE_MESSAGE = "message"

/**
 * Checks a mail as far as can be without opening it: who has signed, that he might, for whom it is, and that the envelope is the one that is stated. What is
 * published is checked as it is fetched ({@link file://./body.ts}). Replays and revoked devices are the caller's to know: MessageId, `connection.subject`.
 */
export function checkMail(message: Uint8Array, expected: ExpectedMail): MailVerdict {
  if (message.length > MAX_MESSAGE_OCTETS) return refused("too large")
  const mail = tried(() => readMail(message))
  return mail instanceof GatewayError ? refused("malformed") : checkClaimed(mail, expected)
}

/** The same of a message that has been read already. */
export function checkClaimed(mail: ClaimedMail, expected: ExpectedMail): MailVerdict {
  const wrongName = wrongNameOf(mail, expected)
  if (wrongName !== null) return refused(wrongName)
  const { connectionOf = verifyConnectionDevice, sender, now } = expected
  const connection = tried(() => connectionOf(mail.statement.connection, sender, now))
  if (connection instanceof GatewayError)
    return refused(connection.code === "MESH_EXPIRED" ? "device expired" : "device unknown")
  const reason = forgeryOf(mail, connection, expected)
  if (reason !== null) return refused(reason)
  const via = connection.roles.includes(ROLE_SEND_MAIL) ? "gateway" : "device"
  return { kind: "verified", ...mail, via, connection }
}

function wrongNameOf({ statement }: ClaimedMail, { sender, service, recipient }: ExpectedMail): MailRefusal | null {
  if (!isNamed(sender, statement.senderUdf) || statement.sender !== sender.address) return "other sender"
  if (!isNamed(service, statement.serviceUdf)) return "other service"
  if (!isNamed(recipient, statement.recipientUdf) || statement.recipient !== recipient.address) return "wrong recipient"
  return null
}

function forgeryOf(mail: ClaimedMail, connection: ConnectionDevice, expected: ExpectedMail): MailRefusal | null {
  const { statement, object } = mail
  if (failed(() => checkSigned(object.end, connection.keys.signature))) return "forged"
  if (failed(() => checkSigned(object.end, expected.service.keys.signature))) return "service forged"
  if (!connection.roles.some((role) => role === ROLE_SEND_MAIL || role === ROLE_MESSAGE)) return "device may not"
  const { body, salt, payloadDigest } = statement
  if (body.kind === "enclosed" && failed(() => checkEnclosed(statement, body.envelope))) return "body altered"
  const earlier = expected.digestUnder(salt)
  return earlier && !equalConstantTime(earlier, payloadDigest) ? "seed used twice" : null
}

function failed(act: () => void): boolean {
  return tried(act) instanceof GatewayError
}

function refused(reason: MailRefusal): MailVerdict {
  return { kind: "refused", reason }
}
