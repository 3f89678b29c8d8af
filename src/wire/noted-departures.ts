import type { Log } from "../log/log.ts"
import type { Departure, KeptDepartures } from "../store/departures.ts"

/** Hands on what was decided in batches: an end of the process without notice loses {@link FLUSH_MS} of it, and nobody's mail. */
export class NotedDepartures implements Disposable {
  readonly #kept: KeptDepartures
  readonly #now: () => Date
  readonly #log: Log
  readonly #timer: NodeJS.Timeout
  #noted: Departure[] = []

  constructor(kept: KeptDepartures, now: () => Date, log: Log) {
    this.#kept = kept
    this.#now = now
    this.#log = log
    this.#timer = setInterval(() => this.flush(), FLUSH_MS).unref()
  }

  note(departure: Departure): void {
    this.#noted.push(departure)
    if (this.#noted.length >= MAX_NOTED) this.flush()
  }

  flush(): void {
    if (this.#noted.length === 0) return
    const noted = this.#noted
    this.#noted = []
    try {
      this.#kept.add(noted, this.#now())
    } catch (error) {
      // A record for trying out policies is no reason to hold mail.
      this.#log.error("departures.not-kept", { lost: noted.length }, error)
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.flush()
  }
}

const FLUSH_MS = 10_000
const MAX_NOTED = 500
