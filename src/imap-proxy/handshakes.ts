/**
 * Lets so many TLS handshakes run at once, the others in the order in which they came. When thousands of clients return after a
 * restart, the first are served while the last wait, and the sessions that are there already get their turns in between; without
 * this all would be slow together, time out together, and come again.
 */
export class Handshakes {
  readonly #atOnce: number
  readonly #turnMs: number
  readonly #waiting: (() => void)[] = []
  #running = 0

  /** A peer that is slow or silent keeps its turn for `turnMs`; its handshake goes on after that. */
  constructor(atOnce: number, turnMs: number) {
    this.#atOnce = atOnce
    this.#turnMs = turnMs
  }

  /** Those who wait for their turn. */
  get waiting(): number {
    return this.#waiting.length
  }

  /** Resolves when it is one's turn. @returns what ends the turn */
  async turn(): Promise<() => void> {
    if (this.#running < this.#atOnce) this.#running += 1
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    let over = false
    const end = (): void => {
      if (over) return
      over = true
      clearTimeout(timer)
      const next = this.#waiting.shift()
      if (next === undefined) this.#running -= 1
      else next()
    }
    const timer = setTimeout(end, this.#turnMs)
    return end
  }
}
