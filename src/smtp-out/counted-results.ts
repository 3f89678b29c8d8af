import type { Log } from "../log/log.ts"
import type { TlsResults, TlsSession } from "./tls-result.ts"

/** Sessions of one day that ended alike. */
export interface CountedSession extends Omit<TlsSession, "policy"> {
  /** UTC, "2026-11-26". */
  readonly day: string
  /** JSON */
  readonly policy: string
  readonly sessions: number
}

/** Keeps what was counted; with a database that waits for the disk, once for many. */
export interface ResultKeeper {
  add(counted: readonly CountedSession[]): void
}

/** Counts sessions, and hands them on in batches: an end of the process without notice loses {@link FLUSH_MS} of statistics, nothing else. */
export class CountedResults implements TlsResults, Disposable {
  readonly #keeper: ResultKeeper
  readonly #now: () => Date
  readonly #log: Log
  readonly #timer: NodeJS.Timeout
  readonly #counts = new Map<string, CountedSession>()

  constructor(keeper: ResultKeeper, now: () => Date, log: Log) {
    this.#keeper = keeper
    this.#now = now
    this.#log = log
    this.#timer = setInterval(() => this.flush(), FLUSH_MS).unref()
  }

  count({ domain, policy, result, mx, address, reason }: TlsSession): void {
    const one = {
      day: this.#now().toISOString().slice(0, 10),
      domain: domain.toLowerCase(),
      policy: JSON.stringify(policy),
      result,
      mx,
      address,
      // PostgreSQL keeps no NUL in text.
      reason: reason.replaceAll("\0", "").slice(0, MAX_REASON_CHARACTERS),
    }
    const key = JSON.stringify(one)
    this.#counts.set(key, { ...one, sessions: (this.#counts.get(key)?.sessions ?? 0) + 1 })
    if (this.#counts.size >= MAX_COUNTS) this.flush()
  }

  flush(): void {
    if (this.#counts.size === 0) return
    const counted = [...this.#counts.values()]
    this.#counts.clear()
    try {
      this.#keeper.add(counted)
    } catch (error) {
      // Statistics are no reason to hold mail.
      this.#log.error("tls-report.not-counted", { lost: counted.length }, error)
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.flush()
  }
}

const FLUSH_MS = 10_000
/** Held in memory, 500 octets each. */
const MAX_COUNTS = 1_000
const MAX_REASON_CHARACTERS = 200
