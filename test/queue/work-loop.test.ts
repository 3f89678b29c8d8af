import { expect, test, vi } from "vitest"
import { silentLog } from "../../src/log/log.ts"
import type { Job, Outcome } from "../../src/queue/queue.ts"
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

/** Has the jobs due that it is told of; what is given back is so when `giveBack` is called. */
class CrowdedLeases implements Leases {
  readonly givingBack = Promise.withResolvers<void>()
  readonly returned: string[] = []
  readonly #givenBack = Promise.withResolvers<void>()
  readonly #due: Job[] = []

  isDue(...ids: readonly string[]): void {
    this.#due.push(...ids.map((id) => ({ ...job, id, spoolId: id })))
  }

  giveBack(): void {
    this.#givenBack.resolve()
  }

  async putOff({ id }: Job) {
    this.returned.push(id)
    this.givingBack.resolve()
    await this.#givenBack.promise
    return "more" as const
  }

  claim = async (_owner: string, limit: number) => this.#due.splice(0, limit)
  settle = async () => "more" as const
  renew = async () => undefined
  takeOver = async () => ({ jobs: 0, emptied: [] })
  end = async () => undefined
  dueInMs = () => null
}

test("what gets a place while the worker ends is given back, and not begun behind its back", async () => {
  const leases = new CrowdedLeases()
  const loop = new WorkLoop(leases, {
    now: () => job.queuedAt,
    onEmptied: async () => undefined,
    log: silentLog(),
    destinations: { attempts: 2, of: () => "example.test" },
  })
  const ending = new AbortController()
  const attempts = new Map<string, PromiseWithResolvers<Outcome>>()
  const attempt = (id: string) => attempts.get(id) ?? Promise.withResolvers<Outcome>()
  const status = { recipient: job.recipient, action: "delivered", status: "2.0.0", diagnostic: "" } as const
  const working = loop.work(
    ({ id }) => {
      attempts.set(id, Promise.withResolvers<Outcome>())
      return attempt(id).promise
    },
    { concurrency: 8, signal: ending.signal },
  )
  const begun = (id: string) => vi.waitUntil(() => attempts.has(id), { interval: 1 })
  leases.isDue("0", "1")
  await begun("1")
  attempt("0").resolve({ kind: "done", status })
  // It has the place, and so 3 and 4 wait for one: the destination answers fast.
  leases.isDue("2", "3", "4")
  await begun("2")
  await new Promise(setImmediate)
  // Of those who wait, one tries whether the destination is away; the other is put off.
  attempt("1").resolve({ kind: "retry", at: job.queuedAt, status })
  await leases.givingBack.promise
  ending.abort()
  attempt("2").resolve({ kind: "done", status })
  leases.giveBack()
  await working
  expect([...attempts.keys()]).toEqual(["0", "1", "2"])
  expect(leases.returned.toSorted()).toEqual(["3", "4"])
})
