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
 * Sends at once what comes while nothing is under way. What comes then is gathered until all that is under way is answered, until it fills what goes together, or
 * for {@link GATHERING_MS} behind what was sent last: so one thing by itself waits for nothing, many share what each would cost alone, and a place that is slow
 * with one holds up no others.
 */
export class Together<T, R> {
  readonly #send: SendAll<T, R>
  readonly #fitting: (things: readonly T[]) => number
  #waiting: Waiting<T, R>[] = []
  #underWay = 0
  #gathering: NodeJS.Timeout | null = null
  /** Until then, of performance.now(), what is under way is waited for. */
  #gatheringUntil = 0

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
    this.#next()
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

  #next(): void {
    while (this.#mayGo()) {
      const batch = this.#waiting.splice(0, this.#fit())
      this.#underWay += 1
      this.#gatheringUntil = performance.now() + GATHERING_MS
      void this.#sent(batch).then(() => {
        this.#underWay -= 1
        this.#next()
      })
    }
    if (this.#gathering !== null) clearTimeout(this.#gathering)
    this.#gathering = null
    // Where as many as may be are under way, the next answer is waited for.
    if (this.#waiting.length > 0 && this.#underWay < AT_ONCE)
      this.#gathering = setTimeout(() => this.#next(), this.#gatheringUntil - performance.now())
  }

  #mayGo(): boolean {
    if (this.#waiting.length === 0 || this.#underWay >= AT_ONCE) return false
    return this.#underWay === 0 || performance.now() >= this.#gatheringUntil || this.#fit() < this.#waiting.length
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

/** About as long as an answer takes under load: nobody notices of mail, and it is a good part of what goes together at hundreds of messages a second. */
const GATHERING_MS = 20
const AT_ONCE = 4
