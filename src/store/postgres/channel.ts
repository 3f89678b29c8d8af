import type { Row, SqlValue } from "../database.ts"
import type { PostgresStore } from "./connection.ts"

/**
 * How long whoever asks stands still for an answer. The server ends a statement before that (STATEMENT_MS), so no answer means that server,
 * network or thread hang: the connection is given up.
 */
export const ANSWER_MS = 3_000
/**
 * How long the change sequence may be taken for current after it was confirmed. Together with the wait for one answer, and clocks that differ
 * by twice MAX_SKEW_MS, it stays below the 15 s after which nobody waits for this process any more (SILENT_MS less BEAT_MS of
 * ../presence.ts): whoever lost the server has stopped to trust what it knows when a revocation is confirmed without it.
 */
export const TRUST_MS = 5_000
/** How often the change sequence is looked at, also when nothing tells of a change. */
export const LOOK_MS = 1_000
/** A clock that differs more from the server's makes nonsense of who was silent for how long. */
export const MAX_SKEW_MS = 2_000

/** What the thread is made with. */
export interface ThreadData {
  readonly store: PostgresStore
  readonly cells: SharedArrayBuffer
}

/** What the thread is told. */
export type Order =
  | {
      readonly kind: "query"
      readonly id: number
      /** Of which connection: on no other may it be made. */
      readonly connection: number
      readonly statement: Statement
      readonly values: readonly SqlValue[]
    }
  /** Of no more use: an answer did not come. */
  | { readonly kind: "giveUp"; readonly connection: number }
  | { readonly kind: "end"; readonly id: number }

/** A statement with `$1` and so on. */
export interface Statement {
  readonly text: string
  /** Of the prepared statement; null: it is not prepared. */
  readonly name: string | null
  /** What it does to the transaction. */
  readonly boundary: "begin" | "commit" | "rollback" | null
}

/** What the thread says. */
export type Answer =
  | {
      readonly kind: "rows"
      readonly id: number
      readonly rows: Row[]
      readonly changes: number
      /** The server's word for what was done: "COMMIT" becomes "ROLLBACK" when something failed before. */
      readonly command: string
    }
  | {
      readonly kind: "failed"
      readonly id: number
      readonly failure: Failure
      /** False: the server never saw it. */
      readonly sent: boolean
    }
  /** Why there is no connection: the last word counts. */
  | { readonly kind: "lost"; readonly failure: Failure }

/** An error that crosses threads. */
export interface Failure {
  readonly code: "STATE_AWAY" | "STATE_REFUSED" | "STATE_VERSION" | "STATE_CORRUPT" | "CONFIG_INVALID"
  readonly message: string
  /** The server's own words. */
  readonly cause: string
}

const ANSWERS = 0
const CONNECTION = 1
const SEQUENCE = 0
const CONFIRMED_AT = 1

/** What both threads see at any time. */
export class Cells {
  readonly buffer: SharedArrayBuffer
  readonly #small: Int32Array
  readonly #large: BigInt64Array

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(32)) {
    this.buffer = buffer
    this.#small = new Int32Array(buffer, 0, 2)
    this.#large = new BigInt64Array(buffer, 16, 2)
  }

  /** Number of the present connection; 0: there is none. */
  get connection(): number {
    return Atomics.load(this.#small, CONNECTION)
  }

  set connection(number: number) {
    Atomics.store(this.#small, CONNECTION, number)
  }

  /** The change sequence; null when it was not confirmed within TRUST_MS. */
  get sequence(): number | null {
    const confirmedAt = Atomics.load(this.#large, CONFIRMED_AT)
    const sequence = Number(Atomics.load(this.#large, SEQUENCE))
    return confirmedAt !== 0n && process.hrtime.bigint() - confirmedAt < BigInt(TRUST_MS) * 1_000_000n ? sequence : null
  }

  /** @param askedAt `process.hrtime.bigint()`, the same clock in all threads, before the server was asked */
  confirm(sequence: number, askedAt: bigint): void {
    Atomics.store(this.#large, SEQUENCE, BigInt(sequence))
    Atomics.store(this.#large, CONFIRMED_AT, askedAt)
  }

  /** The sequence has moved, and nobody knows how far. */
  doubt(): void {
    Atomics.store(this.#large, CONFIRMED_AT, 0n)
  }

  /** Wakes who waits in {@link waitForAnswer}. */
  answered(): void {
    Atomics.add(this.#small, ANSWERS, 1)
    Atomics.notify(this.#small, ANSWERS)
  }

  /** How often {@link answered} was called. */
  get answers(): number {
    return Atomics.load(this.#small, ANSWERS)
  }

  /** Stands still until there are more than `answers`. @returns false when `ms` passed first */
  waitForAnswer(answers: number, ms: number): boolean {
    return Atomics.wait(this.#small, ANSWERS, answers, ms) !== "timed-out"
  }
}
