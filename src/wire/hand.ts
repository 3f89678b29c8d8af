import { join } from "node:path"
import { type MessagePort, parentPort, workerData } from "node:worker_threads"
import { GatewayError } from "../errors.ts"
import { createGatheringLog } from "../log/written.ts"
import { MailStore } from "../mailbox/store.ts"
import { openQueue } from "../queue/open.ts"
import { type Attempts, openAttempts } from "./attempts.ts"
import { type Core, openCore } from "./core.ts"
import { correspondentsOf } from "./correspondents.ts"
import type { Answer, HandData, Order, Said, Task } from "./hands.ts"
import { keyMeansOf } from "./key-rules.ts"
import { knowPeople } from "./known-people.ts"
import { youngBuffers } from "./young-buffers.ts"

/** How long a private spool key that was destroyed meanwhile may stay in this thread's memory. */
const FORGET_KEYS_MS = 60_000

/** A thread of its own that makes the attempts at delivery which {@link Hands} orders, until the order to end. */
async function run(port: MessagePort, { config }: HandData): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const core = stack.use(await openCore(config, new Set(["worker"]), createGatheringLog(config.logLevel)))
  const attempts = await open(core, stack)
  stack.use(youngBuffers())
  const ending = new AbortController()
  const running = new Set<Promise<void>>()
  const answers = new Answers(port)
  await new Promise<void>((resolve) => {
    port.on("message", (order: Order) => {
      if (order.kind === "end") resolve()
      else if (order.kind === "abort") ending.abort()
      else
        for (const { number, task } of order.tasks) {
          const one = answers.add(answerTo(number, task, attempts, ending.signal)).finally(() => running.delete(one))
          running.add(one)
        }
    })
    port.postMessage({ kind: "ready" } satisfies Said)
  })
  await Promise.all(running)
}

/** Gives answers: what comes in one turn of the event loop, such as of mail that went together, as one message, each of which wakes a thread. */
class Answers {
  readonly #port: MessagePort
  #gathered: Answer[] = []
  #given: Promise<void> = Promise.resolve()

  constructor(port: MessagePort) {
    this.#port = port
  }

  /** Resolves when it is given. */
  async add(coming: Promise<Answer>): Promise<void> {
    const answer = await coming
    if (this.#gathered.push(answer) === 1)
      this.#given = new Promise((resolve) => setImmediate(() => resolve(this.#give())))
    await this.#given
  }

  #give(): void {
    const answers = this.#gathered
    this.#gathered = []
    this.#port.postMessage({ kind: "answers", answers } satisfies Said)
  }
}

async function open(core: Core, stack: AsyncDisposableStack): Promise<Attempts> {
  const { config, log, now, spool, spoolKeys } = core
  const known = stack.use(knowPeople(core))
  const store = stack.use(new MailStore(join(config.data, "mail"), { now, log }))
  // Only for reports and what aliases send on; the jobs themselves are led by the thread that gives the orders.
  const queue = stack.use(await openQueue(config, { now, log, runsOn: true, onEmptied: (id) => spool.remove(id) }))
  const forgetting = setInterval(() => spoolKeys?.forget(), FORGET_KEYS_MS)
  stack.defer(() => clearInterval(forgetting))
  const keyMeans = keyMeansOf(config, now)
  const correspondents = stack.use(correspondentsOf(core, keyMeans))
  known.presence.onChange(() => correspondents.forget())
  return openAttempts(core, { queue, known, store, correspondents, keyMeans }, stack)
}

async function answerTo(number: number, task: Task, attempts: Attempts, signal: AbortSignal): Promise<Answer> {
  try {
    const { kind } = task
    const result = await (kind === "attempt"
      ? attempts.attempt(task.job, signal)
      : attempts.storeHeld(task.mail, signal))
    return { kind: "done", number, result }
  } catch (error) {
    const code = error instanceof GatewayError ? error.code : null
    const { message, stack = "" } = error instanceof Error ? error : new Error(String(error))
    return { kind: "fault", number, code, message, stack }
  }
}

if (parentPort === null) throw new GatewayError("USAGE", "hand: is a thread of the server")
// What the thread that made us gave us.
await run(parentPort, workerData as HandData)
parentPort.close()
