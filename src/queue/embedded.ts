import type { DeliveryStatus } from "../message/status.ts"
import type { CommitsReachDisk } from "../store/database.ts"
import { pagedPairs } from "./audit-log.ts"
import { JobTable } from "./job-table.ts"
import {
  type AuditRow,
  type Counts,
  type Handler,
  type Job,
  type QueuedJob,
  type RecordedPair,
  spoolIdOf,
  type WorkQueue,
} from "./queue.ts"
import { QueueFile } from "./queue-file.ts"
import { LEASE_MS, type Leases, type QueueOptions, WorkLoop } from "./work-loop.ts"

/** What the queue needs to know of the rest. */
export interface EmbeddedQueueOptions extends QueueOptions {
  /**
   * `at once` (the default) for acts of people. `later`, half a second at most, for a server: a power cut may then take back the last
   * notes. The sweep finds messages without a job, and what had a job before the start is tried as a repeat.
   */
  readonly commitsReachDisk?: CommitsReachDisk
}

const PAGE = 1_000

/** The queue in SQLite; any number of processes may share it. */
export class EmbeddedQueue implements WorkQueue {
  readonly #file: QueueFile
  readonly #jobs: JobTable
  readonly #options: QueueOptions
  readonly #loop: WorkLoop

  /** Use {@link openEmbeddedQueue}. */
  constructor(file: QueueFile, jobs: JobTable, options: QueueOptions) {
    this.#file = file
    this.#jobs = jobs
    this.#options = options
    this.#loop = new WorkLoop(this.#leases(), options)
  }

  readonly isThere = true

  /** It never leaves. */
  onReturn(): void {}

  async add(...jobs: readonly Job[]): Promise<void> {
    const now = this.#options.now()
    await this.#file.commits.run(() => {
      for (const job of jobs) this.#jobs.add(job, jobs.length, now)
    })
    this.#loop.wake()
  }

  passed({ spoolId, recipient }: Job, status: DeliveryStatus): Promise<void> {
    const at = this.#options.now()
    const { record } = this.#jobs
    return this.#file.commits.run(() => {
      if (record.settled(spoolId).has(recipient)) return
      record.write({ spoolId, recipient, outcome: "queued", status: null, at })
      record.write({ spoolId, recipient, outcome: "done", status, at })
    })
  }

  work(handler: Handler, options: { readonly concurrency: number; readonly signal: AbortSignal }): Promise<void> {
    return this.#loop.work(handler, options)
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
    return { jobs, audit: this.#jobs.record.of(id.includes("-") ? spoolIdOf(id) : id) }
  }

  async failures(limit: number): Promise<AuditRow[]> {
    return this.#jobs.record.failures(limit)
  }

  hold(id: string, reason: string): Promise<number> {
    return this.#administer(id, (job, now) => this.#jobs.hold(job, reason, now))
  }

  release(id: string, anyway = false): Promise<number> {
    return this.#administer(id, (job, now) => this.#jobs.release(job, anyway, now))
  }

  retry(id: string): Promise<number> {
    return this.#administer(id, (job, now) => this.#jobs.retry(job, now))
  }

  async drop(id: string): Promise<number> {
    const emptied = new Set<string>()
    const met = await this.#administer(id, (job, now) => {
      if (this.#jobs.drop(job, now) === "emptied") emptied.add(job.spoolId)
    })
    for (const spoolId of emptied) await this.#loop.emptied(spoolId)
    return met
  }

  async settled(spoolId: string): Promise<ReadonlySet<string>> {
    return this.#jobs.record.settled(spoolId)
  }

  prune(before: Date): Promise<number> {
    return this.#file.commits.run(() => this.#jobs.prune(before))
  }

  async *pairs(since: Date): AsyncIterable<RecordedPair> {
    yield* pagedPairs(this.#jobs.record, since)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file[Symbol.asyncDispose]()
  }

  #leases(): Leases {
    const [jobs, { commits }, { now }] = [this.#jobs, this.#file, this.#options]
    return {
      claim: async (owner, limit) => {
        const dueInMs = jobs.dueInMs(now())
        if (dueInMs === null || dueInMs > 0) return []
        return commits.run(() => jobs.claim(owner, now(), now().getTime() + LEASE_MS, limit))
      },
      settle: (job, owner, outcome) => commits.run(() => jobs.settle(job, owner, outcome, now())),
      putOff: (job, owner, at) => commits.run(() => jobs.putOff(job, owner, at, now())),
      renew: (owner, ids) => commits.run(() => jobs.renew(owner, ids, now().getTime() + LEASE_MS)),
      takeOver: async (owner, ids) => {
        jobs.mendDueTimes(now())
        const orphans = jobs.orphans(owner, ids, now())
        const emptied = orphans.length > 0 ? await commits.run(() => jobs.takeOver(orphans, now())) : []
        return { jobs: orphans.length, emptied }
      },
      end: async () => undefined,
      dueInMs: () => jobs.dueInMs(now()),
    }
  }

  async #administer(id: string, act: (job: QueuedJob, now: Date) => void): Promise<number> {
    const now = this.#options.now()
    const met = await this.#file.commits.run(() => {
      const jobs = this.#jobs.list(now, id)
      for (const job of jobs) act(job, now)
      return jobs.length
    })
    this.#loop.wake()
    return met
  }
}

/**
 * Opens data/queue.db in the folder `data`. If it is lost, the sweep finds every message again in the spool.
 * @throws GatewayError STATE_VERSION, STATE_CORRUPT
 */
export function openEmbeddedQueue(data: string, options: EmbeddedQueueOptions): EmbeddedQueue {
  const { commitsReachDisk = "at once", log } = options
  const file = QueueFile.open(data, commitsReachDisk, log)
  const jobs = new JobTable(file.database)
  // A power cut may have taken the note of their first attempt.
  if (commitsReachDisk === "later") jobs.suspectAttempts()
  return new EmbeddedQueue(file, jobs, options)
}
