import type { CommitsReachDisk, Database } from "../store/database.ts"

interface Waiting {
  readonly act: () => () => void
  readonly reject: (error: unknown) => void
}

/**
 * Gathers the writes of one turn of the event loop into one transaction, and under load those of {@link SPACING_MS}: a commit costs as much as the writes of two
 * messages.
 */
export class GroupCommit {
  readonly #database: Database
  readonly #onCommit: () => void
  readonly #reachDisk: CommitsReachDisk | undefined
  #waiting: Waiting[] = []
  #committedMs = 0

  /** `onCommit` is called after each transaction. */
  constructor(
    database: Database,
    {
      onCommit = () => undefined,
      reachDisk,
    }: { readonly onCommit?: () => void; readonly reachDisk?: CommitsReachDisk } = {},
  ) {
    this.#database = database
    this.#onCommit = onCommit
    this.#reachDisk = reachDisk
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
    const restMs = Math.round(this.#committedMs + SPACING_MS - performance.now())
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

/** Between two commits: nobody notices, and at hundreds of messages a second each does the work of several. */
const SPACING_MS = 5
