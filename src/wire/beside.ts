import { on } from "node:events"
import { Worker } from "node:worker_threads"
import { GatewayError } from "../errors.ts"
import {
  type Beside,
  inPieces,
  inPlace,
  LONG_OCTETS,
  OUTPUT_OCTETS,
  PIECE_OCTETS,
  type Work,
} from "../pipeline/beside.ts"

/** What the thread is told. Buffers go over to it, and come back. */
export type Order =
  | { readonly kind: "work"; readonly work: Work }
  | { readonly kind: "piece"; readonly input: ArrayBuffer; readonly output: ArrayBuffer; readonly octets: number }
  | { readonly kind: "end" }

/** What it answers, in order: of each piece what came of it, and at the end the rest. */
export type Answer =
  | { readonly kind: "piece"; readonly input: ArrayBuffer; readonly output: ArrayBuffer; readonly octets: number }
  | { readonly kind: "end"; readonly octets: Uint8Array; readonly result: Uint8Array }

/**
 * A thread beside another one, for long content: one at a time, what comes meanwhile is worked on where it is. Its heap is next to empty, so that the buffers
 * which ciphers leave behind cost little; in a thread that delivers, collecting them took a third of all time.
 */
export class BesideThread implements AsyncDisposable {
  #thread: Worker | null = null
  #isBusy = false

  /** @returns null for content that is not long */
  for(sizeOctets: number): Beside | null {
    return sizeOctets < LONG_OCTETS ? null : (work, content) => this.#run(work, content)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end()
  }

  async *#run(work: Work, content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, Uint8Array> {
    if (this.#isBusy) return yield* inPlace(work, content)
    this.#isBusy = true
    let isDone = false
    try {
      this.#thread ??= new Worker(new URL(THREAD, import.meta.url), { resourceLimits: SMALL })
      const result = yield* through(this.#thread, work, content)
      isDone = true
      return result
    } finally {
      // What is still on its way belongs to nobody.
      if (!isDone) await this.#end()
      this.#isBusy = false
    }
  }

  async #end(): Promise<void> {
    const thread = this.#thread
    this.#thread = null
    await thread?.terminate()
  }
}

async function* through(
  thread: Worker,
  work: Work,
  content: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, Uint8Array> {
  const answers = answersOf(thread)
  const free = Array.from({ length: DEPTH }, () => ({
    input: new ArrayBuffer(PIECE_OCTETS),
    output: new ArrayBuffer(OUTPUT_OCTETS),
  }))
  try {
    tell(thread, { kind: "work", work })
    // The room that is filled is the one that is taken.
    const room = () => new Uint8Array((free.at(-1) ?? nothingFree()).input)
    for await (const piece of inPieces(content, room)) {
      const { input, output } = free.pop() ?? nothingFree()
      tell(thread, { kind: "piece", input, output, octets: piece.length }, [input, output])
      if (free.length > 0) continue
      const answer = await answers.next()
      if (answer.kind === "end") throw unexpected()
      yield new Uint8Array(answer.output, 0, answer.octets)
      free.push(answer)
    }
    tell(thread, { kind: "end" })
    for (;;) {
      const answer = await answers.next()
      yield answer.kind === "end" ? answer.octets : new Uint8Array(answer.output, 0, answer.octets)
      if (answer.kind === "end") return answer.result
    }
  } finally {
    await answers.close()
  }
}

function answersOf(thread: Worker) {
  const messages = on(thread, "message", { close: ["exit"] })
  return {
    async next(): Promise<Answer> {
      const next = await messages.next()
      if (next.done) throw unexpected()
      // What our own thread answers.
      return next.value[0] as Answer
    },
    close: () => messages.return?.(),
  }
}

function tell(thread: Worker, order: Order, buffers: ArrayBuffer[] = []): void {
  thread.postMessage(order, buffers)
}

function unexpected(): GatewayError {
  return new GatewayError("USAGE", "beside: the thread has ended before its work")
}

function nothingFree(): never {
  throw new GatewayError("USAGE", "beside: no buffer is free")
}

/** One is filled, one worked on, one written. */
const DEPTH = 3
/** Buffers are collected with the few objects that stand around them, before there are many. */
const SMALL = { maxYoungGenerationSizeMb: 1 }
/** JavaScript in a packed package. */
const THREAD = import.meta.url.endsWith(".ts") ? "beside-thread.ts" : "beside-thread.js"
