import type { QueuedJob } from "../queue.ts"
import { Intents } from "./intents.ts"
import { type Held, jobIn, lockKey, messageKey } from "./kept.ts"
import type { Bull } from "./server.ts"

/** Jobs as an administrator sees them. */
export class Views {
  readonly #bull: Bull
  readonly #now: () => Date

  constructor(bull: Bull, now: () => Date) {
    this.#bull = bull
    this.#now = now
  }

  /** `id`: a job's, or a message's for all its jobs. */
  async idsOf(id: string): Promise<readonly string[]> {
    return id.includes("-") ? [id] : this.#bull.redis.smembers(messageKey(id))
  }

  /** In the order in which they were added; those that are gone are left out. */
  async queued(ids: readonly string[]): Promise<QueuedJob[]> {
    const found = await Promise.all(ids.map((id) => this.view(id)))
    return found
      .filter((one) => one !== null)
      .toSorted((a, b) => a.kept.data.place - b.kept.data.place)
      .map(({ job }) => job)
  }

  /** null: it is gone. */
  async view(id: string): Promise<{ readonly job: QueuedJob; readonly kept: Held } | null> {
    const kept = (await this.#bull.queue.getJob(id)) as Held | undefined
    if (kept === undefined) return null
    const [state, intent] = await Promise.all([kept.getState(), new Intents(this.#bull).get(id)])
    const { dueAt, lastStatus, holdReason } = kept.data
    const held = intent?.kind === "hold" ? intent.reason : holdReason
    const { redis, queue } = this.#bull
    const worker = state === "active" ? await redis.get(lockKey(queue, id)) : null
    const isHeld = state === "failed" || (state !== "active" && held !== null)
    const due = new Date(dueAt)
    const job = jobIn(kept)
    return {
      kept,
      job: {
        ...job,
        attempt: job.attempt + kept.attemptsStarted,
        state: state === "active" ? "active" : isHeld ? "held" : due > this.#now() ? "delayed" : "ready",
        worker,
        dueAt: state === "active" || isHeld ? null : due,
        lastStatus,
        holdReason: held,
      },
    }
  }
}
