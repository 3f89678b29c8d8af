import { spawn } from "node:child_process"
import { randomInt } from "node:crypto"
import { once } from "node:events"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { silentLog } from "../../src/log/log.ts"
import { type EmbeddedQueue, openEmbeddedQueue } from "../../src/queue/embedded.ts"
import { jobFor } from "../../src/queue/queue.ts"
import { type SweepReport, sweep } from "../../src/queue/sweep.ts"
import { openFileSpool } from "../../src/store/file-spool.ts"
import { FolderHalves } from "../../src/store/public-halves.ts"
import type { Spool } from "../../src/store/spool.ts"
import { SpoolKeys, SpoolPublicKeys } from "../../src/store/spool-keys.ts"

const CHILD = fileURLToPath(new URL("./crash-child.ts", import.meta.url))
const ROUNDS = 10
const RECIPIENTS = ["a@example.test", "b@example.test"]
const now = () => new Date()

/** What the killed processes promised. */
const accepted = new Map<string, number>()
const delivered = new Set<string>()
const lost: string[] = []
let folder: string

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "postern-crash-"))
  for (let round = 0; round < ROUNDS; round++) await killedAfter(randomInt(1, 120))
}, 120_000)

afterAll(() => rmSync(folder, { recursive: true }))

/** One process that works on the folder and is killed after so many lines. */
async function killedAfter(lines: number): Promise<void> {
  const child = spawn(process.execPath, [CHILD, folder], {
    stdio: ["ignore", "pipe", "inherit"],
  })
  const exited = once(child, "exit")
  let seen = 0
  for await (const line of createInterface({ input: child.stdout })) {
    note(line)
    // What it says between this and its death counts as well.
    if (++seen === lines) child.kill("SIGKILL")
  }
  expect(await exited).toEqual([null, "SIGKILL"])
}

function note(line: string): void {
  const [word, id = "", octets] = line.split(" ")
  if (word === "accepted") accepted.set(id, Number(octets))
  else if (word === "delivered") delivered.add(id)
  else lost.push(line)
}

async function recover(): Promise<{ spool: Spool; queue: EmbeddedQueue; report: SweepReport }> {
  const halves = new FolderHalves(join(folder, "data", "spool-keys"))
  const spoolKeys = new SpoolKeys(halves, join(folder, "secrets", "spool"))
  const publicKeys = new SpoolPublicKeys(halves, now)
  const spool = await openFileSpool({ folder: join(folder, "data", "spool"), publicKeys, privateKeys: spoolKeys, now })
  const queue = openEmbeddedQueue(join(folder, "data"), { now, log: silentLog(), onEmptied: (id) => spool.remove(id) })
  return { spool, queue, report: await sweep({ spool, queue, spoolKeys, now, log: silentLog() }) }
}

/** Delivers all that is queued or held. */
async function deliverAll({ queue }: { queue: EmbeddedQueue }): Promise<void> {
  for (const job of await queue.list()) await queue.release(job.id)
  const end = new AbortController()
  const working = queue.work(
    async (job) => {
      delivered.add(job.id)
      return {
        kind: "done",
        status: { recipient: job.recipient, action: "delivered", status: "2.0.0", diagnostic: "" },
      }
    },
    { concurrency: 16, signal: end.signal },
  )
  await expect.poll(async () => (await queue.list()).length, { timeout: 20_000 }).toBe(0)
  end.abort()
  await working
}

const pairs = (id: string) => RECIPIENTS.map((recipient) => jobFor(id, recipient, new Date(0)).id)

describe(`after ${ROUNDS} processes killed at random moments`, () => {
  test("they did some work, and never missed a message that they had a job for", () => {
    expect(accepted.size).toBeGreaterThan(ROUNDS)
    expect(delivered.size).toBeGreaterThan(ROUNDS)
    expect(lost).toEqual([])
  })

  test("every accepted message is delivered or in the spool, whole; nothing is half there", async () => {
    const { spool, queue, report } = await recover()
    expect(report.unreadable).toEqual([])
    const present = new Set<string>()
    for await (const id of spool.ids()) {
      present.add(id)
      await using message = await spool.open(id)
      let octets = 0
      for await (const piece of message?.content() ?? []) octets += piece.length
      expect(octets).toBe(accepted.get(id) ?? message?.entry.sizeOctets)
    }
    const missing = [...accepted.keys()].filter(
      (id) => !present.has(id) && !pairs(id).every((pair) => delivered.has(pair)),
    )
    expect(missing).toEqual([])
    expect(readdirSync(join(folder, "data", "spool")).filter((name) => !present.has(name))).toEqual([])
    const again = await sweep({
      spool,
      queue,
      spoolKeys: { rotate: async () => undefined, replaced: async () => [], destroy: async () => [] },
      now,
      log: silentLog(),
    })
    expect(again).toMatchObject({ queued: [], removed: [], leftovers: 0 })
    await queue[Symbol.asyncDispose]()
    await spool[Symbol.asyncDispose]()
  })

  test("with the queue's file lost on top, all that is in the spool is found again and delivered", async () => {
    for (const suffix of ["", "-wal", "-shm"]) rmSync(join(folder, "data", `queue.db${suffix}`), { force: true })
    const { spool, queue, report } = await recover()
    const present: string[] = []
    for await (const id of spool.ids()) present.push(id)
    expect(report.queued.toSorted()).toEqual(present.toSorted())
    expect((await queue.list()).every((job) => job.attempt === 1)).toBe(true)
    await deliverAll({ queue })
    expect([...accepted.keys()].flatMap(pairs).filter((pair) => !delivered.has(pair))).toEqual([])
    await expect.poll(() => readdirSync(join(folder, "data", "spool"))).toEqual([])
    // The ledger balances: each pair of what was left has one final line.
    for (const id of present)
      expect(
        (await queue.show(id)).audit
          .filter(({ outcome }) => outcome !== "queued")
          .map((row) => [row.recipient, row.outcome])
          .toSorted(),
      ).toEqual(RECIPIENTS.map((recipient) => [recipient, "done"]))
    await queue[Symbol.asyncDispose]()
    await spool[Symbol.asyncDispose]()
  })
})
