import type { Log } from "../log/log.ts"
import type { Job, Outcome } from "../queue/queue.ts"
import type { Result } from "./ports.ts"

/** Says what an attempt at one recipient has come to. */
export function logAttempt({ spoolId: id, recipient, attempt }: Job, outcome: Outcome | Result, log: Log): void {
  const { kind } = outcome
  const told =
    kind === "hold"
      ? { reason: outcome.reason }
      : { status: outcome.status.status, diagnostic: outcome.status.diagnostic }
  log.info("mail.attempt", { id, recipient, attempt, outcome: kind, ...told })
}
