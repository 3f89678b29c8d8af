import type { CommitsReachDisk, Database } from "../store/database.ts"

export interface GroupCommitOptions {
  /** Called after each transaction. */
  readonly onCommit?: () => void
  readonly reachDisk?: CommitsReachDisk
  /** Between two transactions at least: what comes meanwhile shares the next one. */
  readonly spacingMs?: number
}

interface Waiting {
  readonly act: () => () => void
  readonly reject: (error: unknown) => void
}

/** Gathers the writes of one turn of the event loop into one transaction: a commit costs as much as the writes of two messages. */
export class GroupCommit {
  readonly #database: Database
  readonly #onCommit: () => void
  readonly #reachDisk: CommitsReachDisk | undefined
  readonly #spacingMs: number
  #waiting: Waiting[] = []
  #committedMs = 0

  constructor(database: Database, options: GroupCommitOptions = {}) {
    this.#database = database
    this.#onCommit = options.onCommit ?? (() => undefined)
    this.#reachDisk = options.reachDisk
    this.#spacingMs = options.spacingMs ?? 0
  }

  /** Runs `act`, synchronous and repeatable, in the next transaction; resolves with its value when that is committed. */
  run<T>(act: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length === 0) this.#begin()
      this.#waiting.push({
        act: () => {
          const value = act()
          return () => resolve(value)
        },
        reject,
      })
    })
  }

  /** Whoever comes long after the last commit waits for nobody. */
  #begin(): void {
    const restMs = Math.round(this.#committedMs + this.#spacingMs - performance.now())
    if (restMs > 0) setTimeout(() => this.#commit(), restMs)
    else setImmediate(() => this.#commit())
  }

  #commit(): void {
    const batch = this.#waiting
    this.#waiting = []
    try {
      const resolved = this.#database.transaction(() => batch.map(({ act }) => act()), this.#reachDisk)
      this.#committedMs = performance.now()
      this.#onCommit()
      for (const resolve of resolved) resolve()
    } catch (error) {
      // One bad write must not take the others with it.
      if (batch.length > 1) for (const one of batch) this.#commitAlone(one)
      else for (const { reject } of batch) reject(error)
    }
  }

  #commitAlone({ act, reject }: Waiting): void {
    try {
      const resolve = this.#database.transaction(act, this.#reachDisk)
      this.#onCommit()
      resolve()
    } catch (error) {
      reject(error)
    }
  }
}
