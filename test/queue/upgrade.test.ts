import { join } from "node:path"
import { expect, test } from "vitest"
import { silentLog } from "../../src/log/log.ts"
import { type EmbeddedQueue, openEmbeddedQueue } from "../../src/queue/embedded.ts"
import { QUEUE_MIGRATIONS } from "../../src/queue/job-table.ts"
import { type Job, jobFor } from "../../src/queue/queue.ts"
import { openDatabase } from "../../src/store/sqlite.ts"
import { temporaryFolder } from "../harness/peers.ts"

const START = new Date("2026-01-02T03:04:05Z")
const OLDER = QUEUE_MIGRATIONS.map((_, version) => version).slice(1)

/** A full queue as an older program left it when it was killed: one job waits, one was under way, one is held, and one recipient has its mail. */
function leave(folder: string, version: number): void {
  const database = openDatabase(join(folder, "queue.db"), QUEUE_MIGRATIONS.slice(0, version))
  const states = { waiting: null, active: "elsewhere/1/1/x", held: null }
  for (const [state, owner] of Object.entries(states)) {
    const { id, spoolId, recipient } = jobFor("message", `${state}@example.test`, START)
    database.sql.run`
      INSERT INTO job (id, spool_id, recipient, attempts, queued_at, state, due_at, owner, lease_until)
      VALUES (${id}, ${spoolId}, ${recipient}, 1, ${START.getTime()}, ${state}, ${START.getTime()}, ${owner}, ${owner && 0})`
  }
  database.sql.run`
    INSERT INTO audit (spool_id, recipient, outcome, at) VALUES ('message', 'settled@example.test', 'done', ${START.getTime()})`
  database.close()
}

function open(folder: string, emptied: string[] = []): EmbeddedQueue {
  const onEmptied = async (id: string) => void emptied.push(id)
  return openEmbeddedQueue(folder, { now: () => START, log: silentLog(), onEmptied })
}

/** Delivers until nothing is left. @returns who got the mail */
async function deliverAll(queue: EmbeddedQueue): Promise<string[]> {
  const reached: string[] = []
  const ending = new AbortController()
  const deliver = async ({ recipient }: Job) => {
    reached.push(recipient)
    return { kind: "done", status: { recipient, action: "delivered", status: "2.0.0", diagnostic: "" } } as const
  }
  const working = queue.work(deliver, { concurrency: 2, signal: ending.signal })
  await expect.poll(async () => (await queue.list()).length, { interval: 5 }).toBe(0)
  ending.abort()
  await working
  return reached.toSorted()
}

test.each(OLDER)(
  "what a program of version %i left is delivered, and what it had settled is not sent again",
  async (version) => {
    await using folder = await temporaryFolder()
    leave(folder.path, version)
    const emptied: string[] = []
    await using queue = open(folder.path, emptied)
    await queue.add(jobFor("message", "settled@example.test", START))
    expect((await queue.counts()).held).toBe(1)
    await queue.release("message")
    expect(await deliverAll(queue)).toEqual(["active@example.test", "held@example.test", "waiting@example.test"])
    expect(emptied).toEqual(["message"])
    expect([...(await queue.settled("message"))]).toHaveLength(4)
  },
)

test("an older program does not touch the queue of a newer one, which goes on when it is back", async () => {
  await using folder = await temporaryFolder()
  const newer = open(folder.path)
  await newer.add(jobFor("message", "a@example.test", START))
  await newer[Symbol.asyncDispose]()
  for (const version of OLDER)
    expect(() => openDatabase(join(folder.path, "queue.db"), QUEUE_MIGRATIONS.slice(0, version))).toThrow(
      expect.objectContaining({ code: "STATE_VERSION" }),
    )
  await using again = open(folder.path)
  expect(await deliverAll(again)).toEqual(["a@example.test"])
})
