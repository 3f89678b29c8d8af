import { randomOctets } from "../crypto/primitives/random.ts"
import { GatewayError, hasCode } from "../errors.ts"
import type { Log } from "../log/log.ts"
import type { DeliveryStatus } from "../message/status.ts"
import { thisProcess } from "../store/process.ts"
import { nextAttempt } from "./backoff.ts"
import { type DestinationLimit, Destinations } from "./destinations.ts"
import type { Handler, Job, Outcome } from "./queue.ts"

/** What every driver needs to know of the rest. */
export interface QueueOptions {
  readonly now: () => Date
  /** Called once when the last job of a message is settled. What it throws is logged; the sweep calls again. */
  readonly onEmptied: (spoolId: string) => Promise<void>
  readonly log: Log
  /** Absent: a slow destination may take all places of a worker. */
  readonly destinations?: DestinationLimit
}

/** What became of settling: the message has jobs left, or was the last one settled, or the lease was somebody else's by now. */
export type Settlement = "more" | "emptied" | "lost"

/** Leases of jobs, as a driver gives them out; `owner` is one run of {@link WorkLoop.work}. */
export interface Leases {
  /** Up to `limit` jobs that are due, in the order of their ranks. */
  claim(owner: string, limit: number): Promise<readonly Job[]>
  settle(job: Job, owner: string, outcome: Outcome): Promise<Settlement>
  /** Gives a job back of which nothing was tried, until `at`. */
  putOff(job: Job, owner: string, at: Date): Promise<Settlement>
  /** `ids`: the jobs under way. What is not among them was given up, and its lease runs out. */
  renew(owner: string, ids: readonly string[]): Promise<void>
  /**
   * Makes jobs due of workers that are dead, and those of `owner` itself that it has given up: all but `ids`, once their lease has run out.
   * @returns how many, and spool ids whose last job was to be dropped
   */
  takeOver(
    owner: string,
    ids: readonly string[],
  ): Promise<{ readonly jobs: number; readonly emptied: readonly string[] }>
  /** `owner` claims no more: what it has leased and was not given is given back. */
  end(owner: string): Promise<void>
  /** Milliseconds until a job is due, as far as is known without asking anybody; null: not known, or none waits. */
  dueInMs(): number | null
}

/** A worker that is silent for this long is taken for dead, if nobody can see that it lives. */
export const LEASE_MS = 120_000
const RENEW_EVERY_MS = 30_000
/** Work added by other processes, and jobs of dead ones, are seen after this. */
const POLL_MS = 500
/** How long attempts under way may still run when the worker is to end; the whole process has 12 s. */
const DRAIN_MS = 8_000

/** Makes attempts at the jobs that a driver leases, and has it settle them. */
export class WorkLoop {
  readonly #leases: Leases
  readonly #options: QueueOptions
  readonly #wakers = new Set<() => void>()
  /** How often something may have become due: what is told while the driver is being asked may have come too late for its answer. */
  #wakes = 0
  /** Settled messages that are just leaving the spool. */
  readonly #clearing = new Set<Promise<void>>()

  constructor(leases: Leases, options: QueueOptions) {
    this.#leases = leases
    this.#options = options
  }

  /** See {@link Queue.work}. */
  async work(
    handler: Handler,
    { concurrency, signal }: { readonly concurrency: number; readonly signal: AbortSignal },
  ): Promise<void> {
    const owner = `${thisProcess()}/${Buffer.from(randomOctets(6)).toString("hex")}`
    const running = new Set<{ readonly job: Job; readonly ended: Promise<void> }>()
    const destinations = new Destinations<Job>(this.#options.destinations)
    const ids = () => [...[...running].map(({ job }) => job), ...destinations.waiting()].map(({ id }) => id)
    using attempts = drainable(signal)
    const begin = (job: Job): void => {
      const ended = this.#attempt(job, owner, handler, attempts.signal).then(async (outcome) => {
        const waited = destinations.release(job, this.#options.now(), {
          hasCome: outcome.kind !== "retry",
          isShared: outcome.kind === "done" && outcome.isShared === true,
        })
        const admitted = await this.#admit(waited, owner, destinations)
        // Whoever ends the worker waits for those who are running by then, and for nobody who begins later.
        if (signal.aborted) await this.#giveBack(admitted, owner)
        else for (const next of admitted) begin(next)
        running.delete(attempt)
        this.wake()
      })
      const attempt = { job, ended }
      running.add(attempt)
    }
    const renew = () => this.#quietly("queue.lease-not-renewed", () => this.#leases.renew(owner, ids()))
    const rescue = () => this.#quietly("queue.not-taken-over", () => this.#takeOver(owner, ids()))
    using _renewal = every(RENEW_EVERY_MS, renew)
    using _rescue = every(POLL_MS, rescue)
    await rescue()
    while (!signal.aborted) {
      const wakes = this.#wakes
      const free = concurrency - running.size
      const jobs = free > 0 ? await this.#claim(owner, free) : []
      const admitted = await this.#admit(jobs, owner, destinations)
      for (const job of admitted) begin(job)
      if (jobs.length === 0 && wakes === this.#wakes) await this.#idle(free > 0, signal)
    }
    const dismissed = this.#giveBack(destinations.dismiss(), owner)
    const ended = this.#quietly("queue.not-given-back", () => this.#leases.end(owner))
    await Promise.all([ended, dismissed, ...[...running].map((attempt) => attempt.ended)])
    await Promise.all(this.#clearing)
  }

  /** Something may have become due. */
  wake(): void {
    this.#wakes += 1
    for (const waker of this.#wakers) waker()
  }

  /** Lets the message go whose last job is settled. */
  async emptied(spoolId: string): Promise<void> {
    try {
      await this.#options.onEmptied(spoolId)
    } catch (error) {
      this.#options.log.error("queue.message-not-removed", { id: spoolId }, error)
    }
  }

  async #claim(owner: string, limit: number): Promise<readonly Job[]> {
    try {
      return await this.#leases.claim(owner, limit)
    } catch (error) {
      this.#options.log.error("queue.not-claimed", {}, error)
      // The disk may have room again later, or the server be back; until then the loop must not spin.
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
      return []
    }
  }

  /** Those of which the destination has a place; the others wait here for one that becomes free soon, or are put off. */
  async #admit(jobs: readonly Job[], owner: string, destinations: Destinations<Job>): Promise<readonly Job[]> {
    const now = this.#options.now()
    const judged = jobs.map((job) => ({ job, admission: destinations.admit(job, now) }))
    await Promise.all(
      judged.map(({ job, admission }) =>
        admission.kind === "put off"
          ? this.#settled(job, () => this.#leases.putOff(job, owner, admission.until))
          : null,
      ),
    )
    return judged.filter(({ admission }) => admission.kind === "place").map(({ job }) => job)
  }

  /** Nothing of them was tried: whoever comes next may begin with them. */
  async #giveBack(jobs: readonly Job[], owner: string): Promise<void> {
    const now = this.#options.now()
    await Promise.all(jobs.map((job) => this.#settled(job, () => this.#leases.putOff(job, owner, now))))
  }

  async #takeOver(owner: string, ids: readonly string[]): Promise<void> {
    const { jobs, emptied } = await this.#leases.takeOver(owner, ids)
    if (jobs > 0) this.#options.log.warn("queue.taken-over", { jobs })
    if (jobs > 0) this.wake()
    for (const spoolId of emptied) await this.emptied(spoolId)
  }

  /** For what is done again soon anyway. */
  async #quietly(event: string, act: () => Promise<void>): Promise<void> {
    try {
      await act()
    } catch (error) {
      this.#options.log.error(event, {}, error)
    }
  }

  async #attempt(job: Job, owner: string, handler: Handler, signal: AbortSignal): Promise<Outcome> {
    const outcome = await this.#outcome(job, handler, signal)
    await this.#settled(job, () => this.#settle(job, owner, outcome, signal))
    return outcome
  }

  async #settled(job: Job, act: () => Promise<Settlement>): Promise<void> {
    try {
      const settlement = await act()
      if (settlement === "lost") this.#options.log.warn("queue.lease-lost", { job: job.id })
      // Not waited for: a file system takes its time to remove a file, and the next attempt need not.
      if (settlement === "emptied") this.#clear(job.spoolId)
    } catch (error) {
      // The lease runs out and the job is tried again.
      this.#options.log.error("queue.not-settled", { job: job.id }, error)
    }
  }

  /** What keeps the jobs, or the record, may be away: what came of the attempt is written down when it is back, unless the lease was lost. */
  async #settle(job: Job, owner: string, outcome: Outcome, signal: AbortSignal): Promise<Settlement> {
    for (;;) {
      try {
        return await this.#leases.settle(job, owner, outcome)
      } catch (error) {
        const isAway = hasCode(error, "QUEUE_AWAY") || hasCode(error, "STATE_AWAY")
        if (!isAway || signal.aborted) throw error
        await new Promise((resolve) => setTimeout(resolve, POLL_MS))
      }
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
    const clearing = this.emptied(spoolId).finally(() => this.#clearing.delete(clearing))
    this.#clearing.add(clearing)
  }

  /** Until something is added or settled here, a job is due (if there is a free hand), somebody else may have added, or the signal ends. */
  #idle(free: boolean, signal: AbortSignal): Promise<void> {
    const dueInMs = free ? this.#leases.dueInMs() : null
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
