import { hasCode } from "../errors.ts"
import { addressKey } from "../message/address.ts"
import { withoutSubjectTag } from "../mime/subject-tag.ts"
import type { Decision } from "../profiles/decide.ts"
import { departureFacts } from "../profiles/departure-facts.ts"
import type { UsableKey } from "../profiles/key.ts"
import type { Policy } from "../profiles/policy.ts"
import type { Job } from "../queue/queue.ts"
import type { SpoolEntry } from "../store/spool.ts"
import { asLeaving } from "./as-leaving.ts"
import { targetOfKey } from "./at-rest.ts"
import { autocryptFields } from "./autocrypt.ts"
import type { Attempt, Gateway } from "./gateway.ts"
import { keptBack } from "./kept-back.ts"
import { keyFault } from "./key-fault.ts"
import { type Leaving, leaving } from "./leaving.ts"
import { isMeshable, sendOverMesh } from "./mesh/leave.ts"
import { type OutgoingSignature, outgoingSignature, withoutKey } from "./outgoing-signature.ts"
import type { Result } from "./ports.ts"
import type { Prepared } from "./prepared.ts"
import { type ClassifiedMessage, classified, withHeader } from "./protect.ts"
import { headersFor, type OutgoingOptions, protectOutgoing, signOutgoing } from "./protect-outgoing.ts"
import { throughStandIn } from "./stand-in.ts"

/**
 * Sends a message to another domain, as policy and the recipient's keys say: signed, encrypted, in clear, or not now. What leaves is signed by its domain
 * (DKIM) last.
 */
export async function relay(attempt: Attempt): Promise<Result> {
  const { message, job, recipient, gateway } = attempt
  const { entry } = message
  const accepted = await classified({ sizeOctets: entry.sizeOctets, content: () => message.content() })
  const send = (outgoing: Prepared, verified = false) => sendSigned(outgoing, verified, attempt)
  const { header } = accepted
  const above = [Buffer.from(entry.received), ...autocryptFields(header, entry.origin.account, gateway.directory)]
  const byMesh = isMeshable(header, entry, gateway.mesh)
  const through = await asMeant(accepted, attempt)
  // What its sender encrypted for others than us stays as it is, whatever we know of the recipient.
  if (through.kind === "sealed") return send(await signOutgoing(accepted, above, entry.seed, UNSIGNED))
  if (through.kind === "settled") return through.result

  const how = { isOpened: through.kind === "opened", byMesh }
  const chosen = await decided(attempt, header, how)
  if (through.kind === "opened" && chosen.policy.standIn === "never") return held(NO_STAND_INS)
  const original = withHeader(through.message, untaggedHeader(entry, through.message.header, chosen.tags))
  note(chosen, job, gateway)
  const sent = await sendOverMesh(original, chosen, attempt)
  if (sent.kind !== "elsewhere") return sent
  const { left } = sent
  const { decision } = left
  if (left !== chosen) note(left, job, gateway)
  switch (decision.kind) {
    case "encrypt":
    case "send":
    case "tls": {
      if (decision.kind !== "encrypt" && !through.hasWholeLines) return held(BROKEN_LINES)
      const outgoing = await asDecided({ original, above, entry, job }, left, gateway)
      return "kind" in outgoing ? outgoing : send(outgoing, decision.kind === "tls")
    }
    default:
      return keptBack(decision, job, recipient.address, gateway)
  }
}

function note({ decision }: Leaving, { spoolId, recipient }: Job, { log }: Pick<Gateway, "log">): void {
  const { kind, because } = decision
  log.info("mail.decided", { id: spoolId, recipient, decision: kind, because })
}

/** What is to leave by policy: the message, or what its sender has encrypted for us to open. */
type Meant =
  | { readonly kind: "clear" | "opened"; readonly message: ClassifiedMessage; readonly hasWholeLines: boolean }
  | { readonly kind: "sealed" }
  | { readonly kind: "settled"; readonly result: Result }

async function asMeant(
  accepted: ClassifiedMessage,
  { message: { entry }, job, recipient: { address }, gateway: { standIns, log } }: Attempt,
): Promise<Meant> {
  if (accepted.kind === "clear") return { kind: "clear", message: accepted, hasWholeLines: true }
  if (accepted.kind !== "smime") return { kind: "sealed" }
  try {
    const through = await throughStandIn(accepted.whole, entry, address, standIns)
    if (through.kind === "sealed") return through
    const because = through.kind === "held" ? { because: through.because } : {}
    log.info("mail.stand-in", { id: job.spoolId, recipient: job.recipient, outcome: through.kind, ...because })
    if (through.kind === "held") return { kind: "settled", result: held(through.because) }
    return { ...through, message: await classified(through.message) }
  } catch (error) {
    return { kind: "settled", result: keyFault("mail.not-opened", error, job, log) }
  }
}

/** A report of ours is encrypted where a key is known, and never kept back: it tells its reader nothing that he did not write. */
async function decided(
  { message, job, recipient, gateway }: Attempt,
  header: Uint8Array,
  how: { readonly isOpened: boolean; readonly byMesh: boolean },
): Promise<Leaving> {
  const { sender } = message.entry.envelope
  const left = await leaving(message, header, recipient, gateway, how)
  const { decision, resolution, facts } = left
  // A report of ours was encrypted by nobody yet.
  if (sender === null) return decision.kind === "encrypt" || how.isOpened ? left : { ...left, decision: AS_REPORT }
  gateway.departures.note({
    spoolId: job.spoolId,
    recipient: addressKey(recipient.address),
    sender: addressKey(sender),
    at: message.entry.receivedAt,
    decision: decision.kind,
    facts: departureFacts(facts.fields("sensitivity"), resolution, how.isOpened),
  })
  return left
}

/** A message on its way to one recipient. */
interface Outgoing {
  readonly original: ClassifiedMessage
  /** Fields that go on top: its trace, and what we tell of its author. */
  readonly above: readonly Uint8Array[]
  readonly entry: SpoolEntry
  readonly job: Job
}

/**
 * The header section without the tags that told us what to do. Also of what its author has signed: what stands outside is not part of that, and what is part of
 * it stays. Only of mail of our people: nobody else tells us anything, and their own signatures (DKIM) would break.
 */
function untaggedHeader(
  { origin, envelope }: Pick<SpoolEntry, "origin" | "envelope">,
  header: Uint8Array,
  tags: readonly string[],
): Uint8Array {
  if (origin.kind !== "submission" || envelope.sender === null) return header
  return tags.reduce((left, tag) => withoutSubjectTag(left, tag).header, header)
}

/** What leaves, signed and encrypted as it was decided; or what is said instead, where it must be signed and cannot be. */
async function asDecided(
  outgoing: Outgoing,
  left: Leaving,
  { signingIdentities, log, now }: Gateway,
): Promise<Prepared | Result> {
  const { original, entry, job } = outgoing
  const key = left.decision.kind === "encrypt" ? left.decision.key : null
  const form = (signature: OutgoingSignature) =>
    signature.kind === "hold" ? held(signature.because) : protectedAs(outgoing, key, left.policy, signature, now())
  try {
    const signature = outgoingSignature(entry, original.header, left, key?.format ?? null, signingIdentities)
    log.info("mail.signature", { id: job.spoolId, recipient: job.recipient, ...described(signature) })
    return await form(signature)
  } catch (error) {
    if (hasCode(error, "NOT_SIGNABLE"))
      return form(withoutKey("its lines or octets would not come through every relay as they are", left))
    return keyFault("mail.not-signed", error, job, log)
  }
}

function protectedAs(
  { original, above, entry, job }: Outgoing,
  key: UsableKey | null,
  policy: Policy,
  signature: OutgoingSignature,
  at: Date,
): Promise<Prepared> {
  const options: OutgoingOptions = {
    headers: headersFor(key?.format ?? null, policy),
    form: policy.pgp,
    signing: signature.kind === "sign" ? signature.signing : null,
  }
  if (key === null) return signOutgoing(original, above, entry.seed, options)
  return protectOutgoing(original, above, entry.seed, job.recipient, targetOfKey(key, at), options)
}

function described(signature: OutgoingSignature): Readonly<Record<string, string>> {
  return signature.kind === "sign"
    ? { signature: signature.signing.identity.format }
    : { signature: signature.kind, because: signature.because }
}

function held(reason: string): Result {
  return { kind: "hold", reason, told: true }
}

async function sendSigned(
  outgoing: Prepared,
  verified: boolean,
  { message, job, recipient, gateway, signal }: Attempt,
): Promise<Result> {
  const leaves = await asLeaving(outgoing, message, job, gateway)
  return "kind" in leaves ? leaves : gateway.relay.send(leaves, message.entry.envelope, recipient, { verified, signal })
}

const NO_STAND_INS = "it is encrypted to a certificate of this gateway's, and policy has none for its recipient"
const BROKEN_LINES = "what its sender encrypted has line ends that mail does not carry in clear"
const AS_REPORT: Decision = { kind: "send", because: "a report" }
const UNSIGNED = { headers: "off", signing: null } as const
