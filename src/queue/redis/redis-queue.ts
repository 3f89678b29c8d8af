import type { DeliveryStatus } from "../../message/status.ts"
import { lifeOf } from "../../store/process.ts"
import type { AuditLog } from "../audit-log.ts"
import {
  type AuditRow,
  type Counts,
  type FinalOutcome,
  type Handler,
  type Job,
  type Outcome,
  type QueuedJob,
  type RecordedPair,
  spoolIdOf,
  type WorkQueue,
} from "../queue.ts"
import { priorityOf } from "../rank.ts"
import { LEASE_MS, type Leases, type QueueOptions, type Settlement, WorkLoop } from "../work-loop.ts"
import { INTENTS, type Intent, Intents } from "./intents.ts"
import { answered, type Held, isLost, jobIn, keptOf, messageKey, PREFIX, QUEUE, row } from "./kept.ts"
import type { RedisServer } from "./server.ts"
import { Views } from "./views.ts"

/** A wait that is longer than this comes from a clock that ran ahead; no wait of the backoff is as long. */
const LONGEST_WAIT_MS = 6 * 3_600_000
const PAGE = 1_000
const MOST_AT_ONCE = 32
const STATES = ["active", "wait", "prioritized", "delayed", "failed"] as const

/**
 * The queue on Redis, led by BullMQ; any number of processes on any number of machines may share it. A job that waits, or is delayed, or
 * active, is so in BullMQ's words; one that is held has `failed` there. The record of what became of mail is elsewhere (`audit`), so that Redis
 * may lose everything: the sweep makes the jobs again from the spool, but for what the record says is settled.
 */
export class RedisQueue implements WorkQueue, Leases {
  readonly #server: RedisServer
  readonly #audit: AuditLog
  readonly #options: QueueOptions
  readonly #loop: WorkLoop
  /** Leased here. */
  readonly #leased = new Map<string, Held>()
  /** Jobs that are asked for side by side: each question is a round trip, and one in vain costs as much as another. */
  #atOnce = 1
  /** Jobs up to this place were there before the last absence of the server: whether they were tried, it may have forgotten. */
  #doubtful = Number.POSITIVE_INFINITY

  private constructor(server: RedisServer, audit: AuditLog, options: QueueOptions) {
    this.#server = server
    this.#audit = audit
    this.#options = options
    this.#loop = new WorkLoop(this, options)
    server.onReturn(() => void this.#doubt())
  }

  /** The queue of this server, which may be away. */
  static async open(server: RedisServer, audit: AuditLog, options: QueueOptions): Promise<RedisQueue> {
    const queue = new RedisQueue(server, audit, options)
    if (server.isThere) await queue.#doubt()
    return queue
  }

  get isThere(): boolean {
    return this.#server.isThere
  }

  onReturn(act: () => void): void {
    this.#server.onReturn(act)
  }

  add(...jobs: readonly Job[]): Promise<void> {
    return answered(() => this.#added(jobs))
  }

  async #added(jobs: readonly Job[]): Promise<void> {
    const now = this.#options.now()
    const open = await this.#unsettled(jobs)
    if (open.length === 0) return
    await this.#audit.write(...open.map((job) => row(job, "queued", null, now)))
    const { redis, queue } = this.#server.bull
    const members = Map.groupBy(open, ({ spoolId }) => spoolId)
    // First, so that a message is never taken for settled while one of its jobs is still to come.
    const [last] = await Promise.all([
      redis.incrby(PLACE, open.length),
      ...[...members].map(([spoolId, of]) => redis.sadd(messageKey(spoolId), ...of.map(({ id }) => id))),
    ])
    const added = open.map((job, index) => ({
      name: QUEUE,
      data: keptOf(job, last - open.length + 1 + index),
      opts: {
        jobId: job.id,
        timestamp: now.getTime(),
        priority: priorityOf(job.queuedAt.getTime(), job.attempt, open.length),
      },
    }))
    await queue.addBulk(added)
    this.#loop.wake()
  }

  async work(handler: Handler, options: { readonly concurrency: number; readonly signal: AbortSignal }): Promise<void> {
    this.#server.onReturn(() => void this.#lookForStalled())
    await this.#lookForStalled()
    await this.#loop.work(handler, options)
  }

  async *ids(): AsyncIterable<string> {
    const { queue } = this.#server.bull
    for (const state of STATES) {
      for (let from = 0; ; from += PAGE) {
        const page = await queue.getRanges([state], from, from + PAGE - 1, true)
        yield* page
        if (page.length < PAGE) break
      }
    }
  }

  async counts(): Promise<Counts> {
    const { queue } = this.#server.bull
    const [found, held, failed] = await Promise.all([
      queue.getJobCounts("wait", "prioritized", "delayed", "active", "failed"),
      this.#intents.waitingHeld(),
      this.#audit.failed(),
    ])
    const of = (state: string) => found[state] ?? 0
    return {
      ready: of("wait") + of("prioritized") - held.ready,
      delayed: of("delayed") - held.delayed,
      active: of("active"),
      held: of("failed") + held.ready + held.delayed,
      failed,
    }
  }

  list(): Promise<QueuedJob[]> {
    return answered(async () => {
      const ids: string[] = []
      for await (const id of this.ids()) ids.push(id)
      return this.#views.queued(ids)
    })
  }

  async show(id: string): Promise<{ readonly jobs: readonly QueuedJob[]; readonly audit: readonly AuditRow[] }> {
    const jobs = await answered(async () => this.#views.queued(await this.#views.idsOf(id)))
    return { jobs, audit: await this.#audit.of(id.includes("-") ? spoolIdOf(id) : id) }
  }

  failures(limit: number): Promise<AuditRow[]> {
    return this.#audit.failures(limit)
  }

  hold(id: string, reason: string): Promise<number> {
    return this.#administer(id, async (job) => {
      const isActive = job.state === "active"
      await this.#intents.set(job.id, { kind: "hold", reason, recorded: !isActive })
      if (!isActive) await this.#write(job, "held", job.lastStatus)
    })
  }

  release(id: string): Promise<number> {
    return this.#administer(id, async (job, kept) => {
      await this.#intents.clear(job.id)
      if (job.state !== "held") return
      await kept.updateData({ ...kept.data, holdReason: null, dueAt: this.#options.now().getTime() })
      const state = await kept.getState()
      if (state === "failed") await kept.retry("failed")
      else if (state === "delayed") await kept.promote()
      await this.#write(job, "released", null)
    })
  }

  retry(id: string): Promise<number> {
    return this.#administer(id, async (job, kept) => {
      if (job.state !== "delayed") return
      await kept.updateData({ ...kept.data, dueAt: this.#options.now().getTime() })
      await kept.promote()
    })
  }

  drop(id: string): Promise<number> {
    return this.#administer(id, async (job, kept) => {
      if (job.state === "active") return this.#intents.set(job.id, { kind: "drop" })
      await this.#write(job, "dropped", job.lastStatus)
      await kept.remove()
      if (await this.#isLast(job)) await this.#loop.emptied(job.spoolId)
    })
  }

  settled(spoolId: string): Promise<ReadonlySet<string>> {
    return this.#audit.settled(spoolId)
  }

  async prune(before: Date): Promise<number> {
    const living = new Set<string>()
    for await (const id of this.ids()) living.add(spoolIdOf(id))
    return this.#audit.prune(before, living)
  }

  pairs(since: Date): AsyncIterable<RecordedPair> {
    return this.#audit.pairs(since)
  }

  claim(owner: string, limit: number): Promise<readonly Job[]> {
    return answered(async () => {
      const { worker } = this.#server.bull
      const hasIntents = await this.#intents.any()
      const wanted = Math.min(limit, this.#atOnce)
      const asked = Array.from({ length: wanted }, () => worker.getNextJob(owner, { block: false }))
      const answers = await Promise.allSettled(asked)
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
    return this.#lease(job, async (held) => {
      await held.updateData({ ...held.data, dueAt: outcome.at.getTime(), lastStatus: outcome.status })
      await held.changePriority({ priority: priorityOf(outcome.at.getTime(), job.attempt + 1, 1) })
      await held.moveToDelayed(outcome.at.getTime(), owner)
      return "more"
    })
  }

  putOff(job: Job, owner: string, at: Date): Promise<Settlement> {
    return answered(() =>
      this.#lease(job, async (held) => {
        // An attempt was counted that is none.
        await held.updateData({ ...held.data, attempt: held.data.attempt - 1, dueAt: at.getTime() })
        await held.moveToDelayed(at.getTime(), owner)
        return "more"
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
    const owners = await redis.mget(active.map((id) => `${queue.toKey(id)}:lock`))
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

  dueInMs(): number | null {
    return null
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]()
    await this.#audit[Symbol.asyncDispose]()
  }

  /** From what the server says now, whatever it has forgotten of. */
  async #doubt(): Promise<void> {
    this.#doubtful = Number.POSITIVE_INFINITY
    try {
      this.#doubtful = Number((await this.#server.bull.redis.get(PLACE)) ?? 0)
    } catch (error) {
      this.#options.log.error("queue.doubt", {}, error)
    }
    this.#loop.wake()
  }

  get #views(): Views {
    return new Views(this.#server.bull, this.#options.now)
  }

  get #intents(): Intents {
    return new Intents(this.#server.bull)
  }

  async #lookForStalled(): Promise<void> {
    if (this.#server.isThere) await this.#server.bull.worker.startStalledCheckTimer()
  }

  async #unsettled(jobs: readonly Job[]): Promise<readonly Job[]> {
    const spoolIds = [...new Set(jobs.map(({ spoolId }) => spoolId))]
    const settled = new Map(
      await Promise.all(spoolIds.map(async (spoolId) => [spoolId, await this.#audit.settled(spoolId)] as const)),
    )
    const open = jobs.filter(({ spoolId, recipient }) => settled.get(spoolId)?.has(recipient) !== true)
    return [...new Map(open.map((job) => [job.id, job])).values()]
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
      await this.#finish(job, owner)
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
    // An attempt was counted that is none.
    await held.updateData({ ...held.data, attempt: held.data.attempt - 1 })
    await held.moveToWait(owner)
    throw error
  }

  async #obey(intent: Intent, job: Job, owner: string): Promise<void> {
    if (intent.kind === "hold") await this.#putAside(job, owner, intent.reason, null, intent.recorded)
    else if ((await this.#end(job, owner, "dropped", null)) === "emptied") await this.#loop.emptied(job.spoolId)
  }

  /** The record first: a job that is gone without a line there would be mail that is lost. */
  async #end(job: Job, owner: string, outcome: FinalOutcome, status: DeliveryStatus | null): Promise<Settlement> {
    await this.#write(job, outcome, status)
    const ended = await this.#lease(job, async (held) => {
      await held.moveToCompleted(null, owner, false)
      return "more"
    })
    if (ended === "lost") return "lost"
    return (await this.#isLast(job)) ? "emptied" : "more"
  }

  /** The job of a pair that the record has an end of already. */
  async #finish(job: Job, owner: string): Promise<void> {
    const ended = await this.#lease(job, async (held) => {
      await held.moveToCompleted(null, owner, false)
      return "more"
    })
    if (ended !== "lost" && (await this.#isLast(job))) await this.#loop.emptied(job.spoolId)
  }

  async #putAside(
    job: Job,
    owner: string,
    holdReason: string,
    status: DeliveryStatus | null,
    recorded: boolean,
  ): Promise<Settlement> {
    if (!recorded) await this.#write(job, "held", status)
    const settlement = await this.#lease(job, async (held) => {
      await held.updateData({ ...held.data, holdReason, lastStatus: status ?? held.data.lastStatus })
      await held.moveToFailed(new Error(holdReason), owner, false)
      return "more"
    })
    await this.#intents.clear(job.id)
    return settlement
  }

  /** Acts on a leased job, and lets go of it. */
  async #lease(job: Job, act: (held: Held) => Promise<Settlement>): Promise<Settlement> {
    const held = this.#leased.get(job.id)
    if (held === undefined) return "lost"
    const settlement = await act(held).catch((error: unknown): Settlement => {
      if (isLost(error)) return "lost"
      throw error
    })
    this.#leased.delete(job.id)
    return settlement
  }

  /** Takes the job from those of its message. False as well where the server has forgotten the message: the sweep removes that. */
  async #isLast({ id, spoolId }: Job): Promise<boolean> {
    return (await this.#server.bull.redis.eval(TAKE_LAST, 2, messageKey(spoolId), INTENTS, id)) === 1
  }

  async #administer(id: string, act: (job: QueuedJob, kept: Held) => Promise<void>): Promise<number> {
    const met = await answered(async () => {
      const views = await Promise.all((await this.#views.idsOf(id)).map((one) => this.#views.view(one)))
      const found = views.filter((view) => view !== null).toSorted((a, b) => a.kept.data.place - b.kept.data.place)
      for (const { job, kept } of found) await act(job, kept)
      return found
    })
    this.#loop.wake()
    return met.length
  }

  async #write(job: Job, outcome: AuditRow["outcome"], status: DeliveryStatus | null): Promise<void> {
    await this.#audit.write(row(job, outcome, status, this.#options.now()))
  }

  /** Makes jobs due that a clock which ran ahead has put off. */
  async #mendDueTimes(): Promise<void> {
    const { redis, queue } = this.#server.bull
    const latest = this.#options.now().getTime() + LONGEST_WAIT_MS
    const late = await redis.zrangebyscore(queue.toKey("delayed"), latest * DELAY_UNIT, "+inf", "LIMIT", 0, PAGE)
    for (const id of late) {
      const kept = (await queue.getJob(id)) as Held | undefined
      await kept?.promote()
    }
  }
}

const PLACE = `${PREFIX}:place`
const TAKE_LAST = `redis.call('HDEL', KEYS[2], ARGV[1])
return redis.call('SREM', KEYS[1], ARGV[1]) == 1 and redis.call('SCARD', KEYS[1]) == 0 and 1 or 0`
/** BullMQ's scores of delayed jobs are times in units of this, so that jobs of one time keep their order. */
const DELAY_UNIT = 0x1000
