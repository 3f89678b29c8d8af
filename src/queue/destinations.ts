/** How many attempts one worker makes at one destination at once. */
export interface DestinationLimit {
  readonly attempts: number
  /** Where the attempt goes to, such as a domain; null: not limited. */
  readonly of: (job: Bound) => string | null
}

/** What is to be known of a job. */
interface Bound {
  readonly id: string
  readonly recipient: string
}

interface Destination {
  running: number
  /** How long the last attempt took, milliseconds. */
  tookMs: number
  /** When what was put off last is looked at again. */
  againAtMs: number
}

/** What is put off comes back after this at the earliest, and at the latest. */
const SOONEST_MS = 1_000
const LATEST_MS = 60_000

/** Keeps a slow destination from taking all places of a worker. */
export class Destinations {
  readonly #limit: DestinationLimit
  readonly #busy = new Map<string, Destination>()
  readonly #begun = new Map<string, number>()

  constructor(limit: DestinationLimit = { attempts: 1, of: () => null }) {
    this.#limit = limit
  }

  /**
   * Takes a place for the job; one that has a place keeps it.
   * @returns null when it has one, else when to look at it again: put off one behind the other, at the pace at which places become free
   */
  admit(job: Bound, now: Date): Date | null {
    const name = this.#limit.of(job)
    if (name === null || this.#begun.has(job.id)) return null
    const known = this.#busy.get(name) ?? { running: 0, tookMs: 0, againAtMs: 0 }
    if (known.running >= this.#limit.attempts) {
      const nextMs = Math.max(now.getTime() + SOONEST_MS, known.againAtMs + known.tookMs / this.#limit.attempts)
      known.againAtMs = Math.min(nextMs, now.getTime() + LATEST_MS)
      return new Date(known.againAtMs)
    }
    known.running += 1
    this.#busy.set(name, known)
    this.#begun.set(job.id, now.getTime())
    return null
  }

  /** Gives the place back; of a job that has none nothing happens. */
  release(job: Bound, now: Date): void {
    const begunMs = this.#begun.get(job.id)
    const name = this.#limit.of(job)
    if (begunMs === undefined || name === null) return
    this.#begun.delete(job.id)
    const known = this.#busy.get(name)
    if (known === undefined) return
    known.running -= 1
    known.tookMs = Math.max(0, now.getTime() - begunMs)
    if (known.running === 0) this.#busy.delete(name)
  }
}
