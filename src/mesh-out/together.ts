/** Sends things of the same kind to one place, all of them in one go: one result to each, in their order. What it throws is thrown to all. */
export type SendAll<T, R> = (things: readonly T[], signal: AbortSignal) => Promise<readonly R[]>

interface Waiting<T, R> {
  readonly thing: T
  readonly signal: AbortSignal
  readonly resolve: (result: R) => void
  readonly reject: (error: unknown) => void
  /** Nobody waits for its result any more. */
  isLeft: boolean
}

/**
 * Sends at once what comes while nothing is under way. What comes then is gathered until that is answered, until it fills what goes together, or for
 * {@link GATHERING_MS}: so one thing by itself waits for nothing, and a place that is slow with one holds up no others.
 */
export class Together<T, R> {
  readonly #send: SendAll<T, R>
  readonly #fitting: (things: readonly T[]) => number
  #waiting: Waiting<T, R>[] = []
  #underWay = 0
  #gathering: NodeJS.Timeout | null = null

  /** `fitting`: how many of the first go in one go; one at least. */
  constructor(send: SendAll<T, R>, fitting: (things: readonly T[]) => number) {
    this.#send = send
    this.#fitting = fitting
  }

  get isIdle(): boolean {
    return this.#underWay === 0
  }

  /** @throws what sending throws; the signal's reason when it aborts, also while the others go on */
  async send(thing: T, signal: AbortSignal): Promise<R> {
    signal.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<R>()
    const one: Waiting<T, R> = { thing, signal, resolve, reject, isLeft: false }
    this.#waiting.push(one)
    const leave = () => this.#leave(one)
    signal.addEventListener("abort", leave)
    this.#next(false)
    try {
      return await promise
    } finally {
      signal.removeEventListener("abort", leave)
    }
  }

  #leave(one: Waiting<T, R>): void {
    one.isLeft = true
    one.reject(one.signal.reason)
    this.#waiting = this.#waiting.filter((other) => other !== one)
  }

  /** `isDue`: it was waited for long enough. */
  #next(isDue: boolean): void {
    for (let due = isDue; this.#mayGo(due); due = false) {
      const batch = this.#waiting.splice(0, this.#fit())
      this.#underWay += 1
      void this.#sent(batch).then(() => {
        this.#underWay -= 1
        this.#next(true)
      })
    }
    if (this.#waiting.length > 0) this.#gathering ??= setTimeout(() => this.#gathered(), GATHERING_MS)
    else this.#stopGathering()
  }

  #gathered(): void {
    this.#stopGathering()
    this.#next(true)
  }

  #stopGathering(): void {
    if (this.#gathering !== null) clearTimeout(this.#gathering)
    this.#gathering = null
  }

  #mayGo(isDue: boolean): boolean {
    if (this.#waiting.length === 0 || this.#underWay >= AT_ONCE) return false
    return this.#underWay === 0 || isDue || this.#fit() < this.#waiting.length
  }

  #fit(): number {
    return this.#fitting(this.#waiting.map(({ thing }) => thing))
  }

  async #sent(batch: readonly Waiting<T, R>[]): Promise<void> {
    const ending = new AbortController()
    const look = () => {
      if (batch.every(({ isLeft }) => isLeft)) ending.abort()
    }
    for (const { signal } of batch) signal.addEventListener("abort", look)
    try {
      const results = await this.#send(
        batch.map(({ thing }) => thing),
        ending.signal,
      )
      batch.forEach(({ resolve, reject }, index) => {
        const result = results[index]
        if (result === undefined) reject(new RangeError("together: a result is missing"))
        else resolve(result)
      })
    } catch (error) {
      for (const { reject } of batch) reject(error)
    } finally {
      for (const { signal } of batch) signal.removeEventListener("abort", look)
    }
  }
}

/** Longer than an answer takes as a rule. */
const GATHERING_MS = 100
const AT_ONCE = 4
