interface Waiting<Item, Result> {
  readonly item: Item
  readonly resolve: (result: Result) => void
  readonly reject: (error: unknown) => void
}

/** How much goes together. */
interface Measure<Item> {
  /** Statements on their way at once; what comes meanwhile goes in the next. */
  readonly statements: number
  /** The part of a statement that an item fills: 1 is all of it. */
  readonly share: (item: Item) => number
}

/** Does several things by one statement and one commit, when several are to be done: most of what a small one costs is that. */
export class Together<Item, Result> {
  readonly #act: (items: readonly Item[]) => Promise<Result>
  readonly #measure: Measure<Item>
  #waiting: Waiting<Item, Result>[] = []
  #running = 0

  /** `act` does all of its items or throws. */
  constructor(measure: Measure<Item>, act: (items: readonly Item[]) => Promise<Result>) {
    this.#measure = measure
    this.#act = act
  }

  /** Resolves with what the act that did this and others came to. */
  run(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      // Those of one turn of the event loop go together.
      if (this.#waiting.length === 0) setImmediate(() => this.#send())
      this.#waiting.push({ item, resolve, reject })
    })
  }

  #send(): void {
    while (this.#running < this.#measure.statements && this.#waiting.length > 0) {
      this.#running += 1
      void this.#do(this.#next()).finally(() => {
        this.#running -= 1
        this.#send()
      })
    }
  }

  /** At least one. */
  #next(): Waiting<Item, Result>[] {
    let filled = 0
    const tooMuch = this.#waiting.findIndex(({ item }, index) => {
      filled += this.#measure.share(item)
      return index > 0 && filled > 1
    })
    return this.#waiting.splice(0, tooMuch === -1 ? this.#waiting.length : tooMuch)
  }

  async #do(batch: readonly Waiting<Item, Result>[]): Promise<void> {
    try {
      const result = await this.#act(batch.map(({ item }) => item))
      for (const { resolve } of batch) resolve(result)
    } catch (error) {
      for (const { reject } of batch) reject(error)
    }
  }
}
