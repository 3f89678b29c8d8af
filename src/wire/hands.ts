import { once } from "node:events"
import { Worker } from "node:worker_threads"
import type { Config } from "../config/config.ts"
import { type ErrorCode, GatewayError } from "../errors.ts"
import type { Handler, Job, Outcome } from "../queue/queue.ts"

/** What a hand is given when it is made. */
export interface HandData {
  readonly config: Config
}

/** What a hand is told. */
export type Order =
  | { readonly kind: "attempt"; readonly jobs: readonly Job[] }
  /** The attempts under way are to stop soon. */
  | { readonly kind: "abort" }
  /** Nothing more will come. */
  | { readonly kind: "end" }

/** What a hand answers. */
export type Answer =
  | { readonly kind: "ready" }
  | { readonly kind: "outcome"; readonly id: string; readonly outcome: Outcome }
  | {
      readonly kind: "fault"
      readonly id: string
      readonly code: ErrorCode | null
      readonly message: string
      readonly stack: string
    }

/**
 * Threads that make attempts at delivery, so that opening, encrypting and storing do not wait for the protocols, nor they for it. A hand
 * shares with the rest what another process would: state, spool and mail on the disk.
 */
export class Hands implements AsyncDisposable {
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
  attempt: Handler = (job, signal) => {
    const [first, ...others] = this.#hands
    if (first === undefined) throw new GatewayError("USAGE", "hands: there are none")
    return others.reduce((least, hand) => (hand.busy < least.busy ? hand : least), first).attempt(job, signal)
  }

  /** Ends them when their attempts are over. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#hands.map((hand) => hand.end()))
  }
}

interface Waiting {
  resolve(outcome: Outcome): void
  reject(error: Error): void
}

class Hand {
  readonly ready: Promise<void>
  readonly #worker: Worker
  readonly #waiting = new Map<string, Waiting>()
  readonly #signals = new WeakSet<AbortSignal>()
  #ordered: Job[] = []

  constructor(data: HandData) {
    this.#worker = new Worker(new URL(THREAD, import.meta.url), { workerData: data })
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.ready = promise
    // Once it runs, an error that a hand does not catch ends the process, as it would without threads.
    this.#worker.once("error", reject)
    this.#worker.on("message", (answer: Answer) => {
      if (answer.kind !== "ready") return this.#take(answer)
      this.#worker.off("error", reject)
      resolve()
    })
  }

  get busy(): number {
    return this.#waiting.size
  }

  attempt(job: Job, signal: AbortSignal): Promise<Outcome> {
    if (!this.#signals.has(signal)) {
      this.#signals.add(signal)
      signal.addEventListener("abort", () => this.#tell({ kind: "abort" }), { once: true })
    }
    // What is ordered in one turn goes over as one message.
    if (this.#ordered.length === 0) queueMicrotask(() => this.#order())
    this.#ordered.push(job)
    return new Promise((resolve, reject) => this.#waiting.set(job.id, { resolve, reject }))
  }

  async end(): Promise<void> {
    const ended = once(this.#worker, "exit")
    this.#tell({ kind: "end" })
    await ended
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate()
  }

  #order(): void {
    const jobs = this.#ordered
    this.#ordered = []
    this.#tell({ kind: "attempt", jobs })
  }

  #tell(order: Order): void {
    this.#worker.postMessage(order)
  }

  #take(answer: Answer & { kind: "outcome" | "fault" }): void {
    const waiting = this.#waiting.get(answer.id)
    this.#waiting.delete(answer.id)
    if (answer.kind === "outcome") waiting?.resolve(answer.outcome)
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
