import { once } from "node:events"
import { Worker } from "node:worker_threads"
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest"
import { GatewayError } from "../../src/errors.ts"
import { silentLog } from "../../src/log/log.ts"
import type { AuditLog } from "../../src/queue/audit-log.ts"
import { openEmbeddedAudit } from "../../src/queue/embedded-audit.ts"
import { type AuditRow, type Job, jobFor } from "../../src/queue/queue.ts"
import { Endings } from "../../src/queue/redis/endings.ts"
import { RedisLeases } from "../../src/queue/redis/leases.ts"
import { RedisQueue } from "../../src/queue/redis/redis-queue.ts"
import { RedisServer } from "../../src/queue/redis/server.ts"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { Redis, redisPossible } from "../harness/redis.ts"
import {
  administrationConformance,
  type Driver,
  fairnessConformance,
  queueConformance,
  TWO_AT_SLOW,
} from "./conformance.ts"

const START = new Date("2026-01-02T03:04:05Z")
let redis: Redis

/** A queue on an empty server, whose clock is the process's: BullMQ has no other. */
async function open(): Promise<Driver<RedisQueue>> {
  await redis.command("FLUSHALL")
  const folder = await temporaryFolder()
  const clock = { now: START }
  const watch = vi.spyOn(Date, "now").mockImplementation(() => clock.now.getTime())
  const emptied: string[] = []
  const queue = await queueOn(redis, folder, { now: () => clock.now, emptied })
  return {
    queue,
    clock,
    emptied,
    async close() {
      watch.mockRestore()
      await queue[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    },
  }
}

async function queueOn(
  { url }: { readonly url: string },
  folder: TemporaryFolder,
  { now, emptied = [] }: { readonly now: () => Date; readonly emptied?: string[] },
): Promise<RedisQueue> {
  return queueWith({ url }, openEmbeddedAudit(folder.path, "at once", silentLog()), { now, emptied })
}

async function queueWith(
  { url }: { readonly url: string },
  audit: AuditLog,
  { now, emptied = [] }: { readonly now: () => Date; readonly emptied?: string[] },
): Promise<RedisQueue> {
  const server = await RedisServer.connect({ kind: "redis", url, password: null, caFile: null }, silentLog())
  const onEmptied = async (id: string) => void emptied.push(id)
  return RedisQueue.open(server, audit, { now, log: silentLog(), onEmptied, destinations: TWO_AT_SLOW })
}

describe.skipIf(!redisPossible)("on Redis", () => {
  beforeAll(async () => {
    redis = await Redis.start()
  })

  afterAll(() => redis?.[Symbol.asyncDispose]())

  queueConformance("the queue on Redis", open)
  administrationConformance("the queue on Redis", open)
  fairnessConformance("the queue on Redis", open)

  test("the job that is leased as another ends is given to the next claim, or back where there is none", async () => {
    await redis.command("FLUSHALL")
    await using folder = await temporaryFolder()
    const now = () => new Date()
    await using queue = await queueOn(redis, folder, { now })
    await using server = await RedisServer.connect(
      { kind: "redis", url: redis.url, password: null, caFile: null },
      silentLog(),
    )
    await using audit = openEmbeddedAudit(folder.path, "at once", silentLog())
    const endings = new Endings(server, audit, now)
    const leases = new RedisLeases({ server, audit, endings, now, log: silentLog(), emptied: async () => undefined })
    await leases.doubt()
    const jobs = ["aaaaaaaa", "bbbbbbbb", "cccccccc"].map((id) => jobFor(id, "a@example.test", now()))
    for (const job of jobs) await queue.add(job)
    const attempts = (claimed: readonly Job[]) => claimed.map(({ id, attempt }) => [id, attempt])
    const end = async ([job]: readonly Job[]) => {
      const status = { recipient: "a@example.test", action: "delivered", status: "2.0.0", diagnostic: "ok" } as const
      return job && (await leases.settle(job, "us", { kind: "done", status }))
    }
    const [first, second, third] = jobs.map(({ id }) => [[id, 0]])

    const claimed = await leases.claim("us", 1)
    expect(attempts(claimed)).toEqual(first)
    expect(await end(claimed)).toBe("emptied")
    expect([leases.dueInMs(), await queue.counts()]).toMatchObject([0, { ready: 1, active: 1 }])
    const next = await leases.claim("us", 4)
    expect([attempts(next), leases.dueInMs()]).toEqual([second, null])
    expect(await end(next)).toBe("emptied")
    await leases.end("us")
    expect(await queue.counts()).toMatchObject({ ready: 1, active: 0 })
    const taken = await leases.claim("others", 4)
    expect(attempts(taken)).toEqual(third)
  })

  test("a record that is away keeps a job from being tried, and one that was tried from being settled, until it is back", async () => {
    await redis.command("FLUSHALL")
    await using folder = await temporaryFolder()
    const record = openEmbeddedAudit(folder.path, "at once", silentLog())
    const faults: string[] = []
    const away = (what: string) => {
      if (!faults.includes(what)) return
      faults.splice(faults.indexOf(what), 1)
      throw new GatewayError("STATE_AWAY", what)
    }
    const audit: AuditLog = Object.assign(Object.create(record), {
      settled: async (id: string) => {
        away("asked")
        return record.settled(id)
      },
      write: async (...rows: AuditRow[]) => {
        away("written")
        return record.write(...rows)
      },
      [Symbol.asyncDispose]: () => record[Symbol.asyncDispose](),
    })
    await using queue = await queueWith(redis, audit, { now: () => new Date() })
    const job = jobFor("abcdefgh", "a@example.test", new Date())
    await queue.add(job)
    faults.push("asked", "asked", "written", "written")
    const attempts: number[] = []
    const ending = new AbortController()
    const status = { recipient: job.recipient, action: "delivered", status: "2.0.0", diagnostic: "ok" } as const
    const working = queue.work(
      async ({ attempt }) => {
        attempts.push(attempt)
        return { kind: "done", status }
      },
      { concurrency: 1, signal: ending.signal },
    )
    await expect
      .poll(async () => [...(await record.settled(job.spoolId))], { timeout: 10_000 })
      .toEqual([job.recipient])
    ending.abort()
    await working
    expect({ attempts, faults, left: await queue.list() }).toEqual({ attempts: [0], faults: [], left: [] })
  })

  test("of jobs that are taken together, one that cannot be looked up does not keep the others", async () => {
    await redis.command("FLUSHALL")
    await using folder = await temporaryFolder()
    const record = openEmbeddedAudit(folder.path, "at once", silentLog())
    const unknown = new Set<string>()
    const audit: AuditLog = Object.assign(Object.create(record), {
      settled: async (id: string) => {
        if (unknown.delete(id)) throw new GatewayError("STATE_CORRUPT", id)
        return record.settled(id)
      },
      write: (...rows: AuditRow[]) => record.write(...rows),
      [Symbol.asyncDispose]: () => record[Symbol.asyncDispose](),
    })
    const emptied: string[] = []
    await using queue = await queueWith(redis, audit, { now: () => new Date(), emptied })
    const jobs = Array.from({ length: 12 }, (_, index) => jobFor(`message${index}`, "a@example.test", new Date()))
    await queue.add(...jobs)
    for (const index of [3, 5, 8]) unknown.add(`message${index}`)
    const attempts: number[] = []
    const ending = new AbortController()
    const working = queue.work(
      async ({ attempt, recipient }) => {
        attempts.push(attempt)
        return { kind: "done", status: { recipient, action: "delivered", status: "2.0.0", diagnostic: "ok" } }
      },
      { concurrency: 12, signal: ending.signal },
    )
    await expect.poll(() => emptied.length, { timeout: 10_000 }).toBe(12)
    ending.abort()
    await working
    expect(attempts).toEqual(Array(12).fill(0))
  })

  test("a thread whose Redis is gone ends all the same", async () => {
    const thread = new Worker(new URL("./redis-thread.ts", import.meta.url), { workerData: redis.url })
    const ended = once(thread, "exit")
    expect(await once(thread, "message")).toEqual([true])
    await redis.kill()
    thread.postMessage("end")
    expect(await ended).toEqual([0])
    await redis.start()
  })
})
