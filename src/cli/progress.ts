import { duration } from "./amounts.ts"

/** Shorter work is over before anybody wonders. */
const FIRST_AFTER_MS = 1_000
/** On a terminal one line is written over and over; in a log each line stays. */
const TERMINAL_EVERY_MS = 200
const LOG_EVERY_MS = 10_000

/** Tells on stderr how far long work has come. */
export class Progress implements Disposable {
  readonly #what: string
  readonly #total: number
  #done = 0
  readonly #startedAtMs = performance.now()
  #nextAtMs = this.#startedAtMs + FIRST_AFTER_MS
  #shown = false

  /** `what` are the things counted to `total`. */
  constructor(what: string, total: number) {
    this.#what = what
    this.#total = total
  }

  /** One more is done. */
  step(): void {
    this.#done += 1
    const nowMs = performance.now()
    if (nowMs < this.#nextAtMs) return
    const { isTTY } = process.stderr
    this.#nextAtMs = nowMs + (isTTY ? TERMINAL_EVERY_MS : LOG_EVERY_MS)
    this.#shown = true
    const text = `postern: ${this.#done} of ${this.#total} ${this.#what}${this.#speed(nowMs)}`
    process.stderr.write(isTTY ? `\r\x1b[K${text}` : `${text}\n`)
  }

  #speed(nowMs: number): string {
    const perMs = this.#done / (nowMs - this.#startedAtMs)
    const left = Math.max(0, this.#total - this.#done)
    return `, ${(perMs * 1000).toPrecision(2)}/s, ${duration(left / perMs)} left`
  }

  /** A line of its own on stderr, between the signs of progress. */
  report(line: string): void {
    this[Symbol.dispose]()
    process.stderr.write(`postern: ${line}\n`)
  }

  [Symbol.dispose](): void {
    if (this.#shown && process.stderr.isTTY) process.stderr.write("\r\x1b[K")
    this.#shown = false
  }
}
