import type { DeliveryStatus } from "../../message/status.ts"
import type { AuditLog } from "../audit-log.ts"
import type { AuditRow, Job } from "../queue.ts"
import { INTENTS } from "./intents.ts"
import { messageKey } from "./kept.ts"
import type { RedisServer } from "./server.ts"

/** What becomes of jobs, from their beginning: it is written down, and the message goes with its last one. */
export class Endings {
  readonly #server: RedisServer
  readonly #audit: AuditLog
  readonly #now: () => Date

  constructor(server: RedisServer, audit: AuditLog, now: () => Date) {
    this.#server = server
    this.#audit = audit
    this.#now = now
  }

  async write(job: Job, outcome: AuditRow["outcome"], status: DeliveryStatus | null): Promise<void> {
    await this.#audit.write(row(job, outcome, status, this.#now()))
  }

  /** They have begun. */
  async queued(jobs: readonly Job[]): Promise<void> {
    const now = this.#now()
    await this.#audit.write(...jobs.map((job) => row(job, "queued", null, now)))
  }

  /** Takes the job from those of its message. False as well where the server has forgotten the message: the sweep removes that. */
  async isLast({ id, spoolId }: Job): Promise<boolean> {
    return (await this.#server.bull.redis.eval(TAKE_LAST, 2, messageKey(spoolId), INTENTS, id)) === 1
  }
}

const TAKE_LAST = `redis.call('HDEL', KEYS[2], ARGV[1])
return redis.call('SREM', KEYS[1], ARGV[1]) == 1 and redis.call('SCARD', KEYS[1]) == 0 and 1 or 0`

function row(
  { spoolId, recipient }: Job,
  outcome: AuditRow["outcome"],
  status: DeliveryStatus | null,
  at: Date,
): AuditRow {
  return { spoolId, recipient, outcome, status, at }
}
