import { EventEmitter, once } from "node:events"
import type { Counts, Handler, Job, Queue } from "../../src/queue/queue.ts"

/** The queue's promises but durability, for tests of what works with a queue. */
export class MemoryQueue implements Queue {
  readonly #jobs = new Map<string, { job: Job; state: "waiting" | "active" | "held"; dueAt: number }>()
  readonly #settled = new Set<string>()
  readonly #changes = new EventEmitter()
  readonly #now: () => Date
  readonly #onEmptied: (spoolId: string) => Promise<void>
  #failed = 0

  constructor(now: () => Date, onEmptied: (spoolId: string) => Promise<void>) {
    this.#now = now
    this.#onEmptied = onEmptied
  }

  async add(...jobs: readonly Job[]): Promise<void> {
    for (const job of jobs)
      if (!this.#jobs.has(job.id) && !this.#settled.has(job.id))
        this.#jobs.set(job.id, { job, state: "waiting", dueAt: 0 })
    this.#changes.emit("change")
  }

  async work(
    handler: Handler,
    { concurrency, signal }: { readonly concurrency: number; readonly signal: AbortSignal },
  ): Promise<void> {
    const running = new Set<Promise<void>>()
    while (!signal.aborted) {
      const next = this.#next()
      if (next !== undefined && running.size < concurrency) {
        const attempt = this.#attempt(next, handler, signal).finally(() => {
          running.delete(attempt)
          this.#changes.emit("change")
        })
        running.add(attempt)
      } else await this.#idle(signal)
    }
    await Promise.all(running)
  }

  async *ids(): AsyncIterable<string> {
    yield* [...this.#jobs.keys()]
  }

  async counts(): Promise<Counts> {
    const states = [...this.#jobs.values()]
    const count = (wanted: string) => states.filter((one) => one.state === wanted).length
    const delayed = states.filter((one) => one.state === "waiting" && one.dueAt > this.#now().getTime()).length
    return {
      ready: count("waiting") - delayed,
      delayed,
      active: count("active"),
      held: count("held"),
      failed: this.#failed,
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#jobs.clear()
  }

  #next() {
    return [...this.#jobs.values()].find((one) => one.state === "waiting" && one.dueAt <= this.#now().getTime())
  }

  #attempt(entry: { job: Job; state: string; dueAt: number }, handler: Handler, signal: AbortSignal): Promise<void> {
    const { job } = entry
    this.#jobs.set(job.id, { job: { ...job, attempt: job.attempt + 1 }, state: "active", dueAt: 0 })
    return this.#settle(job, handler, signal)
  }

  async #settle(job: Job, handler: Handler, signal: AbortSignal): Promise<void> {
    const later = { job: { ...job, attempt: job.attempt + 1 } }
    const outcome = await handler(job, signal).catch(
      () => ({ kind: "retry", at: new Date(this.#now().getTime() + 120_000) }) as const,
    )
    if (outcome.kind === "retry") this.#jobs.set(job.id, { ...later, state: "waiting", dueAt: outcome.at.getTime() })
    else if (outcome.kind === "hold") this.#jobs.set(job.id, { ...later, state: "held", dueAt: 0 })
    else {
      this.#jobs.delete(job.id)
      this.#settled.add(job.id)
      if (outcome.kind === "failed") this.#failed += 1
      if (![...this.#jobs.values()].some((one) => one.job.spoolId === job.spoolId)) await this.#onEmptied(job.spoolId)
    }
  }

  async #idle(signal: AbortSignal): Promise<void> {
    // A new signal for each wait, so that none of them stays behind as a listener.
    const ended = AbortSignal.any([signal, AbortSignal.timeout(20)])
    await once(this.#changes, "change", { signal: ended }).catch(() => "time to look again")
  }
}
