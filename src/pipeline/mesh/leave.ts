import { hkdfSha256, sha256 } from "../../crypto/primitives/hash.ts"
import { type ErrorCode, GatewayError, hasCode } from "../../errors.ts"
import { sealMail } from "../../mesh/mail/seal.ts"
import type { MailRecipient } from "../../mesh/mail/sealing.ts"
import { shownFields } from "../../mesh/mail/shown.ts"
import { addressKey } from "../../message/address.ts"
import { parseDateTime } from "../../message/date.ts"
import { fieldText, parseFields } from "../../mime/header.ts"
import { decide } from "../../profiles/decide.ts"
import { withoutMethod } from "../../profiles/policy.ts"
import type { Job } from "../../queue/queue.ts"
import type { Format } from "../../store/account.ts"
import type { SpoolEntry } from "../../store/spool.ts"
import { authorOf } from "../author.ts"
import type { Attempt, Gateway } from "../gateway.ts"
import { keyFault } from "../key-fault.ts"
import type { Leaving } from "../leaving.ts"
import { type OutgoingSignature, outgoingSignature, withoutKey } from "../outgoing-signature.ts"
import type { Result } from "../ports.ts"
import type { ClassifiedMessage } from "../protect.ts"
import { headersFor, meshEntity } from "../protect-outgoing.ts"
import { deferred, failed } from "../settle.ts"
import type { MeshMail, MeshSender, Posting } from "./ports.ts"
import { routeOf } from "./route.ts"

/** How long only the Mesh is tried, where a recipient is to be had by SMTP as well: services are restarted, and messages must not come twice for that. */
export const MESH_PATIENCE_MS = 3_600_000

/**
 * Whether a message can be a mail of the Mesh: submitted by one of our people who is there, as his own and nobody else's, and dated (mesh/mail/author.ts asks the
 * same of what it seals).
 */
export function isMeshable(
  header: Uint8Array,
  { origin }: Pick<SpoolEntry, "origin">,
  mesh: Pick<MeshMail, "senderOf"> | null,
): boolean {
  if (mesh === null || origin.kind !== "submission" || origin.account === null) return false
  const fields = parseFields(header)
  const named = (name: string) => fields.filter((field) => field.name === name)
  const [date, ...dates] = named("date")
  const author = authorOf(fields)
  return (
    author !== null &&
    addressKey(author) === origin.account &&
    named("sender").length === 0 &&
    named("message-id").length === 1 &&
    date !== undefined &&
    dates.length === 0 &&
    parseDateTime(fieldText(date)) !== null &&
    mesh.senderOf(origin.account) !== null
  )
}

/** It is not for the Mesh, or no longer: `left` says what becomes of it. */
export interface Elsewhere {
  readonly kind: "elsewhere"
  readonly left: Leaving
}

/** Sends a message over the Mesh, where that was decided. Whom his service does not take it for gets it encrypted by SMTP, where policy allows that, and never in clear. */
export async function sendOverMesh(
  original: ClassifiedMessage,
  left: Leaving,
  attempt: Attempt,
): Promise<Result | Elsewhere> {
  const {
    message: { entry },
    job,
    gateway,
    signal,
  } = attempt
  const { decision, resolution } = left
  const { mesh } = gateway
  if (decision.kind !== "encrypt" || decision.key.format !== "mesh") return { kind: "elsewhere", left }
  if (mesh === null || resolution === null)
    throw new GatewayError("STATE_CORRUPT", "mesh: was decided on without being there")
  const sender = entry.origin.account === null ? null : mesh.senderOf(entry.origin.account)
  // It has left between the two.
  if (sender === null) return fallenBack(left, "its sender has no part in the Mesh", job, gateway)
  const route = routeOf(decision.key, resolution, mesh.profileIn, gateway.now())
  if (route === null) return fallenBack(left, "its account has no key that may be used", job, gateway)
  const sealed = await sealedOr(
    () => sealedFor(route, { original, sender, left, entry, job, gateway }),
    (because) => fallenBack(left, because, job, gateway),
  )
  if ("kind" in sealed) return sealed
  const posting = await mesh.post(sealed.message, route, signal)
  const settlement = await settled(posting, left, attempt)
  // Nobody comes for it; after silence somebody may.
  const isOver = posting.kind === "refused" || posting.kind === "unknown"
  if (isOver && sealed.published !== null) await mesh.withdraw(sealed.published)
  return settlement
}

/** @param otherwise where a key of the recipient's, or the mail, turns out not to be fit for it */
export async function sealedOr<T, O>(seal: () => Promise<T>, otherwise: (because: string) => O): Promise<T | O> {
  try {
    return await seal()
  } catch (error) {
    if (error instanceof GatewayError && UNSEALABLE.has(error.code)) return otherwise(error.message)
    throw error
  }
}

/** What is to be sealed, and by whom. */
export interface Sealing {
  readonly original: ClassifiedMessage
  readonly sender: MeshSender
  readonly left: Pick<Leaving, "policy" | "statedBy">
  readonly entry: SpoolEntry
  readonly job: Job
  readonly gateway: Gateway
}

/** A message of the Mesh, and the name under which its mail is published; null: it is enclosed. */
export interface SealedMessage {
  readonly message: Uint8Array
  readonly published: string | null
}

/** Signs and seals a message for one recipient. The same message is sealed as the same octets again, unless it is signed inside with what is random. */
export async function sealedFor(recipient: MailRecipient, sealing: Sealing): Promise<SealedMessage | Result> {
  const { original, left, entry, job, gateway } = sealing
  const form = (signature: OutgoingSignature) =>
    signature.kind === "hold"
      ? ({ kind: "hold", reason: signature.because, told: true } as const)
      : sealedWith(signature, recipient, sealing)
  try {
    return await form(
      outgoingSignature(entry, original.header, left, readingFormat(recipient), gateway.signingIdentities),
    )
  } catch (error) {
    if (hasCode(error, "NOT_SIGNABLE")) return form(withoutKey("its lines would not come through every relay", left))
    return keyFault("mail.not-signed", error, job, gateway.log)
  }
}

/** What signs a mail inside has to be of a form that its reader knows. */
function readingFormat({ openPgp }: MailRecipient): Format {
  return openPgp === undefined ? "smime" : "openpgp"
}

async function sealedWith(
  signature: Exclude<OutgoingSignature, { readonly kind: "hold" }>,
  recipient: MailRecipient,
  { original, sender, left, entry, gateway }: Sealing,
): Promise<SealedMessage> {
  const { mesh } = gateway
  if (mesh === null) throw new GatewayError("STATE_CORRUPT", "mesh: is not there")
  const options = {
    headers: headersFor(readingFormat(recipient), left.policy),
    signing: signature.kind === "sign" ? signature.signing : null,
  }
  const { entity, unlike, outside } = await meshEntity(original, entry.seed, options)
  const beside = gateway.beside(entity.sizeOctets)
  let published: string | null = null
  const message = await sealMail(
    entity,
    {
      sender: sender.profile,
      device: sender.device,
      service: mesh.service,
      recipient,
      date: entry.receivedAt,
      shown: shownFields(outside),
      seed: hkdfSha256(entry.seed, sha256(Buffer.from(unlike)), "postern/mesh-mail entity", entry.seed.length),
    },
    async (name, envelope) => {
      published = name
      await mesh.publish(name, envelope)
    },
    beside === null ? null : (keys, content) => beside({ kind: "encrypt", ...keys }, content),
  )
  return { message, published }
}

async function settled(
  { kind, diagnostic }: Posting,
  left: Leaving,
  { message: { entry }, job, gateway }: Attempt,
): Promise<Result | Elsewhere> {
  const { recipient } = job
  if (kind === "accepted")
    return { kind: "done", status: { recipient, action: "relayed", status: "2.0.0", diagnostic }, isShared: true }
  const isPatient = gateway.now().getTime() - entry.receivedAt.getTime() < MESH_PATIENCE_MS
  if (kind === "later" && isPatient) return deferred(recipient, "4.4.1", diagnostic)
  const elsewhere = fallenBack(kind === "unknown" ? await askedAnew(left, gateway) : left, diagnostic, job, gateway)
  if (kind === "later" && elsewhere.kind !== "elsewhere") return deferred(recipient, "4.4.1", diagnostic)
  return elsewhere
}

/** Who has left the Mesh, or his service, has published that; the next mail finds it, too. */
async function askedAnew(left: Leaving, { correspondents }: Pick<Gateway, "correspondents">): Promise<Leaving> {
  return { ...left, resolution: await correspondents.ask(left.facts.recipient) }
}

/** By another of the recipient's keys, where there is one that policy would have taken had there been no Mesh; what was to be encrypted stays so. */
function fallenBack(
  left: Leaving,
  because: string,
  job: Job,
  { correspondents, log }: Pick<Gateway, "correspondents" | "log">,
): Result | Elsewhere {
  const { resolution } = left
  const stated = withoutMethod(left, "mesh")
  const decision = resolution === null ? null : decide(stated, resolution)
  log.info("mesh.not-taken", { id: job.spoolId, recipient: job.recipient, because })
  // Whoever is silent now may have the key tomorrow.
  if (decision?.kind === "wait") return { kind: "elsewhere", left: { ...left, decision } }
  if (resolution === null || decision?.kind !== "encrypt")
    return failed(job.recipient, "5.7.1", `not taken over the Mesh: ${because}`)
  correspondents.used(resolution, decision.key)
  return { kind: "elsewhere", left: { ...left, decision } }
}

/** Keys of a recipient, or a mail, that cannot be sealed. */
const UNSEALABLE: ReadonlySet<ErrorCode> = new Set([
  "CERTIFICATE_UNSUPPORTED",
  "HEADER_TOO_LARGE",
  "MESH_KEY_UNSUPPORTED",
  "MESH_OBJECT_INVALID",
  "MESH_UNPUBLISHED",
  "POINT_INVALID",
])
