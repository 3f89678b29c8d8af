import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterEach, beforeEach, expect, test } from "vitest"
import { silentLog } from "../../src/log/log.ts"
import { type AuditReport, audit } from "../../src/queue/audit.ts"
import { type EmbeddedQueue, openEmbeddedQueue } from "../../src/queue/embedded.ts"
import { type Handler, type Job, jobFor } from "../../src/queue/queue.ts"

const START = new Date("2026-01-02T03:04:05Z")
const NOWHERE: AuditReport["recipients"] = { delivered: 0, bounced: 0, dropped: 0, held: 0, queued: 0, spooled: 0 }
let folder: string
let queue: EmbeddedQueue
const emptied: string[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "postern-audit-"))
  emptied.length = 0
  const onEmptied = async (id: string) => void emptied.push(id)
  queue = openEmbeddedQueue(folder, { now: () => START, log: silentLog(), onEmptied })
})

afterEach(async () => {
  await queue[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

const job = (spoolId: string, recipient = "a@example.test"): Job => jobFor(spoolId, recipient, START)

/** Makes one attempt at everything that is due, by what the recipient's name says. */
async function work(count: number): Promise<void> {
  const end = new AbortController()
  let settled = 0
  const fate: Handler = async ({ recipient }) => {
    if (++settled === count) end.abort()
    const status = { recipient, action: "failed" as const, status: "5.0.0", diagnostic: "x" }
    if (recipient.startsWith("bounce")) return { kind: "failed", status }
    if (recipient.startsWith("later")) return { kind: "retry", at: new Date(START.getTime() + 1e6), status }
    return { kind: "done", status }
  }
  await queue.work(fate, { concurrency: 1, signal: end.signal })
}

async function report(spooled: readonly string[] = [], since = START): Promise<AuditReport> {
  return audit(
    queue,
    async function* () {
      yield* spooled
    },
    since,
  )
}

/** What no code of ours does. */
function tamper(sql: string): void {
  const database = new DatabaseSync(join(folder, "queue.db"))
  database.exec(sql)
  database.close()
}

test("each recipient is in one place, whatever became of it", async () => {
  await queue.add(...["a@x.test", "bounce@x.test", "later@x.test"].map((recipient) => job("m1", recipient)))
  await queue.add(job("m2"), job("m2", "b@x.test"))
  await queue.hold(job("m2").id, "wait")
  await queue.drop(job("m2", "b@x.test").id)
  await work(3)
  expect(await report()).toEqual({
    messages: 2,
    recipients: { ...NOWHERE, delivered: 1, bounced: 1, queued: 1, held: 1, dropped: 1 },
    unknown: [],
    faults: [],
  })
})

test("what is nowhere is lost, unless it is in the spool still", async () => {
  await queue.add(job("m1"), job("m1", "b@x.test"))
  await queue.add(job("m2"))
  tamper("DELETE FROM job")
  expect(await report(["m2"])).toMatchObject({
    recipients: { ...NOWHERE, spooled: 1 },
    faults: [
      { spoolId: "m1", recipient: "a@example.test", kind: "lost" },
      { spoolId: "m1", recipient: "b@x.test", kind: "lost" },
    ],
  })
})

test("two ends are one too many", async () => {
  await queue.add(job("m1"))
  await work(1)
  tamper("INSERT INTO audit (spool_id, recipient, outcome, at) VALUES ('m1', 'a@example.test', 'failed', 0)")
  expect((await report()).faults).toEqual([{ spoolId: "m1", recipient: "a@example.test", kind: "ended twice" }])
})

test("what was accepted and not queued yet is told apart", async () => {
  await queue.add(job("m1"))
  expect(await report(["m1", "m2"])).toMatchObject({ messages: 1, unknown: ["m2"], faults: [] })
})

test("what ended before a day is not of it", async () => {
  await queue.add(job("m1"))
  await work(1)
  expect(await report([], new Date(START.getTime() + 1))).toMatchObject({ messages: 0, recipients: NOWHERE })
})

test("what settles while it is looked at is not taken for lost", async () => {
  await queue.add(job("m1"))
  const listed = queue.list.bind(queue)
  queue.list = async () => {
    await work(1)
    return listed()
  }
  const pairs = queue.pairs.bind(queue)
  const stale = await gather(pairs(START))
  queue.pairs = async function* () {
    yield* stale
  }
  expect(await report(["m1"])).toMatchObject({ recipients: { ...NOWHERE, delivered: 1 }, faults: [] })
})

async function gather<T>(all: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const one of all) found.push(one)
  return found
}
