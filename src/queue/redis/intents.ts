import { PREFIX } from "./kept.ts"
import type { Bull } from "./server.ts"

/** What an administrator wants of a job that cannot be done at once: BullMQ lets go of a waiting job to nobody but a worker. */
export type Intent =
  /** `recorded`: the record says so already. */
  { readonly kind: "hold"; readonly reason: string; readonly recorded: boolean } | { readonly kind: "drop" }

/** Intents by job. There are few: each lives until a worker meets its job. */
export class Intents {
  readonly #bull: Bull

  constructor(bull: Bull) {
    this.#bull = bull
  }

  async set(id: string, intent: Intent): Promise<void> {
    await this.#bull.redis.hset(INTENTS, id, JSON.stringify(intent))
  }

  async any(): Promise<boolean> {
    return (await this.#bull.redis.hlen(INTENTS)) > 0
  }

  async get(id: string): Promise<Intent | null> {
    const text = await this.#bull.redis.hget(INTENTS, id)
    return text === null ? null : (JSON.parse(text) as Intent)
  }

  async clear(id: string): Promise<void> {
    await this.#bull.redis.hdel(INTENTS, id)
  }

  /** Jobs that are to be held and that BullMQ still counts as waiting or delayed. */
  async waitingHeld(): Promise<{ readonly ready: number; readonly delayed: number }> {
    const all = Object.entries(await this.#bull.redis.hgetall(INTENTS))
    const held = all.filter(([, text]) => (JSON.parse(text) as Intent).kind === "hold").map(([id]) => id)
    const states = await Promise.all(held.map((id) => this.#bull.queue.getJobState(id)))
    const count = (...words: readonly string[]) => states.filter((state) => words.includes(state)).length
    return { ready: count("waiting", "prioritized"), delayed: count("delayed") }
  }
}

/** A hash by job id. */
export const INTENTS = `${PREFIX}:intents`
