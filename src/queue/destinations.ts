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

/** What becomes of a job that is due: it is tried, waits here until another one gives its place back, or is looked at again later. */
export type Admission =
  | { readonly kind: "place" }
  | { readonly kind: "waits" }
  | { readonly kind: "put off"; readonly until: Date }

interface Destination<J> {
  running: number
  /** How long the last attempt took, milliseconds; null: none has ended yet. */
  tookMs: number | null
  /** The last attempt came to nothing. */
  isAway: boolean
  /** When what was put off last is looked at again. */
  againAtMs: number
  readonly waiting: J[]
}

/** What is put off comes back after this at the earliest, and at the latest. Whose turn comes sooner waits for it. */
const SOONEST_MS = 1_000
const LATEST_MS = 60_000
/** So many wait for each place at most: what waits is this worker's alone. */
const WAITING_PER_PLACE = 8

/** Keeps a slow destination from taking all places of a worker. */
export class Destinations<J extends Bound> {
  readonly #limit: DestinationLimit
  readonly #busy = new Map<string, Destination<J>>()
  readonly #begun = new Map<string, number>()

  constructor(limit: DestinationLimit = { attempts: 1, of: () => null }) {
    this.#limit = limit
  }

  /**
   * Takes a place for the job; one that has a place keeps it. Who has to wait is put off one behind the other, at the pace at which places become free; or is held
   * here, where that is soon.
   */
  admit(job: J, now: Date): Admission {
    const name = this.#limit.of(job)
    if (name === null || this.#begun.has(job.id)) return { kind: "place" }
    const known = this.#busy.get(name) ?? { running: 0, tookMs: null, isAway: false, againAtMs: 0, waiting: [] }
    this.#busy.set(name, known)
    if (known.running < this.#limit.attempts) {
      known.running += 1
      this.#begun.set(job.id, now.getTime())
      return { kind: "place" }
    }
    if (this.#isSoon(known)) {
      known.waiting.push(job)
      return { kind: "waits" }
    }
    const paceMs = (known.tookMs ?? 0) / this.#limit.attempts
    known.againAtMs = Math.min(
      Math.max(now.getTime() + SOONEST_MS, known.againAtMs + paceMs),
      now.getTime() + LATEST_MS,
    )
    return { kind: "put off", until: new Date(known.againAtMs) }
  }

  /**
   * Gives the place back; of a job that has none nothing happens. @param hasCome false: the attempt is to be made again
   * @returns who waited for it and is to be admitted now: one, or all where the destination seems to be away, for it would be tried with all of them at once
   */
  release(job: J, now: Date, hasCome: boolean): J[] {
    const begunMs = this.#begun.get(job.id)
    const name = this.#limit.of(job)
    const known = name === null ? undefined : this.#busy.get(name)
    if (begunMs === undefined || name === null || known === undefined) return []
    this.#begun.delete(job.id)
    known.running -= 1
    known.tookMs = Math.max(0, now.getTime() - begunMs)
    known.isAway = !hasCome
    const next = known.waiting.splice(0, hasCome ? 1 : known.waiting.length)
    if (known.running === 0) this.#busy.delete(name)
    return next
  }

  /** Those who wait, from the first on. */
  waiting(): J[] {
    return [...this.#busy.values()].flatMap(({ waiting }) => waiting)
  }

  /** Nobody waits any more. @returns who did */
  dismiss(): J[] {
    return [...this.#busy.values()].flatMap(({ waiting }) => waiting.splice(0))
  }

  /** Of a destination that has answered nobody yet, or did not the last time, it is not known. */
  #isSoon({ tookMs, isAway, waiting }: Destination<J>): boolean {
    const { attempts } = this.#limit
    if (tookMs === null || isAway || waiting.length >= attempts * WAITING_PER_PLACE) return false
    return ((waiting.length + 1) / attempts) * tookMs <= SOONEST_MS
  }
}
