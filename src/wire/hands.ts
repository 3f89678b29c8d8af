import { once } from "node:events"
import { Worker } from "node:worker_threads"
import type { Config } from "../config/config.ts"
import { type ErrorCode, GatewayError } from "../errors.ts"
import type { HeldMail } from "../pipeline/mesh/store.ts"
import type { Result } from "../pipeline/ports.ts"
import type { Handler, Job, Outcome } from "../queue/queue.ts"
import type { Attempts, StoreHeld } from "./attempts.ts"

/** What a hand is given when it is made. */
export interface HandData {
  readonly config: Config
}

/** What a hand is to do. */
export type Task = { readonly kind: "attempt"; readonly job: Job } | { readonly kind: "store"; readonly mail: HeldMail }

/** What a hand is told. */
export type Order =
  | { readonly kind: "tasks"; readonly tasks: readonly Numbered[] }
  /** The attempts under way are to stop soon. */
  | { readonly kind: "abort" }
  /** Nothing more will come. */
  | { readonly kind: "end" }

interface Numbered {
  readonly number: number
  readonly task: Task
}

/** What a hand says. */
export type Said = { readonly kind: "ready" } | { readonly kind: "answers"; readonly answers: readonly Answer[] }

/** What came of a task: that of an attempt is an Outcome. */
export type Answer =
  | { readonly kind: "done"; readonly number: number; readonly result: Outcome | Result }
  | {
      readonly kind: "fault"
      readonly number: number
      readonly code: ErrorCode | null
      readonly message: string
      readonly stack: string
    }

/**
 * Threads that make attempts at delivery, so that opening, encrypting and storing do not wait for the protocols, nor they for it. A hand
 * shares with the rest what another process would: state, spool and mail on the disk.
 */
export class Hands implements Attempts, AsyncDisposable {
  readonly #hands: readonly Hand[]

  private constructor(hands: readonly Hand[]) {
    this.#hands = hands
  }

  /** Resolves when all are ready. */
  static async start(count: number, config: Config): Promise<Hands> {
    const hands = Array.from({ length: count }, () => new Hand({ config }))
    try {
      await Promise.all(hands.map((hand) => hand.ready))
    } catch (error) {
      await Promise.all(hands.map((hand) => hand.terminate()))
      throw error
    }
    return new Hands(hands)
  }

  /** Makes the attempt with the hand that has the least to do. */
  attempt: Handler = (job, signal) => this.#idlest().attempt(job, signal)

  /** {@link Attempts.storeHeld} with that one. */
  storeHeld: StoreHeld = (mail, signal) => this.#idlest().storeHeld(mail, signal)

  #idlest(): Hand {
    const [first, ...others] = this.#hands
    if (first === undefined) throw new GatewayError("USAGE", "hands: there are none")
    return others.reduce((least, hand) => (hand.busy < least.busy ? hand : least), first)
  }

  /** Ends them when their attempts are over. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#hands.map((hand) => hand.end()))
  }
}

interface Waiting {
  resolve(result: unknown): void
  reject(error: Error): void
}

class Hand implements Attempts {
  readonly ready: Promise<void>
  readonly #worker: Worker
  readonly #waiting = new Map<number, Waiting>()
  readonly #signals = new WeakSet<AbortSignal>()
  #ordered: Numbered[] = []
  #lastNumber = 0

  constructor(data: HandData) {
    this.#worker = new Worker(new URL(THREAD, import.meta.url), { workerData: data })
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.ready = promise
    // Once it runs, an error that a hand does not catch ends the process, as it would without threads.
    this.#worker.once("error", reject)
    this.#worker.on("message", (said: Said) => {
      if (said.kind === "answers") {
        for (const answer of said.answers) this.#take(answer)
        return
      }
      this.#worker.off("error", reject)
      resolve()
    })
  }

  get busy(): number {
    return this.#waiting.size
  }

  attempt: Handler = (job, signal) => this.#done<Outcome>({ kind: "attempt", job }, signal)

  /** A message is part of the request that it came in, and would take all of that with it to the other thread. */
  storeHeld: StoreHeld = (mail, signal) =>
    this.#done<Result>({ kind: "store", mail: { ...mail, message: new Uint8Array(mail.message) } }, signal)

  async end(): Promise<void> {
    const ended = once(this.#worker, "exit")
    this.#tell({ kind: "end" })
    await ended
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate()
  }

  /** What comes back is of the kind that the task has. */
  #done<T extends Outcome | Result>(task: Task, signal: AbortSignal): Promise<T> {
    if (!this.#signals.has(signal)) {
      this.#signals.add(signal)
      signal.addEventListener("abort", () => this.#tell({ kind: "abort" }), { once: true })
    }
    // What is ordered in one turn goes over as one message.
    if (this.#ordered.length === 0) queueMicrotask(() => this.#order())
    const number = (this.#lastNumber += 1)
    this.#ordered.push({ number, task })
    return new Promise((resolve, reject) =>
      this.#waiting.set(number, { resolve: (result) => resolve(result as T), reject }),
    )
  }

  #order(): void {
    const tasks = this.#ordered
    this.#ordered = []
    this.#tell({ kind: "tasks", tasks })
  }

  #tell(order: Order): void {
    this.#worker.postMessage(order)
  }

  #take(answer: Answer): void {
    const waiting = this.#waiting.get(answer.number)
    this.#waiting.delete(answer.number)
    if (answer.kind === "done") waiting?.resolve(answer.result)
    else waiting?.reject(errorOf(answer))
  }
}

function errorOf({ code, message, stack }: Answer & { kind: "fault" }): Error {
  const error = code === null ? new Error(message) : new GatewayError(code, message)
  error.stack = stack
  return error
}

/** JavaScript in a packed package. */
const THREAD = import.meta.url.endsWith(".ts") ? "hand.ts" : "hand.js"
