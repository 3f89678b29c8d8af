import type { Recipient } from "../message/envelope.ts"
import type { DeliveryStatus } from "../message/status.ts"
import type { Job, Outcome } from "../queue/queue.ts"
import type { SpoolEntry } from "../store/spool.ts"
import { logAttempt } from "./attempt-log.ts"
import { report } from "./bounce.ts"
import { takeBack } from "./came-back.ts"
import { type Attempt, type Gateway, type OpenMessage, recipientOf } from "./gateway.ts"
import { storeMeshMail } from "./mesh/store.ts"
import type { Result } from "./ports.ts"
import { relay } from "./relay.ts"
import { sendOn } from "./send-on.ts"
import { delayOf, failed, gone, settle } from "./settle.ts"
import { store } from "./store.ts"

/**
 * One attempt at one recipient of one message. Mail of our people is protected and stored, mail of others relayed, what an alias sends on sent on, and a final
 * failure is reported to the sender, success where that was asked for. What became of it is a value; a thrown error is a fault of ours, and the queue tries again.
 */
export async function deliver(job: Job, gateway: Gateway, signal: AbortSignal): Promise<Outcome> {
  await using message = await gateway.open(job.spoolId)
  if (message === null) return gone(job)
  const recipient = recipientOf(message.entry, job)
  const back = returned(message.entry, recipient, gateway)
  const result =
    back === null
      ? await bring({ message, job, recipient, gateway, signal })
      : await takeBack(message, job, back, gateway)

  const outcome = settle(result, job, message.entry.receivedAt, gateway.now(), gateway.lifetimeMs)
  if (outcome.kind === "failed") await report(message, recipient, outcome.status, gateway)
  if (result.kind === "done" && !result.notifies) await confirm(message, recipient, result.status, gateway)
  const delay = delayOf(result, outcome, job, message.entry.receivedAt, gateway.now(), gateway.delayWarningMs)
  if (delay !== null) await confirm(message, recipient, delay, gateway)
  logAttempt(job, outcome, gateway.log)
  return outcome
}

async function bring(attempt: Attempt): Promise<Result> {
  const { message, job, recipient, gateway, signal } = attempt
  const { kind } = message.entry.origin
  if (kind === "mesh") return storeMeshMail(message, job, gateway, signal)
  const resolution = gateway.directory.resolve(recipient.address)
  switch (resolution.kind) {
    case "accounts":
      return store(attempt, resolution)
    case "foreign":
      return kind === "forward" ? sendOn(attempt) : relay(attempt)
    case "unknown":
      return failed(job.recipient, "5.1.1", "no such mailbox here any more")
    default:
      return resolution satisfies never
  }
}

/** A bounce of what we have forwarded is for whoever had sent it. */
function returned({ envelope, receivedAt }: SpoolEntry, { address }: Recipient, { returnPaths }: Gateway) {
  return envelope.sender === null ? returnPaths.original(address, receivedAt) : null
}

/** RFC 3461 §4.1: NOTIFY=SUCCESS, DELAY. A confirmation that fails must not make the message come twice. */
async function confirm(
  message: OpenMessage,
  recipient: Recipient,
  status: DeliveryStatus,
  gateway: Gateway,
): Promise<void> {
  // Which account an alias leads to, and how its mail is stored, is for our log only.
  const told = status.action === "delivered" ? { ...status, diagnostic: "delivered" } : status
  try {
    await report(message, recipient, told, gateway)
  } catch (error) {
    gateway.log.error("report.failed", { recipient: status.recipient }, error)
  }
}
