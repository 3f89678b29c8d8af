import RateLimiterMemory from "rate-limiter-flexible/lib/RateLimiterMemory.js"

/**
 * Counts by key, in memory, each key within a window of its own that begins with its first count. Of keys that are new within one window only
 * `maxKeys` are remembered, some 3 KB each with their timers (measured): who comes from everywhere must not fill the memory.
 */
export class WindowCounter {
  readonly #counts: RateLimiterMemory
  readonly #keys: RateLimiterMemory
  readonly #maxKeys: number

  constructor(windowMs: number, maxKeys: number) {
    const duration = windowMs / 1000
    this.#counts = new RateLimiterMemory({ points: 1, duration })
    this.#keys = new RateLimiterMemory({ points: maxKeys, duration })
    this.#maxKeys = maxKeys
  }

  async of(key: string): Promise<number> {
    return (await this.#counts.get(key))?.consumedPoints ?? 0
  }

  /** @returns the count with this one; null: the key is new, and one too many to be remembered */
  async add(key: string): Promise<number | null> {
    const isNew = (await this.#counts.get(key)) === null
    if (isNew && (await this.#keys.penalty("")).consumedPoints > this.#maxKeys) return null
    return (await this.#counts.penalty(key)).consumedPoints
  }
}
