import { describe, expect, test, vi } from "vitest"
import type { DeliveryStatus } from "../../src/message/status.ts"
import type { DestinationLimit } from "../../src/queue/destinations.ts"
import {
  type Handler,
  type Job,
  jobFor,
  type Ledger,
  type Outcome,
  type Queue,
  type QueueAdministration,
} from "../../src/queue/queue.ts"
import { MANY_RECIPIENTS } from "../../src/queue/rank.ts"

/** A driver under test, with a clock that the test moves. */
export interface Driver<Q extends Queue = Queue> {
  readonly queue: Q
  readonly clock: { now: Date }
  /** Spool ids whose last job was settled, in order. */
  readonly emptied: string[]
  close(): Promise<void>
}

const START = new Date("2026-01-02T03:04:05Z")
const status = (recipient: string): DeliveryStatus => ({
  recipient,
  action: "delivered",
  status: "2.0.0",
  diagnostic: "ok",
})
const done: Handler = async (job) => ({ kind: "done", status: status(job.recipient) })
const retryAfter =
  (ms: number, driver: Driver): Handler =>
  async (job) => ({
    kind: "retry",
    at: new Date(driver.clock.now.getTime() + ms),
    status: { ...status(job.recipient), action: "delayed" },
  })
const job = (spoolId: string, recipient = "a@example.test", attempt = 0): Job =>
  jobFor(spoolId, recipient, START, attempt)

/** Works until `enough` says so; returns the jobs as the handler got them. */
async function workUntil(
  driver: Driver,
  handler: Handler,
  enough: (seen: readonly Job[]) => boolean | Promise<boolean>,
  concurrency = 4,
): Promise<Job[]> {
  const seen: Job[] = []
  const end = new AbortController()
  const working = driver.queue.work(
    async (one, signal) => {
      seen.push(one)
      return await handler(one, signal)
    },
    { concurrency, signal: end.signal },
  )
  await expect.poll(() => enough(seen), { interval: 2, timeout: 10_000 }).toBe(true)
  end.abort()
  await working
  return seen
}

/** Tests, each with a driver of its own. */
function suiteOn<D extends Driver>(open: () => Promise<D>) {
  return (title: string, act: (driver: D) => Promise<void>) =>
    test(title, async () => {
      const driver = await open()
      try {
        await act(driver)
      } finally {
        await driver.close()
      }
    })
}

/** The promises of every {@link Queue}. */
export function queueConformance(name: string, open: () => Promise<Driver>): void {
  const suite = suiteOn(open)
  const counts = async (driver: Driver) => await driver.queue.counts()

  describe(`${name} keeps the promises of a queue`, () => {
    suite("gives each job to the handler once, attempt 0, oldest first", async (driver) => {
      for (const id of ["m1", "m2", "m3"]) await driver.queue.add(job(id))
      const seen = await workUntil(driver, done, (jobs) => jobs.length === 3, 1)
      expect(seen).toEqual([job("m1"), job("m2"), job("m3")])
      expect(await counts(driver)).toEqual({ ready: 0, delayed: 0, active: 0, held: 0, failed: 0 })
    })

    suite("is woken by what is added while it idles", async (driver) => {
      const end = new AbortController()
      const seen = new Set<string>()
      const working = driver.queue.work(
        async (one) => {
          seen.add(one.spoolId)
          return await done(one, end.signal)
        },
        { concurrency: 1, signal: end.signal },
      )
      for (const id of ["m1", "m2", "m3"]) {
        await driver.queue.add(job(id))
        await expect.poll(() => seen.has(id), { interval: 1, timeout: 5_000 }).toBe(true)
      }
      end.abort()
      await working
    })

    suite("takes the same pair once, also after it was settled", async (driver) => {
      await driver.queue.add(job("m1"), job("m1"))
      await driver.queue.add(job("m1"))
      expect(await counts(driver)).toMatchObject({ ready: 1 })
      await workUntil(driver, done, async (jobs) => jobs.length === 1 && (await counts(driver)).active === 0)
      await driver.queue.add(job("m1"))
      expect(await counts(driver)).toMatchObject({ ready: 0 })
    })

    suite("tries again when it is time, not before, and counts attempts", async (driver) => {
      await driver.queue.add(job("m1"))
      const first = await workUntil(
        driver,
        retryAfter(60_000, driver),
        async () => (await counts(driver)).delayed === 1,
      )
      expect(first.map((one) => one.attempt)).toEqual([0])
      driver.clock.now = new Date(START.getTime() + 59_999)
      await driver.queue.add(job("m2"))
      const second = await workUntil(
        driver,
        done,
        async () => (await counts(driver)).ready === 0 && driver.emptied.length > 0,
      )
      expect(second.map((one) => one.spoolId)).toEqual(["m2"])
      driver.clock.now = new Date(START.getTime() + 60_000)
      const third = await workUntil(driver, done, (jobs) => jobs.length === 1)
      expect(third.map((one) => one.attempt)).toEqual([1])
    })

    suite("keeps what is held until somebody acts", async (driver) => {
      await driver.queue.add(job("m1"))
      await workUntil(
        driver,
        async () => ({ kind: "hold", reason: "because" }),
        async () => (await counts(driver)).held === 1,
      )
      driver.clock.now = new Date(START.getTime() + 1e9)
      await driver.queue.add(job("m2"))
      const seen = await workUntil(driver, done, (jobs) => jobs.length > 0)
      expect(seen.map((one) => one.spoolId)).toEqual(["m2"])
      expect(driver.emptied).toEqual(["m2"])
    })

    suite("tries again what threw, later", async (driver) => {
      await driver.queue.add(job("m1"))
      const broken: Handler = async () => {
        throw new Error("fault")
      }
      await workUntil(driver, broken, async () => (await counts(driver)).delayed === 1)
      driver.clock.now = new Date(START.getTime() + 3_600_000)
      const seen = await workUntil(driver, done, (jobs) => jobs.length === 1)
      expect(seen[0]?.attempt).toBe(1)
    })

    suite("lets the message go once, after its last recipient, however the jobs end", async (driver) => {
      const recipients = Array.from({ length: 20 }, (_, index) => `r${index}@example.test`)
      await driver.queue.add(...recipients.map((recipient) => job("m1", recipient)))
      const fates: Handler = async (one): Promise<Outcome> => {
        expect(driver.emptied).toEqual([])
        return one.recipient.length > 15
          ? { kind: "failed", status: { ...status(one.recipient), action: "failed" } }
          : await done(one, AbortSignal.abort())
      }
      await workUntil(driver, fates, () => driver.emptied.length > 0)
      expect(driver.emptied).toEqual(["m1"])
      expect((await counts(driver)).failed).toBe(10)
    })

    suite("runs no more attempts at once than asked, and as many", async (driver) => {
      await driver.queue.add(...Array.from({ length: 12 }, (_, index) => job(`m${index}`)))
      let running = 0
      let most = 0
      const slow: Handler = async (one, signal) => {
        most = Math.max(most, ++running)
        await new Promise((resolve) => setTimeout(resolve, 5))
        running -= 1
        return await done(one, signal)
      }
      await workUntil(driver, slow, () => driver.emptied.length === 12, 3)
      expect(most).toBe(3)
    })

    suite("ends when told, after the attempts under way", async (driver) => {
      await driver.queue.add(job("m1"), job("m2"))
      const end = new AbortController()
      let finished = false
      await driver.queue.work(
        async (one, signal) => {
          end.abort()
          await new Promise((resolve) => setTimeout(resolve, 5))
          finished = true
          return await done(one, signal)
        },
        { concurrency: 1, signal: end.signal },
      )
      expect(finished).toBe(true)
      expect(await counts(driver)).toMatchObject({ ready: 1, active: 0 })
    })

    suite("names every job not yet settled", async (driver) => {
      const jobs = Array.from({ length: 2_500 }, (_, index) => job(`m${index}`))
      await driver.queue.add(...jobs)
      const ids: string[] = []
      for await (const id of driver.queue.ids()) ids.push(id)
      expect(ids.toSorted()).toEqual(jobs.map((one) => one.id).toSorted())
    })
  })
}

/** The promises of a queue that an administrator can look into. */
export function administrationConformance(
  name: string,
  open: () => Promise<Driver<Queue & QueueAdministration & Ledger>>,
): void {
  const suite = suiteOn(open)

  describe(`${name} obeys its administrator`, () => {
    suite("lists and shows jobs with their last status", async (driver) => {
      const { queue } = driver
      await queue.add(job("m1"), job("m1", "b@example.test"))
      await queue.add(job("m2"))
      await workUntil(driver, retryAfter(1_000, driver), async () => (await queue.counts()).delayed === 3)
      const [first] = await queue.list()
      expect(first).toEqual({
        ...job("m1"),
        attempt: 1,
        state: "delayed",
        worker: null,
        dueAt: new Date(START.getTime() + 1_000),
        lastStatus: { ...status("a@example.test"), action: "delayed" },
        holdReason: null,
      })
      expect((await queue.show("m1")).jobs).toHaveLength(2)
      expect((await queue.show(job("m1").id)).jobs).toHaveLength(1)
      expect(await queue.show("nothing")).toEqual({ jobs: [], audit: [] })
    })

    suite("holds, releases, retries and drops; every end is on the record", async (driver) => {
      const { queue } = driver
      await queue.add(job("m1"), job("m1", "b@example.test"))
      expect(await queue.hold("m1", "looks odd")).toBe(2)
      expect((await queue.list()).map((one) => [one.state, one.holdReason])).toEqual([
        ["held", "looks odd"],
        ["held", "looks odd"],
      ])
      expect(await queue.release(job("m1").id)).toBe(1)
      await workUntil(driver, retryAfter(3_600_000, driver), async () => (await queue.counts()).delayed === 1)
      expect(await queue.retry("m1")).toBe(2)
      expect(await queue.counts()).toMatchObject({ ready: 1, held: 1 })
      await workUntil(driver, done, async () => (await queue.counts()).ready + (await queue.counts()).active === 0)
      expect(driver.emptied).toEqual([])
      expect(await queue.drop("m1")).toBe(1)
      expect(driver.emptied).toEqual(["m1"])
      expect((await queue.show("m1")).audit.map((row) => [row.recipient, row.outcome])).toEqual([
        ["a@example.test", "queued"],
        ["b@example.test", "queued"],
        ["a@example.test", "held"],
        ["b@example.test", "held"],
        ["a@example.test", "released"],
        ["a@example.test", "done"],
        ["b@example.test", "dropped"],
      ])
      expect(await queue.settled("m1")).toEqual(new Set(["a@example.test", "b@example.test"]))
      expect(await queue.drop("m1")).toBe(0)
    })

    suite("writes down what needed no job, once, and takes it no more", async (driver) => {
      const { queue } = driver
      const status = {
        recipient: "a@example.test",
        action: "delivered",
        status: "2.0.0",
        diagnostic: "stored",
      } as const
      await queue.passed(job("m1"), status)
      await queue.passed(job("m1"), status)
      await queue.add(job("m1"))
      expect((await queue.show("m1")).audit.map((row) => [row.outcome, row.status])).toEqual([
        ["queued", null],
        ["done", status],
      ])
      expect([await queue.settled("m1"), (await queue.list()).length]).toEqual([new Set([job("m1").recipient]), 0])
    })

    suite("says who has an active job, one name for all of a worker's", async (driver) => {
      const { queue } = driver
      await queue.add(job("m1"), job("m2"), job("m3"))
      await queue.hold(job("m3").id, "wait")
      let workers: (string | null)[] = []
      const looking: Handler = async (one, signal) => {
        await expect.poll(async () => (await queue.counts()).active, { interval: 2 }).toBe(2)
        workers = (await queue.list()).map(({ worker }) => worker)
        return await retryAfter(1_000, driver)(one, signal)
      }
      await workUntil(driver, looking, async () => (await queue.counts()).delayed === 2)
      const ours = expect.stringMatching(new RegExp(`/${process.pid}/`))
      expect(workers).toEqual([ours, ours, null])
      expect(workers[0]).toBe(workers[1])
      expect((await queue.list()).map(({ worker }) => worker)).toEqual([null, null, null])
    })

    suite("what is released anyway says so in each attempt, whoever makes it, and on the record", async (driver) => {
      const { queue } = driver
      await queue.add(job("m1"), job("m1", "b@example.test"))
      const doubted: Handler = async ({ anyway }) => ({ kind: "hold", reason: anyway ? "another" : "in doubt" })
      await workUntil(driver, doubted, async () => (await queue.counts()).held === 2)
      expect(await queue.release(job("m1").id, true)).toBe(1)
      const [first] = await workUntil(
        driver,
        retryAfter(1_000, driver),
        async () => (await queue.counts()).delayed === 1,
      )
      expect(first).toEqual({ ...job("m1", "a@example.test", 1), anyway: true })
      driver.clock.now = new Date(START.getTime() + 2_000)
      await queue.retry("m1")
      await workUntil(driver, doubted, async () => (await queue.counts()).held === 2)
      expect((await queue.list()).map((one) => [one.holdReason, one.anyway])).toEqual([
        ["another", true],
        ["in doubt", undefined],
      ])
      await queue.release("m1")
      const last = await workUntil(driver, done, () => driver.emptied.length === 1)
      expect(last.map(({ recipient, anyway }) => [recipient, anyway]).toSorted()).toEqual([
        ["a@example.test", true],
        ["b@example.test", undefined],
      ])
      const { audit } = await queue.show("m1")
      const released = audit.filter(({ outcome }) => outcome === "released")
      expect(released.map(({ recipient, status: said }) => [recipient, said?.diagnostic])).toEqual([
        ["a@example.test", "released by an administrator, anyway; it was held: in doubt"],
        ["a@example.test", undefined],
        ["b@example.test", undefined],
      ])
    })

    suite("only what is held is released anyway", async (driver) => {
      const { queue } = driver
      await queue.add(job("m1"))
      await queue.release("m1", true)
      const [seen] = await workUntil(
        driver,
        async (one, signal) => {
          await queue.hold(one.id, "wait")
          await queue.release(one.id, true)
          return retryAfter(1_000, driver)(one, signal)
        },
        async () => (await queue.counts()).delayed === 1,
      )
      expect([seen?.anyway, (await queue.list())[0]?.anyway]).toEqual([undefined, undefined])
    })

    suite("an attempt under way is finished; what it leaves is held or dropped", async (driver) => {
      const { queue } = driver
      await queue.add(job("m1"), job("m2"), job("m3"))
      const acts: Readonly<Record<string, (id: string) => Promise<unknown>>> = {
        m1: (id) => queue.hold(id, "wait"),
        m2: (id) => queue.drop(id),
        m3: (id) => queue.drop(id),
      }
      const during: Handler = async (one, signal) => {
        await acts[one.spoolId]?.(one.id)
        return one.spoolId === "m3" ? await done(one, signal) : await retryAfter(1, driver)(one, signal)
      }
      await workUntil(driver, during, async (jobs) => jobs.length === 3 && (await queue.counts()).active === 0)
      expect((await queue.list()).map((one) => [one.spoolId, one.state, one.holdReason])).toEqual([
        ["m1", "held", "wait"],
      ])
      expect((await queue.show("m2")).audit.map((row) => row.outcome)).toEqual(["queued", "dropped"])
      expect((await queue.show("m3")).audit.map((row) => row.outcome)).toEqual(["queued", "done"])
      expect(driver.emptied.toSorted()).toEqual(["m2", "m3"])
    })

    suite("the record has every pair since a time, with how it ended", async (driver) => {
      const { queue, clock } = driver
      await queue.add(job("m0"))
      await workUntil(driver, done, () => driver.emptied.length === 1)
      clock.now = new Date(START.getTime() + 1_000)
      await queue.add(job("m1"), job("m1", "b@example.test"))
      await queue.add(job("m2"))
      await queue.hold(job("m2").id, "wait")
      const failed: Handler = async (one) => ({ kind: "failed", status: status(one.recipient) })
      await workUntil(
        driver,
        async (one, signal) => (one.recipient.startsWith("a") ? done : failed)(one, signal),
        () => driver.emptied.length === 2,
      )
      const pairs = async (since: Date) => {
        const found: unknown[] = []
        for await (const { spoolId, recipient, queuedAt, finals } of queue.pairs(since))
          found.push([spoolId, recipient.slice(0, 1), queuedAt?.getTime(), finals])
        return found
      }
      const later = [
        ["m1", "a", clock.now.getTime(), ["done"]],
        ["m1", "b", clock.now.getTime(), ["failed"]],
        ["m2", "a", clock.now.getTime(), []],
      ]
      expect(await pairs(clock.now)).toEqual(later)
      expect(await pairs(START)).toEqual([["m0", "a", START.getTime(), ["done"]], ...later])
    })

    suite("forgets settled messages in time, but not while one of their jobs lives", async (driver) => {
      const { queue } = driver
      await queue.add(job("m1"), job("m1", "b@example.test"))
      await queue.add(job("m2"))
      await queue.hold(job("m1", "b@example.test").id, "wait")
      await workUntil(driver, done, async (jobs) => jobs.length === 2 && (await queue.counts()).active === 0)
      expect(await queue.prune(START)).toBe(0)
      expect(await queue.prune(new Date(START.getTime() + 1))).toBe(2)
      expect(await queue.settled("m1")).toEqual(new Set(["a@example.test"]))
      expect(await queue.settled("m2")).toEqual(new Set())
    })
  })
}

/** Of destinations that this is the name of, a driver under {@link fairnessConformance} tries two jobs at once. */
export const SLOW = "slow.test"
export const TWO_AT_SLOW: DestinationLimit = {
  attempts: 2,
  of: ({ recipient }) => (recipient.endsWith(`@${SLOW}`) ? SLOW : null),
}

/** How the places of a worker are shared out; the driver is opened with {@link TWO_AT_SLOW}. */
export function fairnessConformance(name: string, open: () => Promise<Driver>): void {
  const suite = suiteOn(open)
  const later = (minutes: number) => new Date(START.getTime() + minutes * 60_000)

  describe(`${name} is fair`, () => {
    suite("fresh mail goes before retries and before mail to very many, which still have their turn", async (driver) => {
      const many = Array.from({ length: MANY_RECIPIENTS + 1 }, (_, index) => `r${index}@example.test`)
      await driver.queue.add(...many.map((recipient) => job("many", recipient)))
      await driver.queue.add(job("again", "a@example.test", 1))
      await driver.queue.add(job("fresh"))
      driver.clock.now = later(11)
      await driver.queue.add(jobFor("late", "a@example.test", later(11)))
      const seen = await workUntil(driver, done, (jobs) => jobs.length === many.length + 3, 1)
      const order = seen.map((one) => one.spoolId)
      expect([order[0], order.at(-2), order.at(-1)]).toEqual(["fresh", "again", "late"])
    })

    suite("a slow destination has its places and no more; what waits for it was not tried", async (driver) => {
      const slow = Array.from({ length: 6 }, (_, index) => job(`s${index}`, `r${index}@${SLOW}`))
      await driver.queue.add(...slow)
      await driver.queue.add(...["q1", "q2", "q3"].map((id) => job(id)))
      const gate = Promise.withResolvers<void>()
      const running = new Set<string>()
      let most = 0
      const handler: Handler = async (one, signal) => {
        if (!one.recipient.endsWith(SLOW)) return await done(one, signal)
        running.add(one.id)
        most = Math.max(most, running.size)
        await gate.promise
        running.delete(one.id)
        return await done(one, signal)
      }
      const seen = await workUntil(driver, handler, async () => {
        const quick = driver.emptied.filter((id) => id.startsWith("q")).length
        if (quick < 3) return false
        gate.resolve()
        driver.clock.now = new Date(driver.clock.now.getTime() + 1_000)
        return driver.emptied.length === 9
      })
      expect(most).toBe(2)
      expect(seen.filter((one) => one.attempt > 0)).toEqual([])
      expect(seen).toHaveLength(9)
    })

    suite("what waits for a place that becomes free soon has it at once; at the end it is given back, not tried", async (driver) => {
      const slow = Array.from({ length: 8 }, (_, index) => job(`s${index}`, `r${index}@${SLOW}`))
      const [first, ...others] = slow
      const gates = new Map(slow.map(({ id }) => [id, Promise.withResolvers<void>()]))
      const begun: Job[] = []
      const ending = new AbortController()
      const working = driver.queue.work(
        async (one, signal) => {
          begun.push(one)
          await gates.get(one.id)?.promise
          return await done(one, signal)
        },
        { concurrency: 8, signal: ending.signal },
      )
      // The clock stands still: an attempt takes no time, and nothing that was put off would come back.
      if (first === undefined) throw new Error("no job")
      await driver.queue.add(first, ...others.slice(0, 1))
      await vi.waitFor(() => expect(begun).toHaveLength(2))
      gates.get(first.id)?.resolve()
      await vi.waitFor(() => expect(driver.emptied).toEqual([first.spoolId]))
      await driver.queue.add(...others.slice(1))
      await vi.waitFor(async () => expect((await driver.queue.counts()).active).toBe(7))
      expect(begun).toHaveLength(3)
      gates.get(others[0]?.id ?? "")?.resolve()
      await vi.waitFor(() => expect(begun).toHaveLength(4))
      ending.abort()
      await vi.waitFor(async () => expect((await driver.queue.counts()).active).toBe(2))
      for (const { resolve } of gates.values()) resolve()
      await working
      expect(begun).toHaveLength(4)
      const rest = await workUntil(driver, done, (seen) => {
        driver.clock.now = new Date(driver.clock.now.getTime() + 1_000)
        return seen.length === 4
      })
      expect(rest.every((one) => one.attempt === 0)).toBe(true)
    })
  })
}
