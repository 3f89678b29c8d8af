/** What was seen within the last `spanMs`; of more than `most` the ones seen longest ago are forgotten. */
export class SeenLately {
  readonly #now: () => Date
  readonly #spanMs: number
  readonly #most: number
  /** When each was seen last, the one longest ago first. */
  readonly #seenAtMs = new Map<string, number>()

  constructor(now: () => Date, spanMs: number, most: number) {
    this.#now = now
    this.#spanMs = spanMs
    this.#most = most
  }

  add(name: string): void {
    this.#seenAtMs.delete(name)
    this.#seenAtMs.set(name, this.#now().getTime())
    const [oldest] = this.#seenAtMs.keys()
    if (this.#seenAtMs.size > this.#most && oldest !== undefined) this.#seenAtMs.delete(oldest)
  }

  has(name: string): boolean {
    const seenAtMs = this.#seenAtMs.get(name)
    return seenAtMs !== undefined && this.#now().getTime() - seenAtMs < this.#spanMs
  }
}
