import type { DeliveryStatus } from "../../message/status.ts"
import type { AuditLog } from "../audit-log.ts"
import {
  type AuditRow,
  type Counts,
  type Handler,
  inSpiteOf,
  type Job,
  type QueuedJob,
  type RecordedPair,
  spoolIdOf,
  type WorkQueue,
} from "../queue.ts"
import { priorityOf } from "../rank.ts"
import { type QueueOptions, WorkLoop } from "../work-loop.ts"
import { Endings } from "./endings.ts"
import { Intents } from "./intents.ts"
import { answered, type Held, keptOf, QUEUE } from "./kept.ts"
import { RedisLeases } from "./leases.ts"
import type { RedisServer } from "./server.ts"
import { Views } from "./views.ts"

const PAGE = 1_000
const STATES = ["active", "wait", "prioritized", "delayed", "failed"] as const

/**
 * The queue on Redis, led by BullMQ; any number of processes on any number of machines may share it. A job that waits, or is delayed, or
 * active, is so in BullMQ's words; one that is held has `failed` there. The record of what became of mail is elsewhere (`audit`), so that Redis
 * may lose everything: the sweep makes the jobs again from the spool, but for what the record says is settled.
 */
export class RedisQueue implements WorkQueue {
  readonly #server: RedisServer
  readonly #audit: AuditLog
  readonly #options: QueueOptions
  readonly #loop: WorkLoop
  readonly #leases: RedisLeases
  readonly #endings: Endings

  private constructor(server: RedisServer, audit: AuditLog, options: QueueOptions) {
    this.#server = server
    this.#audit = audit
    this.#options = options
    this.#endings = new Endings(server, audit, options.now)
    const emptied = (spoolId: string) => this.#loop.emptied(spoolId)
    this.#leases = new RedisLeases({ ...options, server, audit, endings: this.#endings, emptied })
    this.#loop = new WorkLoop(this.#leases, options)
    server.onReturn(() => void this.#leases.doubt().then(() => this.#loop.wake()))
  }

  /** The queue of this server, which may be away. */
  static async open(server: RedisServer, audit: AuditLog, options: QueueOptions): Promise<RedisQueue> {
    const queue = new RedisQueue(server, audit, options)
    if (server.isThere) await queue.#leases.doubt()
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

  passed(job: Job, status: DeliveryStatus): Promise<void> {
    return this.#endings.passed(job, status)
  }

  async #added(jobs: readonly Job[]): Promise<void> {
    const now = this.#options.now()
    const open = await this.#unsettled(jobs)
    if (open.length === 0) return
    await this.#endings.queued(open)
    // First, so that a message is never taken for settled while one of its jobs is still to come.
    const last = await this.#endings.put(open)
    const { queue } = this.#server.bull
    const added = open.map((job, index) => ({
      name: QUEUE,
      data: keptOf(job, last - open.length + 1 + index),
      opts: {
        jobId: job.id,
        timestamp: now.getTime(),
        priority: priorityOf(job.queuedAt.getTime(), job.attempt, open.length),
      },
    }))
    const [only, ...others] = added
    // A pipeline for one job costs more than the job: ioredis writes all of BullMQ's scripts into each.
    if (only !== undefined && others.length === 0) await queue.add(only.name, only.data, only.opts)
    else await queue.addBulk(added)
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
      if (!isActive) await this.#endings.write(job, "held", job.lastStatus)
    })
  }

  release(id: string, anyway = false): Promise<number> {
    return this.#administer(id, async (job, kept) => {
      if (job.state !== "held") return this.#intents.clear(job.id)
      const data = { ...kept.data, ...(anyway ? { anyway } : {}), holdReason: null }
      await kept.updateData({ ...data, dueAt: this.#options.now().getTime() })
      // Only now: a worker takes what nobody wants held, as it stands there.
      await this.#intents.clear(job.id)
      const state = await kept.getState()
      if (state === "failed") await kept.retry("failed")
      else if (state === "delayed") await kept.promote()
      await this.#endings.write(job, "released", anyway ? inSpiteOf(job) : null)
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
      await this.#endings.write(job, "dropped", job.lastStatus)
      await kept.remove()
      if ((await this.#endings.take(job)).isLast) await this.#loop.emptied(job.spoolId)
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

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]()
    await this.#audit[Symbol.asyncDispose]()
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
}
