import { sha256, sha512 } from "../../crypto/primitives/hash.ts"
import { GatewayError, hasCode } from "../../errors.ts"
import type { Log } from "../../log/log.ts"
import type { verifyConnectionDevice } from "../../mesh/connection.ts"
import { checkClaimed, type MailVerdict } from "../../mesh/mail/check.ts"
import { type ClaimedMail, mailIn } from "../../mesh/mail/statement.ts"
import { isNameOf } from "../../mesh/profile.ts"
import { tried } from "../../mesh/tried.ts"
import { parseAddress } from "../../message/address.ts"
import type { NewEntry } from "../../store/spool.ts"
import type {
  AskedWhen,
  ClaimedSender,
  KeepMail,
  KnownSender,
  MailIdentity,
  MailReceipt,
  MeshSenders,
  PostedMail,
  SeenMail,
} from "./ports.ts"
import { verdictField } from "./verdict.ts"

export interface ReceivingMeans {
  readonly senders: MeshSenders
  readonly seen: SeenMail
  readonly keep: KeepMail
  readonly connectionOf: typeof verifyConnectionDevice
  /** Digests (SHA-256) of the certificates that an account reads S/MIME by; none: it does not, and nothing else can be made of what is sealed so. */
  certificatesOf(account: string): readonly Uint8Array[]
  /** Fingerprints of the encryption keys that an account reads OpenPGP by; none: it does not. */
  openPgpKeysOf(account: string): readonly Uint8Array[]
  readonly hostname: string
  readonly maxMailOctets: number
  readonly log: Log
}

type VerifiedMail = Extract<MailVerdict, { readonly kind: "verified" }>

/**
 * Takes mail that another service posts: nothing that is not verified, and nobody's whom the recipient does not want to hear from. What is accepted is on the
 * disk, and the same message is accepted again without being delivered again, once it is remembered.
 */
export async function receiveMail(posted: PostedMail, means: ReceivingMeans): Promise<MailReceipt> {
  const receipt = await received(posted, means)
  const reason = receipt.kind === "refused" ? { reason: receipt.reason } : {}
  means.log.info("mesh.mail", {
    recipient: posted.account.address,
    peer: posted.peer.udf,
    outcome: receipt.kind,
    ...reason,
  })
  return receipt
}

async function received(posted: PostedMail, means: ReceivingMeans): Promise<MailReceipt> {
  const mail = tried(() => mailIn(posted.object))
  if (mail instanceof GatewayError) return refused("malformed")
  if (!means.senders.admits(posted.account.address, claimedBy(mail))) return refused(STRANGER)
  const receipt = await receivedAs(mail, "before", posted, means)
  // Who has another account, service or gateway now has published that, and what was heard of him is of the time before.
  const isOver = receipt.kind === "refused" && CHANGING.has(receipt.reason)
  return isOver ? receivedAs(mail, "anew", posted, means) : receipt
}

async function receivedAs(
  mail: ClaimedMail,
  asked: AskedWhen,
  posted: PostedMail,
  means: ReceivingMeans,
): Promise<MailReceipt> {
  const sender = await knownSender(claimedBy(mail), asked, means.senders)
  if (sender === "silent") return { kind: "later" }
  if (sender === null) return refused("other sender")
  const { serviceUdf } = sender.profile
  if (serviceUdf === null || !isNameOf(posted.peer, serviceUdf)) return refused("other service")
  const verdict = checkClaimed(mail, {
    sender: sender.profile,
    service: posted.peer,
    recipient: posted.account.profile,
    now: posted.now,
    // What is remembered of his mail is asked for once, below.
    digestUnder: () => null,
    connectionOf: means.connectionOf,
  })
  if (verdict.kind === "refused") return verdict
  const unfit = unfitness(verdict, sender, posted, means)
  return unfit === null ? kept(posted, verdict, sender, means) : refused(unfit)
}

/** Who says that he writes: to find out whose profile it takes to check that. */
function claimedBy({ statement }: ClaimedMail): ClaimedSender {
  return { address: statement.sender, udf: statement.senderUdf }
}

async function knownSender(
  { address, udf }: ClaimedSender,
  asked: AskedWhen,
  senders: MeshSenders,
): Promise<KnownSender | null | "silent"> {
  try {
    return await senders.find(address, udf, asked)
  } catch (error) {
    if (hasCode(error, "KEY_SOURCE_SILENT")) return "silent"
    throw error
  }
}

/** Why a mail that is right is not taken; null: it is. */
function unfitness(
  { statement, connection, via }: VerifiedMail,
  { gatewayDevice }: KnownSender,
  { account, now }: PostedMail,
  means: ReceivingMeans,
): string | null {
  if (via === "gateway" && connection.subject !== gatewayDevice) return REVOKED
  const ageMs = now.getTime() - statement.date.getTime()
  if (ageMs > MAX_AGE_MS || ageMs < -MAX_AHEAD_MS) return "too old, or of the future"
  if (statement.payloadOctets > means.maxMailOctets) return "too large"
  return isReadable(statement, account.address, means) ? null : "other certificate"
}

function isReadable(
  { cms, openPgp }: VerifiedMail["statement"],
  account: string,
  means: Pick<ReceivingMeans, "certificatesOf" | "openPgpKeysOf">,
): boolean {
  const isAmong = (names: readonly Uint8Array[], name: Uint8Array) =>
    names.some((known) => Buffer.compare(known, name) === 0)
  if (openPgp !== null) return isAmong(means.openPgpKeysOf(account), openPgp.fingerprint)
  return cms !== null && isAmong(means.certificatesOf(account), cms.kid)
}

async function kept(
  posted: PostedMail,
  verdict: VerifiedMail,
  { profile }: KnownSender,
  means: ReceivingMeans,
): Promise<MailReceipt> {
  const { statement } = verdict
  const { messageId, salt, payloadDigest } = statement
  const recipient = posted.account.profile.udf
  const digest = sha512(posted.object.envelope)
  const identity: MailIdentity = { recipient, messageId, digest, sender: profile.udf, salt, payloadDigest }
  const standing = means.seen.look(identity)
  if (standing === "other message") return refused("message id used twice")
  if (standing === "other text") return refused("seed used twice")
  if (standing === "accepted") return { kind: "accepted" }
  return means.keep({
    id: spoolIdOf(identity),
    entry: entryOf(posted, verdict, means.hostname),
    message: posted.object.envelope,
    mail: identity,
    isEnclosed: statement.body.kind === "enclosed",
    begun: standing === "new" ? null : standing,
  })
}

function entryOf({ account, peer, now }: PostedMail, verdict: VerifiedMail, hostname: string): NewEntry {
  const { messageId, sender } = verdict.statement
  return {
    envelope: {
      sender: parseAddress(sender),
      // Its sender hears of it over the Mesh, at once; what goes wrong later is told by mail.
      recipients: [{ address: parseAddress(account.address), notify: null, originalRecipient: null }],
      smtpUtf8: /[^\x00-\x7f]/.test(`${sender}${account.address}`),
      envelopeId: null,
      returnContent: null,
    },
    origin: { kind: "mesh", account: account.address, device: null, remote: "", helo: peer.udf, tls: true },
    received: `Received: by ${hostname} (Postern) with Mesh id ${messageId};\r\n ${now.toUTCString().replace("GMT", "+0000")}\r\n`,
    receivedAt: now,
    authentication: { field: verdictField(hostname, verdict), quarantine: false },
  }
}

/** The same message for the same recipient is one entry, whoever posts it how often. */
function spoolIdOf({ recipient, messageId, digest }: MailIdentity): string {
  const names = sha256(Buffer.from(`${recipient} ${messageId} ${Buffer.from(digest).toString("hex")}`))
  return Buffer.from(names).toString("hex").slice(0, 40)
}

function refused(reason: string): MailReceipt {
  return { kind: "refused", reason }
}

const REVOKED = "device revoked"
const CHANGING: ReadonlySet<string> = new Set(["other sender", "other service", REVOKED])
/** What everybody is told whom the recipient does not know: who may ask to be known sends a MessageContact. */
const STRANGER = "not a contact"
/** Longer than any queue tries, and as long as mail is remembered ({@link SeenMail}) at least. */
export const MAX_AGE_MS = 30 * 86_400_000
/** Clocks are not that wrong. */
const MAX_AHEAD_MS = 3_600_000
