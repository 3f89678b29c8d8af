import type { DeliveryStatus } from "../message/status.ts"
import { nextAttempt } from "../queue/backoff.ts"
import type { Job, Outcome } from "../queue/queue.ts"
import type { Result } from "./ports.ts"

/** A result that ends the attempts at this recipient. */
export function failed(recipient: string, status: string, diagnostic: string): Result {
  return { kind: "failed", status: { recipient, action: "failed", status, diagnostic } }
}

/** A result after which a later attempt may succeed. */
export function deferred(recipient: string, status: string, diagnostic: string): Result & { kind: "retry" } {
  return { kind: "retry", status: { recipient, action: "delayed", status, diagnostic } }
}

/** A result that ends well in our own store. */
export function stored(recipient: string, diagnostic: string): Result & { kind: "done" } {
  return { kind: "done", status: { recipient, action: "delivered", status: "2.0.0", diagnostic } }
}

/** A job whose message left the spool: it was settled before, and a crash lost the note of it. */
export function gone(job: Job): Outcome {
  return {
    kind: "done",
    status: {
      recipient: job.recipient,
      action: "delivered",
      status: "2.0.0",
      diagnostic: "settled by an earlier attempt",
    },
  }
}

/** Turns the result of an attempt into what the queue does next: a retry gets its time; when that is over it fails, or is held for a fault of ours. */
export function settle(result: Result, job: Job, receivedAt: Date, now: Date, lifetimeMs: number): Outcome {
  if (result.kind !== "retry") return result
  const at = nextAttempt(job.attempt, receivedAt, now)
  if (at !== null && now.getTime() - receivedAt.getTime() < lifetimeMs) return { ...result, at }
  const { status } = result
  if (result.fault) return { kind: "hold", reason: status.diagnostic }
  // RFC 3463 §3.5: 4.4.7 / 5.4.7, delivery time expired.
  return {
    kind: "failed",
    status: {
      ...status,
      action: "failed",
      status: "5.4.7",
      diagnostic: `delivery time expired; last: ${status.diagnostic}`,
    },
  }
}

/**
 * What the sender hears of a message that is not delivered yet; null: nothing now. Once, at the last attempt before `delayWarningMs` have passed since
 * it was accepted (RFC 3461 §4.1 DELAY); and where it waits for a person, at once.
 */
export function delayOf(
  result: Result,
  outcome: Outcome,
  job: Job,
  receivedAt: Date,
  now: Date,
  delayWarningMs: number,
): DeliveryStatus | null {
  if (outcome.kind === "hold" && result.kind === "hold" && result.told)
    return { recipient: job.recipient, action: "delayed", status: "4.7.0", diagnostic: outcome.reason }
  if (outcome.kind !== "retry" || delayWarningMs === 0) return null
  const warnAtMs = receivedAt.getTime() + delayWarningMs
  const isLastBefore = now.getTime() < warnAtMs && outcome.at.getTime() >= warnAtMs
  // Nobody tried in time: the gateway was not running.
  const isLate = job.attempt === 0 && now.getTime() >= warnAtMs
  return isLastBefore || isLate ? outcome.status : null
}
