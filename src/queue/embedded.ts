import { join } from "node:path"
import { randomOctets } from "../crypto/primitives/random.ts"
import { GatewayError } from "../errors.ts"
import type { Log } from "../log/log.ts"
import type { DeliveryStatus } from "../message/status.ts"
import type { Database } from "../store/database.ts"
import { makePrivateFolder } from "../store/durable.ts"
import { thisProcess } from "../store/process.ts"
import { type CommitsReachDisk, openDatabase } from "../store/sqlite.ts"
import { nextAttempt } from "./backoff.ts"
import { GroupCommit } from "./group-commit.ts"
import { JobTable, QUEUE_MIGRATIONS } from "./job-table.ts"
import {
  type AuditRow,
  type Counts,
  type Handler,
  type Job,
  type Ledger,
  type Outcome,
  type Queue,
  type QueueAdministration,
  type QueuedJob,
  spoolIdOf,
} from "./queue.ts"
import { WalSync } from "./wal-sync.ts"

/** What the queue needs to know of the rest. */
export interface EmbeddedQueueOptions {
  readonly now: () => Date
  /** Called once when the last job of a message is settled. What it throws is logged; the sweep calls again. */
  readonly onEmptied: (spoolId: string) => Promise<void>
  readonly log: Log
  /**
   * `at once` (the default) for acts of people. `later`, half a second at most, for a server: a power cut may then take back the last
   * notes. The sweep finds messages without a job, and what had a job before the start is tried as a repeat.
   */
  readonly commitsReachDisk?: CommitsReachDisk
}

/** A worker that is silent for this long is taken for dead, if nobody can see that it lives. */
const LEASE_MS = 120_000
const RENEW_EVERY_MS = 30_000
/** Work added by other processes, and jobs of dead ones, are seen after this. */
const POLL_MS = 500
/** How long attempts under way may still run when the worker is to end; the whole process has 10 s. */
const DRAIN_MS = 8_000
const PAGE = 1_000

/** The queue in SQLite; any number of processes may share it. */
export class EmbeddedQueue implements Queue, QueueAdministration, Ledger {
  readonly #database: Database
  readonly #jobs: JobTable
  readonly #commits: GroupCommit
  readonly #sync: WalSync | null
  readonly #options: EmbeddedQueueOptions
  readonly #wakers = new Set<() => void>()
  /** Settled messages that are just leaving the spool. */
  readonly #clearing = new Set<Promise<void>>()

  /** Use {@link openEmbeddedQueue}. `sync` null: commits are on the disk when they return. */
  constructor(database: Database, sync: WalSync | null, options: EmbeddedQueueOptions) {
    this.#database = database
    this.#jobs = new JobTable(database)
    this.#commits = new GroupCommit(database, () => sync?.committed())
    this.#sync = sync
    this.#options = options
  }

  async add(...jobs: readonly Job[]): Promise<void> {
    const now = this.#options.now()
    await this.#commits.run(() => {
      for (const job of jobs) this.#jobs.add(job, now)
    })
    this.#wake()
  }

  async work(
    handler: Handler,
    { concurrency, signal }: { readonly concurrency: number; readonly signal: AbortSignal },
  ): Promise<void> {
    const owner = `${thisProcess()}/${Buffer.from(randomOctets(6)).toString("hex")}`
    const running = new Set<Promise<void>>()
    using attempts = drainable(signal)
    using _renewal = every(RENEW_EVERY_MS, () => this.#quietly("queue.lease-not-renewed", () => this.#renew(owner)))
    using _rescue = every(POLL_MS, () => this.#quietly("queue.not-taken-over", () => this.#takeOver(owner)))
    await this.#quietly("queue.not-taken-over", () => this.#takeOver(owner))
    while (!signal.aborted) {
      const free = concurrency - running.size
      const jobs = free > 0 ? await this.#claim(owner, free) : []
      for (const job of jobs) {
        const attempt = this.#attempt(job, owner, handler, attempts.signal).finally(() => {
          running.delete(attempt)
          this.#wake()
        })
        running.add(attempt)
      }
      if (jobs.length === 0) await this.#idle(free > 0, signal)
    }
    await Promise.all(running)
    await Promise.all(this.#clearing)
  }

  async *ids(): AsyncIterable<string> {
    let page = this.#jobs.page(0, PAGE)
    while (page.ids.length > 0) {
      yield* page.ids
      page = this.#jobs.page(page.place, PAGE)
    }
  }

  async counts(): Promise<Counts> {
    return this.#jobs.counts(this.#options.now())
  }

  async list(): Promise<QueuedJob[]> {
    return this.#jobs.list(this.#options.now(), null)
  }

  async show(id: string): Promise<{ readonly jobs: readonly QueuedJob[]; readonly audit: readonly AuditRow[] }> {
    const jobs = this.#jobs.list(this.#options.now(), id)
    return { jobs, audit: this.#jobs.auditOf(id.includes("-") ? spoolIdOf(id) : id) }
  }

  async failures(limit: number): Promise<AuditRow[]> {
    return this.#jobs.failures(limit)
  }

  hold(id: string, reason: string): Promise<number> {
    return this.#administer(id, (job, now) => this.#jobs.hold(job, reason, now))
  }

  release(id: string): Promise<number> {
    return this.#administer(id, (job, now) => this.#jobs.release(job, now))
  }

  retry(id: string): Promise<number> {
    return this.#administer(id, (job, now) => this.#jobs.retry(job, now))
  }

  async drop(id: string): Promise<number> {
    const emptied = new Set<string>()
    const met = await this.#administer(id, (job, now) => {
      if (this.#jobs.drop(job, now) === "emptied") emptied.add(job.spoolId)
    })
    for (const spoolId of emptied) await this.#emptied(spoolId)
    return met
  }

  async settled(spoolId: string): Promise<ReadonlySet<string>> {
    const final = this.#jobs.auditOf(spoolId).filter((row) => row.outcome !== "held" && row.outcome !== "released")
    return new Set(final.map((row) => row.recipient))
  }

  prune(before: Date): Promise<number> {
    return this.#commits.run(() => this.#jobs.prune(before))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Behind whatever still waits for the next commit.
    await this.#commits.run(() => "written")
    await this.#sync?.sync()
    this.#database.close()
  }

  async #claim(owner: string, limit: number): Promise<readonly Job[]> {
    const now = this.#options.now()
    try {
      const dueInMs = this.#jobs.dueInMs(now)
      if (dueInMs === null || dueInMs > 0) return []
      return await this.#commits.run(() => this.#jobs.claim(owner, now, now.getTime() + LEASE_MS, limit))
    } catch (error) {
      this.#options.log.error("queue.not-claimed", {}, error)
      // The disk may have room again later; until then the loop must not spin.
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
      return []
    }
  }

  async #takeOver(owner: string): Promise<void> {
    const now = this.#options.now()
    this.#jobs.mendDueTimes(now)
    const orphans = this.#jobs.orphans(owner, now)
    if (orphans.length === 0) return
    const emptied = await this.#commits.run(() => this.#jobs.takeOver(orphans, now))
    this.#options.log.warn("queue.taken-over", { jobs: orphans.length })
    this.#wake()
    for (const spoolId of emptied) await this.#emptied(spoolId)
  }

  /** For what is done again soon anyway. */
  async #quietly(event: string, act: () => Promise<void>): Promise<void> {
    try {
      await act()
    } catch (error) {
      this.#options.log.error(event, {}, error)
    }
  }

  async #attempt(job: Job, owner: string, handler: Handler, signal: AbortSignal): Promise<void> {
    const outcome = await this.#outcome(job, handler, signal)
    try {
      const settlement = await this.#commits.run(() => this.#jobs.settle(job, owner, outcome, this.#options.now()))
      if (settlement === "lost") this.#options.log.warn("queue.lease-lost", { job: job.id })
      // Not waited for: a file system takes its time to remove a file, and the next attempt need not.
      if (settlement === "emptied") this.#clear(job.spoolId)
    } catch (error) {
      // The lease runs out and the job is tried again.
      this.#options.log.error("queue.not-settled", { job: job.id }, error)
    }
  }

  async #outcome(job: Job, handler: Handler, signal: AbortSignal): Promise<Outcome> {
    try {
      return await handler(job, signal)
    } catch (error) {
      const now = this.#options.now()
      // The worker ends: the next one begins with this job.
      if (signal.aborted) return { kind: "retry", at: now, status: delayed(job, "cut off by a restart") }
      this.#options.log.error("queue.attempt-failed", { job: job.id }, error)
      return fault(job, error, now)
    }
  }

  #clear(spoolId: string): void {
    const clearing = this.#emptied(spoolId).finally(() => this.#clearing.delete(clearing))
    this.#clearing.add(clearing)
  }

  async #emptied(spoolId: string): Promise<void> {
    try {
      await this.#options.onEmptied(spoolId)
    } catch (error) {
      this.#options.log.error("queue.message-not-removed", { id: spoolId }, error)
    }
  }

  async #administer(id: string, act: (job: QueuedJob, now: Date) => void): Promise<number> {
    const now = this.#options.now()
    const met = await this.#commits.run(() => {
      const jobs = this.#jobs.list(now, id)
      for (const job of jobs) act(job, now)
      return jobs.length
    })
    this.#wake()
    return met
  }

  async #renew(owner: string): Promise<void> {
    const untilMs = this.#options.now().getTime() + LEASE_MS
    await this.#commits.run(() => this.#jobs.renew(owner, untilMs))
  }

  #wake(): void {
    for (const waker of this.#wakers) waker()
  }

  /** Until something is added or settled here, a job is due (if there is a free hand), somebody else may have added, or the signal ends. */
  #idle(free: boolean, signal: AbortSignal): Promise<void> {
    const dueInMs = free ? this.#jobs.dueInMs(this.#options.now()) : null
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer)
        signal.removeEventListener("abort", done)
        this.#wakers.delete(done)
        resolve()
      }
      const timer = setTimeout(done, Math.max(1, Math.min(POLL_MS, dueInMs ?? POLL_MS)))
      signal.addEventListener("abort", done)
      this.#wakers.add(done)
    })
  }
}

/**
 * Opens data/queue.db in the folder `data`. If it is lost, the sweep finds every message again in the spool.
 * @throws GatewayError STATE_VERSION, STATE_CORRUPT
 */
export function openEmbeddedQueue(data: string, options: EmbeddedQueueOptions): EmbeddedQueue {
  makePrivateFolder(data)
  const path = join(data, "queue.db")
  const database = openDatabase(path, QUEUE_MIGRATIONS, options.commitsReachDisk)
  if (options.commitsReachDisk !== "later") return new EmbeddedQueue(database, null, options)
  // A power cut may have taken the note of their first attempt.
  new JobTable(database).suspectAttempts()
  const sync = new WalSync(path, (error) => options.log.error("queue.not-synced", {}, error))
  return new EmbeddedQueue(database, sync, options)
}

/** A fault of ours is no reason to bounce mail: when the time is over it waits for a person. */
function fault(job: Job, error: unknown, now: Date): Outcome {
  const code = error instanceof GatewayError ? error.code : "unexpected"
  const at = nextAttempt(job.attempt, job.queuedAt, now)
  if (at === null) return { kind: "hold", reason: `fault of the gateway: ${code}` }
  return { kind: "retry", at, status: delayed(job, `fault of the gateway: ${code}`) }
}

function delayed(job: Job, diagnostic: string): DeliveryStatus {
  return { recipient: job.recipient, action: "delayed", status: "4.3.0", diagnostic }
}

/** A signal that ends {@link DRAIN_MS} after `signal`. */
function drainable(signal: AbortSignal): Disposable & { readonly signal: AbortSignal } {
  const late = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const begin = () => {
    timer = setTimeout(() => late.abort(signal.reason), DRAIN_MS)
  }
  signal.addEventListener("abort", begin)
  return {
    signal: late.signal,
    [Symbol.dispose]: () => {
      clearTimeout(timer)
      signal.removeEventListener("abort", begin)
    },
  }
}

function every(periodMs: number, act: () => Promise<void>): Disposable {
  const timer = setInterval(() => void act(), periodMs).unref()
  return { [Symbol.dispose]: () => clearInterval(timer) }
}
