import type { DeliveryStatus } from "../../message/status.ts"
import type { AuditLog } from "../audit-log.ts"
import type { AuditRow, Job } from "../queue.ts"
import { INTENTS } from "./intents.ts"
import { messageKey, PLACE } from "./kept.ts"
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

  /** It needed no job. */
  async passed(job: Job, status: DeliveryStatus): Promise<void> {
    const now = this.#now()
    await this.#audit.write(row(job, "queued", null, now), row(job, "done", status, now))
  }

  /** Puts jobs with those of their messages. @returns the place of the last one */
  async put(jobs: readonly Job[]): Promise<number> {
    const messages = [...Map.groupBy(jobs, ({ spoolId }) => spoolId)]
    const keys = messages.map(([spoolId]) => messageKey(spoolId))
    const members = messages.flatMap(([, of]) => [of.length, ...of.map(({ id }) => id)])
    const { redis } = this.#server.bull
    return Number(await redis.eval(PUT, 1 + keys.length, PLACE, ...keys, jobs.length, ...members))
  }

  /**
   * Takes the job from those of its message.
   * @returns `isLast`: false as well where the server has forgotten the message: the sweep removes that. `hasIntents`: an administrator wants
   * something of some job
   */
  async take({ id, spoolId }: Job): Promise<{ readonly isLast: boolean; readonly hasIntents: boolean }> {
    const { redis } = this.#server.bull
    const answer = Number(await redis.eval(TAKE, 2, messageKey(spoolId), INTENTS, id))
    return { isLast: (answer & IS_LAST) !== 0, hasIntents: (answer & HAS_INTENTS) !== 0 }
  }
}

/** KEYS: the counter of places, then messages; ARGV: how many jobs, then of each message how many it has, and which. */
const PUT = `local at = 2
for key = 2, #KEYS do
  local count = tonumber(ARGV[at])
  for index = at + 1, at + count do redis.call('SADD', KEYS[key], ARGV[index]) end
  at = at + 1 + count
end
return redis.call('INCRBY', KEYS[1], ARGV[1])`

const IS_LAST = 1
const HAS_INTENTS = 2
const TAKE = `redis.call('HDEL', KEYS[2], ARGV[1])
local last = redis.call('SREM', KEYS[1], ARGV[1]) == 1 and redis.call('SCARD', KEYS[1]) == 0
return (last and ${IS_LAST} or 0) + (redis.call('HLEN', KEYS[2]) > 0 and ${HAS_INTENTS} or 0)`

function row(
  { spoolId, recipient }: Job,
  outcome: AuditRow["outcome"],
  status: DeliveryStatus | null,
  at: Date,
): AuditRow {
  return { spoolId, recipient, outcome, status, at }
}
