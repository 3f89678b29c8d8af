import { expect, test } from "vitest"
import { silentLog } from "../../src/log/log.ts"
import type { Job } from "../../src/queue/queue.ts"
import { type Leases, WorkLoop } from "../../src/queue/work-loop.ts"

const job: Job = {
  id: "7",
  spoolId: "a",
  recipient: "alice@example.test",
  attempt: 0,
  queuedAt: new Date("2026-11-27T12:00:00Z"),
}

/** A driver whose first answer, that nothing is due, comes when `answer` is called. */
class SlowLeases implements Leases {
  readonly asked = Promise.withResolvers<void>()
  readonly #first = Promise.withResolvers<readonly Job[]>()
  #questions = 0

  answer(): void {
    this.#first.resolve([])
  }

  claim(): Promise<readonly Job[]> {
    this.#questions += 1
    this.asked.resolve()
    return this.#questions === 1 ? this.#first.promise : Promise.resolve(this.#questions === 2 ? [job] : [])
  }

  settle = async () => "more" as const
  putOff = async () => "more" as const
  renew = async () => undefined
  takeOver = async () => ({ jobs: 0, emptied: [] })
  end = async () => undefined
  dueInMs = () => null
}

test("what was added while the driver was being asked is asked for at once, not at the next look at the clock", async () => {
  const leases = new SlowLeases()
  const loop = new WorkLoop(leases, { now: () => job.queuedAt, onEmptied: async () => undefined, log: silentLog() })
  const ending = new AbortController()
  const tried = Promise.withResolvers<string>()
  const working = loop.work(
    async ({ id, recipient }) => {
      tried.resolve(id)
      return { kind: "done", status: { recipient, action: "delivered", status: "2.0.0", diagnostic: "" } }
    },
    { concurrency: 4, signal: ending.signal },
  )
  await leases.asked.promise
  loop.wake()
  leases.answer()
  // All promises, and no timer.
  await new Promise(setImmediate)
  expect(await Promise.race([tried.promise, "nobody"])).toBe("7")
  ending.abort()
  await working
})
