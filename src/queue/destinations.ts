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

/** What came of an attempt. */
export interface Attempted {
  /** false: it is to be made again. */
  readonly hasCome: boolean
  /** It went with others in one go. */
  readonly isShared: boolean
}

interface Destination<J> {
  running: number
  /** How long the last attempt took, milliseconds; null: none has ended yet. */
  tookMs: number | null
  /** The last attempt came to nothing. */
  isAway: boolean
  /** What goes there goes several together. */
  isShared: boolean
  /** When what was put off last is looked at again. */
  againAtMs: number
  readonly waiting: J[]
}

/** What is put off comes back after this at the earliest, and at the latest. Whose turn comes sooner waits for it. */
const SOONEST_MS = 1_000
const LATEST_MS = 60_000
/** So many wait for each place at most: what waits is this worker's alone. */
const WAITING_PER_PLACE = 32
/** What goes several together takes less of the destination, and of us: so many times as many attempts, where they are short. */
const SHARED_TIMES = 2

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
    const known = this.#busy.get(name) ?? {
      running: 0,
      tookMs: null,
      isAway: false,
      isShared: false,
      againAtMs: 0,
      waiting: [],
    }
    this.#busy.set(name, known)
    if (known.running < this.#places(known)) {
      known.running += 1
      this.#begun.set(job.id, now.getTime())
      return { kind: "place" }
    }
    if (this.#isSoon(known)) {
      known.waiting.push(job)
      return { kind: "waits" }
    }
    const paceMs = (known.tookMs ?? 0) / this.#places(known)
    known.againAtMs = Math.min(
      Math.max(now.getTime() + SOONEST_MS, known.againAtMs + paceMs),
      now.getTime() + LATEST_MS,
    )
    return { kind: "put off", until: new Date(known.againAtMs) }
  }

  /**
   * Gives the place back; of a job that has none nothing happens.
   * @returns who waited for it and is to be admitted now: as many as there are places, or all where the destination seems to be away, for it would be tried with all of them at once
   */
  release(job: J, now: Date, { hasCome, isShared }: Attempted): J[] {
    const begunMs = this.#begun.get(job.id)
    const name = this.#limit.of(job)
    const known = name === null ? undefined : this.#busy.get(name)
    if (begunMs === undefined || name === null || known === undefined) return []
    this.#begun.delete(job.id)
    known.running -= 1
    known.tookMs = Math.max(0, now.getTime() - begunMs)
    known.isAway = !hasCome
    if (hasCome) known.isShared = isShared
    const next = known.waiting.splice(
      0,
      hasCome ? Math.max(0, this.#places(known) - known.running) : known.waiting.length,
    )
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
  #isSoon(destination: Destination<J>): boolean {
    const { tookMs, isAway, waiting } = destination
    const places = this.#places(destination)
    if (tookMs === null || isAway || waiting.length >= places * WAITING_PER_PLACE) return false
    return ((waiting.length + 1) / places) * tookMs <= SOONEST_MS
  }

  #places({ tookMs, isAway, isShared }: Destination<J>): number {
    const isShort = tookMs !== null && tookMs <= SOONEST_MS && !isAway
    return isShared && isShort ? this.#limit.attempts * SHARED_TIMES : this.#limit.attempts
  }
}
