import { type ErrorCode, GatewayError } from "../errors.ts"
import type { Job } from "../queue/queue.ts"
import type { Gateway } from "./gateway.ts"
import type { Result } from "./ports.ts"
import { deferred } from "./settle.ts"

/** A key of ours that cannot be used is ours to repair: the message waits. Throws what is nothing of the kind. */
export function keyFault(event: string, error: unknown, job: Job, log: Gateway["log"]): Result {
  if (!(error instanceof GatewayError) || !KEY_FAULTS.includes(error.code)) throw error
  log.error(event, { id: job.spoolId, recipient: job.recipient }, error)
  return { ...deferred(job.recipient, "4.3.5", error.message), fault: true }
}

const KEY_FAULTS: readonly ErrorCode[] = [
  "DKIM_KEY_UNUSABLE",
  "DKIM_KEYS_CORRUPT",
  "GATEWAY_KEY_UNUSABLE",
  "GATEWAY_KEYS_CORRUPT",
  "STAND_INS_CORRUPT",
  "STAND_IN_UNUSABLE",
]
