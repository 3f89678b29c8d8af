import { Job as BullJob } from "bullmq"
import type { Log } from "../../log/log.ts"
import type { DeliveryStatus } from "../../message/status.ts"
import { lifeOf } from "../../store/process.ts"
import type { AuditLog } from "../audit-log.ts"
import { LONGEST_WAIT_MS } from "../backoff.ts"
import type { FinalOutcome, Job, Outcome } from "../queue.ts"
import { priorityOf } from "../rank.ts"
import { LEASE_MS, type Leases, type Settlement } from "../work-loop.ts"
import type { Endings } from "./endings.ts"
import { type Intent, Intents } from "./intents.ts"
import { answered, type Held, isLost, jobIn, lockKey, PLACE, untried } from "./kept.ts"
import type { Bull, RedisServer } from "./server.ts"

/** What leases stand on. */
export interface LeasesParts {
  readonly server: RedisServer
  readonly audit: AuditLog
  readonly endings: Endings
  readonly now: () => Date
  readonly log: Log
  /** The last job of a message turned out to be settled already, or was dropped. */
  readonly emptied: (spoolId: string) => Promise<void>
}

const MOST_AT_ONCE = 32
const MENDED_AT_ONCE = 1_000
/** BullMQ's scores of delayed jobs are times in units of this, so that jobs of one time keep their order. */
const DELAY_UNIT = 0x1000

/** A job that was leased in the same breath in which another one ended: finishing and asking are one round trip so. */
interface LeasedAhead {
  readonly held: Held
  readonly hasIntents: boolean
}

/** The jobs that workers of this process have: BullMQ's locks, whose tokens are the workers' names. */
export class RedisLeases implements Leases {
  readonly #server: RedisServer
  readonly #audit: AuditLog
  readonly #endings: Endings
  readonly #now: () => Date
  readonly #log: Log
  readonly #emptied: (spoolId: string) => Promise<void>
  readonly #leased = new Map<string, Held>()
  /** By owner, while it claims: what its next claim gets before anything is asked for. */
  readonly #ahead = new Map<string, LeasedAhead[]>()
  /** Jobs that are asked for side by side: each question is a round trip, and one in vain costs as much as another. */
  #atOnce = MOST_AT_ONCE
  /** Jobs up to this place were there before the last absence of the server: whether they were tried, it may have forgotten. */
  #doubtful = Number.POSITIVE_INFINITY

  constructor({ server, audit, endings, now, log, emptied }: LeasesParts) {
    this.#server = server
    this.#audit = audit
    this.#endings = endings
    this.#now = now
    this.#log = log
    this.#emptied = emptied
  }

  /** From what the server says now, whatever it has forgotten of. */
  async doubt(): Promise<void> {
    this.#doubtful = Number.POSITIVE_INFINITY
    try {
      this.#doubtful = Number((await this.#server.bull.redis.get(PLACE)) ?? 0)
    } catch (error) {
      this.#log.error("queue.doubt", {}, error)
    }
  }

  claim(owner: string, limit: number): Promise<readonly Job[]> {
    return answered(async () => {
      const ahead = this.#aheadOf(owner).splice(0, limit)
      if (ahead.length > 0) {
        const held = ahead.map((one) => one.held)
        return this.#standing(
          held,
          owner,
          ahead.some(({ hasIntents }) => hasIntents),
        )
      }
      const { worker } = this.#server.bull
      // Answered before the others are looked at, since a connection keeps its order. Nobody knows: then each is asked for.
      const intents = this.#intents.any().catch(() => true)
      const wanted = Math.min(limit, this.#atOnce)
      const asked = Array.from({ length: wanted }, () => worker.getNextJob(owner, { block: false }))
      const answers = await Promise.allSettled(asked)
      const hasIntents = await intents
      const leased = answers.flatMap((answer) => (answer.status === "fulfilled" && answer.value ? [answer.value] : []))
      this.#atOnce = leased.length === wanted ? Math.min(wanted * 2, MOST_AT_ONCE) : 1
      const failed = answers.find((answer) => answer.status === "rejected")
      // Those that are leased are worked on; the next claim meets the trouble again.
      if (failed && leased.length === 0) throw failed.reason
      return this.#standing(leased, owner, hasIntents)
    })
  }

  settle(job: Job, owner: string, outcome: Outcome): Promise<Settlement> {
    return answered(() => this.#settled(job, owner, outcome))
  }

  async #settled(job: Job, owner: string, outcome: Outcome): Promise<Settlement> {
    if (outcome.kind === "done" || outcome.kind === "failed") return this.#end(job, owner, outcome.kind, outcome.status)
    const intent = await this.#intents.get(job.id)
    if (intent?.kind === "drop") return this.#end(job, owner, "dropped", null)
    if (outcome.kind === "hold") return this.#putAside(job, owner, outcome.reason, null, false)
    if (intent?.kind === "hold") return this.#putAside(job, owner, intent.reason, outcome.status, intent.recorded)
    return this.#release(job, async (held) => {
      await held.updateData({ ...held.data, dueAt: outcome.at.getTime(), lastStatus: outcome.status })
      await held.changePriority({ priority: priorityOf(outcome.at.getTime(), job.attempt + 1, 1) })
      await held.moveToDelayed(outcome.at.getTime(), owner)
    })
  }

  putOff(job: Job, owner: string, at: Date): Promise<Settlement> {
    return answered(() =>
      this.#release(job, async (held) => {
        await held.updateData({ ...untried(held.data), dueAt: at.getTime() })
        await held.moveToDelayed(at.getTime(), owner)
      }),
    )
  }

  async renew(owner: string, ids: readonly string[]): Promise<void> {
    await Promise.all(ids.map((id) => this.#leased.get(id)?.extendLock(owner, LEASE_MS)))
  }

  /** Of workers on this host that are gone; BullMQ sees to all others when their leases have run out. */
  async takeOver(owner: string): Promise<{ readonly jobs: number; readonly emptied: readonly string[] }> {
    if (!this.#server.isThere) return { jobs: 0, emptied: [] }
    await this.#server.look()
    await this.#mendDueTimes()
    const { redis, queue } = this.#server.bull
    const active = await queue.getRanges(["active"], 0, -1)
    if (active.length === 0) return { jobs: 0, emptied: [] }
    const owners = await redis.mget(active.map((id) => lockKey(queue, id)))
    let jobs = 0
    for (const [index, id] of active.entries()) {
      const holder = owners[index] ?? null
      if (holder === null || holder === owner || lifeOf(holder) !== "dead") continue
      const held = (await queue.getJob(id)) as Held | undefined
      await held?.moveToWait(holder)
      jobs++
    }
    return { jobs, emptied: [] }
  }

  async end(owner: string): Promise<void> {
    const ahead = this.#aheadOf(owner)
    this.#ahead.delete(owner)
    await answered(() => Promise.all(ahead.map(({ held }) => giveBack(held, owner))))
  }

  dueInMs(): number | null {
    return [...this.#ahead.values()].some((ahead) => ahead.length > 0) ? 0 : null
  }

  #aheadOf(owner: string): LeasedAhead[] {
    const known = this.#ahead.get(owner) ?? []
    this.#ahead.set(owner, known)
    return known
  }

  get #intents(): Intents {
    return new Intents(this.#server.bull)
  }

  /** The job with the attempts that were begun; what the server may have forgotten counts as one. */
  #tried(held: Held): Job {
    const job = jobIn(held)
    const attempt = job.attempt + held.attemptsStarted - 1
    return { ...job, attempt: held.data.place <= this.#doubtful ? Math.max(1, attempt) : attempt }
  }

  async #standing(leased: readonly Held[], owner: string, hasIntents: boolean): Promise<readonly Job[]> {
    for (const held of leased) this.#leased.set(jobIn(held).id, held)
    const judged = await Promise.allSettled(
      leased.map(async (held) => {
        const job = this.#tried(held)
        const stands = this.#stands(job, owner, hasIntents)
        return (await stands.catch((error: unknown) => this.#putBack(held, owner, error))) ? [job] : []
      }),
    )
    const standing = judged.flatMap((one) => (one.status === "fulfilled" ? one.value : []))
    const failed = judged.find((one) => one.status === "rejected")
    // What stands is worked on, whatever became of the others of the same claim.
    if (failed && standing.length === 0) throw failed.reason
    return standing
  }

  /** Whether a leased job is to be tried: it may be settled already, or an administrator has decided otherwise. */
  async #stands(job: Job, owner: string, hasIntents: boolean): Promise<boolean> {
    if ((await this.#audit.settled(job.spoolId)).has(job.recipient)) {
      await this.#letGo(job, await this.#complete(job, owner))
      return false
    }
    // One that comes now finds an attempt under way.
    const intent = hasIntents ? await this.#intents.get(job.id) : null
    if (intent === null) return true
    await this.#obey(intent, job, owner)
    return false
  }

  /** Nobody can say whether it is to be tried: it waits for the next claim. */
  async #putBack(held: Held, owner: string, error: unknown): Promise<never> {
    this.#leased.delete(jobIn(held).id)
    await giveBack(held, owner)
    throw error
  }

  async #obey(intent: Intent, job: Job, owner: string): Promise<void> {
    if (intent.kind === "hold") await this.#putAside(job, owner, intent.reason, null, intent.recorded)
    else await this.#letGo(job, await this.#end(job, owner, "dropped", null))
  }

  async #letGo({ spoolId }: Job, settlement: Settlement): Promise<void> {
    if (settlement === "emptied") await this.#emptied(spoolId)
  }

  /** The record first: a job that is gone without a line there would be mail that is lost. */
  async #end(job: Job, owner: string, outcome: FinalOutcome, status: DeliveryStatus | null): Promise<Settlement> {
    await this.#endings.write(job, outcome, status)
    return this.#complete(job, owner)
  }

  /** Takes the next job along, as long as the owner claims. */
  async #complete(job: Job, owner: string): Promise<Settlement> {
    const { worker } = this.#server.bull
    let next: Held | null = null
    const released = await this.#release(job, async (held) => {
      const answer = await held.moveToCompleted(null, owner, this.#ahead.has(owner))
      next = Array.isArray(answer) ? nextIn(answer, worker) : null
    })
    if (released === "lost") return released
    const taken = this.#endings.take(job)
    if (next !== null) await this.#lead(next, owner, taken)
    return (await taken).isLast ? "emptied" : "more"
  }

  async #lead(held: Held, owner: string, taken: Promise<{ readonly hasIntents: boolean }>): Promise<void> {
    // Nobody knows: then each is asked for.
    const hasIntents = await taken.then(
      (answer) => answer.hasIntents,
      () => true,
    )
    const ahead = this.#ahead.get(owner)
    if (ahead === undefined) await giveBack(held, owner)
    else ahead.push({ held, hasIntents })
  }

  async #putAside(
    job: Job,
    owner: string,
    holdReason: string,
    status: DeliveryStatus | null,
    recorded: boolean,
  ): Promise<Settlement> {
    if (!recorded) await this.#endings.write(job, "held", status)
    const settlement = await this.#release(job, async (held) => {
      await held.updateData({ ...held.data, holdReason, lastStatus: status ?? held.data.lastStatus })
      await held.moveToFailed(new Error(holdReason), owner, false)
    })
    await this.#intents.clear(job.id)
    return settlement
  }

  /** Acts on a leased job, and lets go of it. */
  async #release(job: Job, act: (held: Held) => Promise<unknown>): Promise<Settlement> {
    const held = this.#leased.get(job.id)
    if (held === undefined) return "lost"
    const isOurs = await act(held).then(
      () => true,
      (error: unknown) => {
        if (isLost(error)) return false
        throw error
      },
    )
    this.#leased.delete(job.id)
    return isOurs ? "more" : "lost"
  }

  /** Makes jobs due that a clock which ran ahead has put off. */
  async #mendDueTimes(): Promise<void> {
    const { redis, queue } = this.#server.bull
    const latest = this.#now().getTime() + LONGEST_WAIT_MS
    const late = await redis.zrangebyscore(
      queue.toKey("delayed"),
      latest * DELAY_UNIT,
      "+inf",
      "LIMIT",
      0,
      MENDED_AT_ONCE,
    )
    for (const id of late) {
      const kept = (await queue.getJob(id)) as Held | undefined
      await kept?.promote()
    }
  }
}

/** Nothing was tried: it waits for the next claim. */
async function giveBack(held: Held, owner: string): Promise<void> {
  await held.updateData(untried(held.data))
  await held.moveToWait(owner)
}

/** The job that BullMQ has leased when another was finished; null: none was due. */
function nextIn([data, id]: readonly unknown[], worker: Bull["worker"]): Held | null {
  return data ? (BullJob.fromJSON(worker, data as Parameters<typeof BullJob.fromJSON>[1], String(id)) as Held) : null
}
