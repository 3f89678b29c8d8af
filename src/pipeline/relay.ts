import { type ErrorCode, GatewayError } from "../errors.ts"
import { addressKey } from "../message/address.ts"
import type { Recipient } from "../message/envelope.ts"
import { MAX_HEADER_OCTETS, readHeader } from "../mime/header.ts"
import type { HeaderPolicy } from "../mime/header-protection.ts"
import { departureFacts } from "../profiles/departure-facts.ts"
import type { UsableKey } from "../profiles/key.ts"
import type { Policy } from "../profiles/policy.ts"
import type { Job } from "../queue/queue.ts"
import { targetOfKey } from "./at-rest.ts"
import { signed } from "./dkim.ts"
import type { Gateway, OpenMessage } from "./gateway.ts"
import { type Leaving, leaving } from "./leaving.ts"
import type { Result } from "./ports.ts"
import { atHand, type Prepared } from "./prepared.ts"
import { classify } from "./protect.ts"
import { protectOutgoing, signOutgoing } from "./protect-outgoing.ts"
import { deferred, failed } from "./settle.ts"

/** Sends a message to another domain, as policy and the recipient's keys say: encrypted, in clear, or not now. What leaves is signed (DKIM) last. */
export async function relay(
  message: OpenMessage,
  job: Job,
  recipient: Recipient,
  gateway: Gateway,
  signal: AbortSignal,
): Promise<Result> {
  const { entry } = message
  const original = await atHand({ sizeOctets: entry.sizeOctets, content: () => message.content() })
  const send = (outgoing: Prepared, verified = false) =>
    sendSigned(outgoing, verified, message, job, recipient, gateway, signal)
  // What its sender encrypted stays as it is, whatever we know of the recipient.
  if ((await classify(original)) !== "clear") return send(await inClear(original, message))

  const { decision, policy } = await decided(message, await headerOf(original), recipient, job, gateway)
  gateway.log.info("mail.decided", {
    id: job.spoolId,
    recipient: job.recipient,
    decision: decision.kind,
    because: decision.because,
  })
  switch (decision.kind) {
    case "encrypt":
      return send(await encrypted(original, message, job, { key: decision.key, policy, at: gateway.now() }))
    case "send":
    case "tls":
      return send(await inClear(original, message), decision.kind === "tls")
    case "wait":
      // Whoever keeps silent must not make it leave in clear, nor come back as undeliverable: at last a person decides.
      return { ...deferred(job.recipient, "4.7.5", decision.because), fault: true }
    case "hold":
      return { kind: "hold", reason: decision.because, told: true }
    case "refuse":
      return failed(job.recipient, "5.7.10", decision.because)
    default:
      return decision satisfies never
  }
}

/** A report of ours is encrypted where a key is known, and never kept back: it tells its reader nothing that he did not write. */
async function decided(
  message: OpenMessage,
  header: Uint8Array,
  recipient: Recipient,
  job: Job,
  gateway: Gateway,
): Promise<Pick<Leaving, "decision" | "policy">> {
  const { sender } = message.entry.envelope
  const { decision, policy, resolution, facts } = await leaving(message, header, recipient, gateway)
  if (sender === null)
    return { decision: decision.kind === "encrypt" ? decision : { kind: "send", because: "a report" }, policy }
  gateway.departures.note({
    spoolId: job.spoolId,
    recipient: addressKey(recipient.address),
    sender: addressKey(sender),
    at: message.entry.receivedAt,
    decision: decision.kind,
    facts: departureFacts(facts.fields("sensitivity"), resolution),
  })
  return { decision, policy }
}

interface Encryption {
  readonly key: UsableKey
  readonly policy: Policy
  readonly at: Date
}

function encrypted(
  original: Prepared,
  { entry }: OpenMessage,
  job: Job,
  { key, policy, at }: Encryption,
): Promise<Prepared> {
  const options = { headers: headersFor(key, policy), form: policy.pgp, signing: null }
  const trace = [Buffer.from(entry.received)]
  return protectOutgoing(original, trace, entry.seed, job.recipient, targetOfKey(key, at), options)
}

function headersFor({ format }: UsableKey, { headers }: Policy): HeaderPolicy {
  if (headers !== "auto") return headers
  return format === "openpgp" ? "hidden" : "shown"
}

/** As it came, but for its Bcc. */
function inClear(original: Prepared, { entry }: OpenMessage): Promise<Prepared> {
  return signOutgoing(original, [Buffer.from(entry.received)], entry.seed, { headers: "off", signing: null })
}

async function sendSigned(
  outgoing: Prepared,
  verified: boolean,
  message: OpenMessage,
  job: Job,
  recipient: Recipient,
  gateway: Gateway,
  signal: AbortSignal,
): Promise<Result> {
  const leaves = await asLeaving(outgoing, message, job, gateway)
  if (leaves instanceof Error) return { ...deferred(job.recipient, "4.3.5", leaves.message), fault: true }
  return gateway.relay.send(leaves, message.entry.envelope, recipient, { verified, signal })
}

async function headerOf(message: Prepared): Promise<Uint8Array> {
  const octets = message.content()[Symbol.asyncIterator]()
  try {
    return (await readHeader(octets, MAX_HEADER_OCTETS)).header
  } finally {
    await octets.return?.()
  }
}

/**
 * Signed, where it is of our people or of ourselves. What came from elsewhere is never signed by us, whoever it names as its author.
 * @returns the error, where it would have to be signed and cannot be
 */
async function asLeaving(
  outgoing: Prepared,
  { entry }: OpenMessage,
  job: Job,
  gateway: Gateway,
): Promise<Prepared | GatewayError> {
  if (entry.origin.kind !== "submission") return outgoing
  try {
    return await signed(outgoing, entry.receivedAt, gateway.signatories)
  } catch (error) {
    if (!(error instanceof GatewayError) || !KEY_FAULTS.includes(error.code)) throw error
    gateway.log.error("mail.not-signed", { id: job.spoolId, recipient: job.recipient }, error)
    return error
  }
}

const KEY_FAULTS: readonly ErrorCode[] = ["DKIM_KEY_UNUSABLE", "DKIM_KEYS_CORRUPT"]
