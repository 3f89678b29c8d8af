import { type ErrorCode, GatewayError } from "../errors.ts"
import type { Recipient } from "../message/envelope.ts"
import type { Job } from "../queue/queue.ts"
import { signed } from "./dkim.ts"
import type { Gateway, OpenMessage } from "./gateway.ts"
import type { Result } from "./ports.ts"
import { type Prepared, prefixed } from "./prepared.ts"
import { protectOutgoing } from "./protect.ts"
import { deferred } from "./settle.ts"

/** Sends a message of our people to another domain: encrypted where a certificate is pinned for the recipient, then signed. */
export async function relay(
  message: OpenMessage,
  job: Job,
  recipient: Recipient,
  gateway: Gateway,
  signal: AbortSignal,
): Promise<Result> {
  const { entry } = message
  const original = { sizeOctets: entry.sizeOctets, content: () => message.content() }
  const trace = [Buffer.from(entry.received)]
  const target = gateway.directory.pinned(recipient.address)
  const outgoing = target
    ? await protectOutgoing(original, trace, entry.seed, job.recipient, target)
    : prefixed(trace, original)
  const leaving = await asLeaving(outgoing, message, job, gateway)
  if (leaving instanceof Error) return { ...deferred(job.recipient, "4.3.5", leaving.message), fault: true }
  return gateway.relay.send(leaving, entry.envelope, recipient, signal)
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
