import type { Log } from "../../log/log.ts"
import { checkMail, type MailVerdict } from "../../mesh/mail/check.ts"
import type { MailRecipient } from "../../mesh/mail/sealing.ts"
import { parseAddress } from "../../message/address.ts"
import { policyFor } from "../../profiles/policy.ts"
import type { Job } from "../../queue/queue.ts"
import type { SpoolEntry } from "../../store/spool.ts"
import type { Gateway } from "../gateway.ts"
import { factsOf } from "../leaving.ts"
import type { Result } from "../ports.ts"
import type { Prepared } from "../prepared.ts"
import { type ClassifiedMessage, classified } from "../protect.ts"
import { isMeshable, type SealedMessage, sealedFor, sealedOr } from "./leave.ts"
import type { MeshMail, MeshSender } from "./ports.ts"
import { bodyOf, storeSealedMail } from "./store.ts"
import { verdictField } from "./verdict.ts"

/** A message of one of our people, on its way to another. */
interface LocalMessage {
  readonly entry: SpoolEntry
  readonly source: Prepared
  /** Authentication-Results; null: none can be seen. */
  readonly onSignature: string | null
}

/**
 * Mail of one of our people to another, as a message of the Mesh that never leaves: signed for its sender, sealed to the recipient, checked as if it came from
 * elsewhere, and stored with what that came to.
 * @returns null: it is not for the Mesh
 */
export async function storeOverMesh(
  account: string,
  { entry, source, onSignature }: LocalMessage,
  job: Job,
  gateway: Gateway,
  signal: AbortSignal,
): Promise<Result | null> {
  const parties = partiesOf(account, entry, gateway.mesh)
  if (parties === null) return null
  const original = await classified(source)
  if (original.kind !== "clear" || !isMeshable(original.header, entry, gateway.mesh)) return null
  const sealed = await sealedFromUs(parties, original, entry, job, gateway)
  const verdict = sealed === null ? null : verified(sealed, parties, gateway)
  if (verdict === null) return null
  const { statement } = verdict
  const body = await bodyOf(statement, parties.mesh, signal)
  const field = `${onSignature ?? ""}${verdictField(gateway.hostname, verdict)}`
  const arrived: SpoolEntry = {
    ...entry,
    origin: { ...entry.origin, account },
    authentication: { field, quarantine: false },
  }
  const result = await storeSealedMail({ statement, content: body.content }, arrived, job, gateway, signal)
  await body.discard()
  return result
}

interface Parties {
  readonly mesh: MeshMail
  readonly sender: MeshSender
  readonly recipient: MailRecipient
}

function partiesOf(account: string, { origin }: SpoolEntry, mesh: MeshMail | null): Parties | null {
  if (mesh === null || origin.kind !== "submission" || origin.account === null) return null
  const recipient = mesh.recipientOf(account)
  const sender = recipient === null ? null : mesh.senderOf(origin.account)
  return recipient === null || sender === null ? null : { mesh, sender, recipient }
}

async function sealedFromUs(
  { sender, recipient }: Parties,
  original: ClassifiedMessage,
  entry: SpoolEntry,
  job: Job,
  gateway: Gateway,
): Promise<SealedMessage | null> {
  const to = parseAddress(recipient.profile.address)
  const stated = policyFor(factsOf(entry.envelope.sender, to, original.header), gateway.policy)
  const { policy } = stated
  if (!policy.methods.includes("mesh")) return null
  // What is stored here was never held for want of a signature: that it came from its sender is known here.
  const left = { ...stated, policy: { ...policy, sign: policy.sign === "off" ? "off" : "prefer" } } as const
  const seal = () => sealedFor(recipient, { original, sender, left, entry, job, gateway })
  const sealed = await sealedOr(seal, () => null)
  return sealed === null || "kind" in sealed ? null : sealed
}

function verified(
  { message }: SealedMessage,
  { mesh, sender, recipient }: Parties,
  { now, log }: { readonly now: () => Date; readonly log: Log },
): Extract<MailVerdict, { readonly kind: "verified" }> | null {
  const verdict = checkMail(message, {
    sender: sender.profile,
    service: mesh.service.profile,
    recipient: recipient.profile,
    now: now(),
    digestUnder: () => null,
  })
  if (verdict.kind === "verified") return verdict
  log.error("mesh.own-mail-refused", { reason: verdict.reason })
  return null
}
