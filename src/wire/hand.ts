import { join } from "node:path"
import { type MessagePort, parentPort, workerData } from "node:worker_threads"
import { GatewayError } from "../errors.ts"
import { createGatheringLog } from "../log/written.ts"
import { MailStore } from "../mailbox/store.ts"
import { openQueue } from "../queue/open.ts"
import type { Handler, Job } from "../queue/queue.ts"
import { openAttempts } from "./attempts.ts"
import { type Core, openCore } from "./core.ts"
import { correspondentsOf } from "./correspondents.ts"
import type { Answer, HandData, Order } from "./hands.ts"
import { keyMeansOf } from "./key-rules.ts"
import { knowPeople } from "./known-people.ts"
import { youngBuffers } from "./young-buffers.ts"

/** How long a private spool key that was destroyed meanwhile may stay in this thread's memory. */
const FORGET_KEYS_MS = 60_000

/** A thread of its own that makes the attempts at delivery which {@link Hands} orders, until the order to end. */
async function run(port: MessagePort, { config }: HandData): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const core = stack.use(await openCore(config, new Set(["worker"]), createGatheringLog(config.logLevel)))
  const attempt = await open(core, stack)
  stack.use(youngBuffers())
  const ending = new AbortController()
  const running = new Set<Promise<void>>()
  await new Promise<void>((resolve) => {
    port.on("message", (order: Order) => {
      if (order.kind === "end") resolve()
      else if (order.kind === "abort") ending.abort()
      else
        for (const job of order.jobs) {
          const one = answer(job, attempt, ending.signal, port).finally(() => running.delete(one))
          running.add(one)
        }
    })
    port.postMessage({ kind: "ready" } satisfies Answer)
  })
  await Promise.all(running)
}

async function open(core: Core, stack: AsyncDisposableStack): Promise<Handler> {
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

async function answer(job: Job, attempt: Handler, signal: AbortSignal, port: MessagePort): Promise<void> {
  port.postMessage(await answerTo(job, attempt, signal))
}

async function answerTo(job: Job, attempt: Handler, signal: AbortSignal): Promise<Answer> {
  try {
    return { kind: "outcome", id: job.id, outcome: await attempt(job, signal) }
  } catch (error) {
    const code = error instanceof GatewayError ? error.code : null
    const { message, stack = "" } = error instanceof Error ? error : new Error(String(error))
    return { kind: "fault", id: job.id, code, message, stack }
  }
}

if (parentPort === null) throw new GatewayError("USAGE", "hand: is a thread of the server")
// What the thread that made us gave us.
await run(parentPort, workerData as HandData)
parentPort.close()
