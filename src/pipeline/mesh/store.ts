import type { CmsRecipient } from "../../crypto/cms/recipient.ts"
import { secondEnvelopeHead } from "../../crypto/cms/second-envelope.ts"
import { armoredOpenPgp, armoredOpenPgpSize } from "../../crypto/openpgp/encrypt.ts"
import { type ErrorCode, GatewayError } from "../../errors.ts"
import { ReceivedMailBody } from "../../mesh/mail/body.ts"
import { outsideOf } from "../../mesh/mail/shown.ts"
import { secondEnvelopeOf } from "../../mesh/mail/smime.ts"
import { type MailStatement, readMail } from "../../mesh/mail/statement.ts"
import { outerFields, pgpMimeFrame, smimeFields } from "../../mime/compose.ts"
import type { Job } from "../../queue/queue.ts"
import type { Format } from "../../store/account.ts"
import type { NewEntry } from "../../store/spool.ts"
import { logAttempt } from "../attempt-log.ts"
import { inPlace } from "../beside.ts"
import type { Gateway, OpenMessage } from "../gateway.ts"
import { type EncryptedBody, inBase64, marked } from "../marked.ts"
import type { Result } from "../ports.ts"
import { collect } from "../prepared.ts"
import { deferred, failed, stored } from "../settle.ts"
import { storedName, trace } from "../stored-mail.ts"
import type { MeshMail, PublishedMail } from "./ports.ts"

/** A mail that came over the Mesh, as it was accepted. */
interface ArrivedMessage extends Pick<OpenMessage, "content"> {
  readonly entry: NewEntry
}

/** Stores a mail that came over the Mesh. It was verified before it was accepted, and is opened by nobody here. */
export async function storeMeshMail(
  message: ArrivedMessage,
  job: Job,
  gateway: Gateway,
  signal: AbortSignal,
): Promise<Result> {
  const { mesh } = gateway
  // Whoever ends the Mesh here may begin it again.
  if (mesh === null)
    return { ...deferred(job.recipient, "4.3.5", "mail came over the Mesh, which is off"), fault: true }
  const { statement } = readMail(await collect(message.content()))
  const body = await bodyOf(statement, mesh, signal)
  const result = await storeSealedMail({ statement, content: body.content }, message.entry, job, gateway, signal)
  if (result.kind !== "retry" || result.status.status === ALTERED) await body.discard()
  return result
}

/** A mail that came over the Mesh, was verified, and is in memory only; `job` is the one that it would have in the queue. */
export interface HeldMail {
  readonly job: Job
  readonly entry: NewEntry
  readonly message: Uint8Array
}

/** {@link storeMeshMail} before its service is told that it is accepted. Whatever else than `done` comes of it is as if nothing had been tried, but that it may be there. */
export async function storeHeldMail(
  { job, entry, message }: HeldMail,
  gateway: Gateway,
  signal: AbortSignal,
): Promise<Result> {
  const result = await storeMeshMail({ entry, content: () => once(message) }, job, gateway, signal)
  logAttempt(job, result, gateway.log)
  return result
}

/** Where the envelope of a mail is to be had now. */
export async function bodyOf(
  { body, ...rest }: MailStatement,
  mesh: MeshMail,
  signal: AbortSignal,
): Promise<PublishedMail> {
  if (body.kind === "published") return mesh.published({ ...rest, body }, signal)
  return { content: () => once(body.envelope), discard: async () => undefined }
}

/** A mail whose statement has been verified, and its envelope. */
export interface SealedMail extends Pick<PublishedMail, "content"> {
  readonly statement: MailStatement
}

/** Stores it for the account that `entry` came in for, encrypted as it is, with what its sender shows outside. */
export async function storeSealedMail(
  mail: SealedMail,
  entry: NewEntry,
  job: Job,
  gateway: Gateway,
  signal: AbortSignal,
): Promise<Result> {
  const account = entry.origin.account ?? ""
  const rest = gateway.directory.atRest(account)
  if (rest === null) return failed(job.recipient, "5.1.1", "no such mailbox here any more")
  const form = formOf(mail, account, gateway.mesh)
  if (form === null) return failed(job.recipient, "5.7.5", "it is encrypted to no key of the account")
  try {
    if (gateway.mailboxes.isPatient !== true) await readThrough(mail)
    const shown = outerFields(Buffer.concat(outsideOf(mail.statement)), rest.subject)
    const outside = [...trace(entry), Buffer.from(entry.authentication?.field ?? ""), ...shown]
    const protectedMail = await marked("unknown", outside, form, rest, gateway.beside(form.body.sizeOctets) ?? inPlace)
    const result = await gateway.mailboxes.deliver(account, protectedMail, {
      name: storedName(job.spoolId, account),
      receivedAt: entry.receivedAt,
      repeated: job.attempt > 0,
      sender: entry.envelope.sender,
      signal,
    })
    return result.kind === "done"
      ? stored(job.recipient, `stored for ${account}, ${form.format} by its sender`)
      : result
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    if (error.code === "MESH_LATER") return deferred(job.recipient, "4.4.1", error.message)
    if (error.code === "MESH_MISSING") return missing(job, entry, error.message, gateway.now())
    if (error.code === "MESH_GONE") return failed(job.recipient, "5.4.7", error.message)
    if (ALTERATIONS.has(error.code)) return deferred(job.recipient, ALTERED, error.message)
    throw error
  }
}

/** Whoever publishes it keeps it for days after it was posted: what is not there now may be back soon, and if not its sender is not left waiting. */
function missing(
  { recipient, attempt }: Job,
  { receivedAt }: Pick<NewEntry, "receivedAt">,
  diagnostic: string,
  now: Date,
): Result {
  const isPatient = now.getTime() - receivedAt.getTime() < MISSING_MS || attempt < MISSING_ATTEMPTS
  if (isPatient) return deferred(recipient, "4.4.1", diagnostic)
  return failed(recipient, "5.4.7", `${diagnostic}; it was not there for ${MISSING_MS / 3_600_000} hours`)
}

/** Has all of it here before a store is asked to take it, which would not wait for the rest. */
async function readThrough({ statement, content }: SealedMail): Promise<void> {
  if (statement.body.kind === "published") for await (const _ of content());
}

/** A mail as it is stored: its MIME fields and its body. */
interface StoredForm extends EncryptedBody {
  readonly format: Format
}

/** @returns null: the account's devices could not read it */
function formOf(mail: SealedMail, account: string, mesh: MeshMail | null): StoredForm | null {
  const { openPgp } = mail.statement
  if (openPgp !== null) {
    const keys = mesh?.openPgpKeysOf(account) ?? []
    const isKnown = keys.some(({ fingerprint }) => Buffer.compare(fingerprint, openPgp.fingerprint) === 0)
    return isKnown ? pgpMimeOf(mail) : null
  }
  const certificate = certificateOf(mail.statement, mesh?.certificatesOf(account) ?? [])
  return certificate === null ? null : smimeOf(mail, certificate)
}

/** The OpenPGP message as it came, in armor; what stands around it is made here. */
function pgpMimeOf({ statement, content }: SealedMail): StoredForm {
  const { payloadDigest, payloadOctets } = statement
  const frame = pgpMimeFrame(`postern-${Buffer.from(payloadDigest.subarray(0, BOUNDARY_OCTETS)).toString("hex")}`)
  return {
    format: "openpgp",
    fields: [frame.fields],
    body: {
      sizeOctets: frame.before.length + armoredOpenPgpSize(payloadOctets) + frame.after.length,
      async *content() {
        const received = await ReceivedMailBody.open(statement, content())
        yield frame.before
        yield* armoredOpenPgp(received.payload())
        yield frame.after
      },
    },
  }
}

function certificateOf({ cms }: MailStatement, certificates: readonly CmsRecipient[]): CmsRecipient | null {
  return certificates.find(({ digest }) => cms !== null && Buffer.compare(digest, cms.kid) === 0) ?? null
}

/** The ciphertext as it came, as EnvelopedData for the account's own copy of the certificate. */
function smimeOf({ statement, content }: SealedMail, certificate: CmsRecipient): StoredForm {
  const { cms, payloadOctets } = statement
  const headOctets = cms === null ? 0 : secondEnvelopeHead(certificate, cms, payloadOctets).length
  return {
    format: "smime",
    fields: [smimeFields(false)],
    ...inBase64({
      sizeOctets: headOctets + payloadOctets,
      content: () => secondEnvelopeOf(statement, content(), certificate),
      passing: () => secondEnvelopeOf(statement, content("once"), certificate),
    }),
  }
}

async function* once(octets: Uint8Array): AsyncGenerator<Uint8Array> {
  yield octets
}

const BOUNDARY_OCTETS = 18
/** From its acceptance on, for so long published mail that is not there is asked for again: longer than a restart or a restore takes, and soon enough for its sender to hear of it the same day. */
export const MISSING_MS = 6 * 3_600_000
/** So often at least: this gateway may have been away for longer itself. */
export const MISSING_ATTEMPTS = 3
/** RFC 3463 §3.8: message integrity failure. */
const ALTERED = "4.7.7"
/** What is fetched is not the envelope that was stated. */
const ALTERATIONS: ReadonlySet<ErrorCode> = new Set([
  "MESH_MAIL_ALTERED",
  "DARE_ALTERED",
  "DARE_MALFORMED",
  "DARE_TOO_LARGE",
  "DARE_UNSUPPORTED",
  "JSONB_SYNTAX",
  "JSONB_TOO_LARGE",
  "JSONB_TYPE",
  "LENGTH_MISMATCH",
])
