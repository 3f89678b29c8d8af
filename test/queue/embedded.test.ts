import { spawn } from "node:child_process"
import { once } from "node:events"
import { copyFileSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { silentLog } from "../../src/log/log.ts"
import { type EmbeddedQueue, openEmbeddedQueue } from "../../src/queue/embedded.ts"
import { jobFor } from "../../src/queue/queue.ts"
import { openDatabase } from "../../src/store/sqlite.ts"
import { MemoryQueue } from "../harness/memory-queue.ts"
import {
  administrationConformance,
  type Driver,
  fairnessConformance,
  queueConformance,
  TWO_AT_SLOW,
} from "./conformance.ts"

const START = new Date("2026-01-02T03:04:05Z")
let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "postern-queue-"))
})

afterEach(() => rmSync(folder, { recursive: true }))

async function embedded(log = silentLog()): Promise<Driver<EmbeddedQueue>> {
  const clock = { now: START }
  const emptied: string[] = []
  const queue = openEmbeddedQueue(folder, {
    now: () => clock.now,
    log,
    onEmptied: async (id) => void emptied.push(id),
    destinations: TWO_AT_SLOW,
  })
  return { queue, clock, emptied, close: () => queue[Symbol.asyncDispose]() }
}

async function memory(): Promise<Driver> {
  const clock = { now: START }
  const emptied: string[] = []
  const queue = new MemoryQueue(
    () => clock.now,
    async (id) => void emptied.push(id),
  )
  return { queue, clock, emptied, close: () => queue[Symbol.asyncDispose]() }
}

queueConformance("the embedded queue", embedded)
administrationConformance("the embedded queue", embedded)
fairnessConformance("the embedded queue", embedded)
queueConformance("the memory queue", memory)

describe("the embedded queue", () => {
  test("keeps jobs over a restart", async () => {
    const before = await embedded()
    await before.queue.add(jobFor("m1", "a@example.test", START))
    await before.close()
    const after = await embedded()
    expect((await after.queue.list()).map((job) => job.spoolId)).toEqual(["m1"])
    await after.close()
  })

  test("opened by a server, takes what was left over for tried: a power cut may have taken the note", async () => {
    const before = await embedded()
    await before.queue.add(jobFor("m1", "a@example.test", START))
    // What the disk holds when the power goes right behind the delivery.
    const disk = mkdtempSync(join(tmpdir(), "postern-queue-"))
    for (const name of ["queue.db", "queue.db-wal"]) copyFileSync(join(folder, name), join(disk, name))
    await before.close()
    const after = openEmbeddedQueue(disk, {
      now: () => START,
      log: silentLog(),
      onEmptied: async () => undefined,
      commitsReachDisk: "later",
    })
    await after.add(jobFor("m2", "a@example.test", START))
    expect((await after.list()).map((job) => [job.spoolId, job.attempt])).toEqual([
      ["m1", 1],
      ["m2", 0],
    ])
    await after[Symbol.asyncDispose]()
    rmSync(disk, { recursive: true })
  })

  test("takes over what a dead worker had, at once, as a repeat", async () => {
    const source = `
      import { openEmbeddedQueue } from ${JSON.stringify(join(process.cwd(), "src/queue/embedded.ts"))}
      import { jobFor } from ${JSON.stringify(join(process.cwd(), "src/queue/queue.ts"))}
      import { silentLog } from ${JSON.stringify(join(process.cwd(), "src/log/log.ts"))}
      const now = () => new Date(${START.getTime()})
      const queue = openEmbeddedQueue(${JSON.stringify(folder)}, { now, log: silentLog(), onEmptied: async () => {} })
      await queue.add(jobFor("m1", "a@example.test", now()))
      await queue.work(() => { console.log("begun"); return new Promise(() => {}) }, { concurrency: 1, signal: new AbortController().signal })`
    const child = spawn(process.execPath, ["--input-type=module-typescript", "--eval", source], {
      stdio: ["ignore", "pipe", "inherit"],
    })
    await once(child.stdout, "data")
    const driver = await embedded()
    expect(await driver.queue.counts()).toMatchObject({ active: 1 })
    child.kill("SIGKILL")
    await once(child, "exit")
    const end = new AbortController()
    await driver.queue.work(
      async (job) => {
        expect(job).toMatchObject({ spoolId: "m1", attempt: 1 })
        end.abort()
        return {
          kind: "done",
          status: { recipient: job.recipient, action: "delivered", status: "2.0.0", diagnostic: "ok" },
        }
      },
      { concurrency: 1, signal: end.signal },
    )
    expect(driver.emptied).toEqual(["m1"])
    await driver.close()
  })

  test("two workers of two processes never have the same job at once", async () => {
    const [one, two] = [await embedded(), await embedded()]
    const times = new Map<string, number>()
    const end = new AbortController()
    await one.queue.add(...Array.from({ length: 200 }, (_, index) => jobFor(`m${index}`, "a@example.test", START)))
    const work = (driver: Driver) =>
      driver.queue.work(
        async (job) => {
          times.set(job.id, (times.get(job.id) ?? 0) + 1)
          if (times.size === 200) end.abort()
          await new Promise(setImmediate)
          return {
            kind: "done",
            status: { recipient: job.recipient, action: "delivered", status: "2.0.0", diagnostic: "ok" },
          }
        },
        { concurrency: 5, signal: end.signal },
      )
    await Promise.all([work(one), work(two)])
    expect([...times.values()].every((count) => count === 1)).toBe(true)
    expect([...one.emptied, ...two.emptied].toSorted()).toEqual(
      [...times.keys()].map((id) => id.split("-")[0]).toSorted(),
    )
    await one.close()
    await two.close()
  })

  test("a clock that ran ahead and came back delays nothing for days", async () => {
    const driver = await embedded()
    await driver.queue.add(jobFor("m1", "a@example.test", START))
    const tomorrow = new Date(START.getTime() + 86_400_000)
    const retry = async (at: Date) => {
      const end = new AbortController()
      await driver.queue.work(
        async (job) => {
          end.abort()
          return {
            kind: "retry",
            at,
            status: { recipient: job.recipient, action: "delayed", status: "4.0.0", diagnostic: "later" },
          }
        },
        { concurrency: 1, signal: end.signal },
      )
    }
    await retry(tomorrow)
    // Only a worker mends: that it gets the job at all is the proof.
    await retry(START)
    expect(await driver.queue.list()).toMatchObject([{ attempt: 2 }])
    await driver.close()
  })

  test("what an attempt came to and could not be written is tried again when the lease has run out", async () => {
    const faults: string[] = []
    const driver = await embedded(Object.assign(silentLog(), { error: (event: string) => void faults.push(event) }))
    await driver.queue.add(jobFor("m1", "a@example.test", START))
    const full = new DatabaseSync(join(folder, "queue.db"))
    full.exec("CREATE TRIGGER full BEFORE DELETE ON job BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    const attempts: number[] = []
    const end = new AbortController()
    const working = driver.queue.work(
      async ({ attempt, recipient }) => {
        attempts.push(attempt)
        return { kind: "done", status: { recipient, action: "delivered", status: "2.0.0", diagnostic: "ok" } }
      },
      { concurrency: 1, signal: end.signal },
    )
    await expect.poll(() => faults).toEqual(["queue.not-settled"])
    full.exec("DROP TRIGGER full")
    full.close()
    driver.clock.now = new Date(START.getTime() + 121_000)
    await expect.poll(() => driver.emptied, { timeout: 5_000 }).toEqual(["m1"])
    expect(attempts).toEqual([0, 1])
    end.abort()
    await working
    await driver.close()
  })

  test("refuses the file of a newer version", () => {
    openDatabase(join(folder, "queue.db"), Array(99).fill("SELECT 1")).close()
    expect(() =>
      openEmbeddedQueue(folder, { now: () => START, log: silentLog(), onEmptied: async () => undefined }),
    ).toThrow(expect.objectContaining({ code: "STATE_VERSION" }))
  })
})
