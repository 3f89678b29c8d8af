/** PURE. The newest few thousand things, each for a while; whoever has not been asked for longest makes room. */
export class Remembering<T> {
  readonly #limit: number
  readonly #forMs: number
  readonly #things = new Map<string, { readonly thing: T; readonly untilMs: number }>()

  constructor(limit: number, forMs: number) {
    this.#limit = limit
    this.#forMs = forMs
  }

  find(key: string, nowMs: number): T | null {
    const found = this.#things.get(key)
    if (found === undefined) return null
    this.#things.delete(key)
    // Also when the clock was put back by more than that.
    if (found.untilMs <= nowMs || found.untilMs > nowMs + this.#forMs) return null
    this.#things.set(key, found)
    return found.thing
  }

  keep(key: string, thing: T, nowMs: number): void {
    this.#things.delete(key)
    this.#things.set(key, { thing, untilMs: nowMs + this.#forMs })
    for (const oldest of this.#things.keys()) {
      if (this.#things.size <= this.#limit) return
      this.#things.delete(oldest)
    }
  }
}
