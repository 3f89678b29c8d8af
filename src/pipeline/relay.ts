import type { Recipient } from "../message/envelope.ts"
import type { Job } from "../queue/queue.ts"
import type { Gateway, OpenMessage } from "./gateway.ts"
import type { Result } from "./ports.ts"
import { prefixed } from "./prepared.ts"
import { protectOutgoing } from "./protect.ts"

/** Sends a message of our people to another domain: encrypted where a certificate is pinned for the recipient. */
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
  return gateway.relay.send(outgoing, entry.envelope, recipient, signal)
}
