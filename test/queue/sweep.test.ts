import { cpSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, expect, test } from "vitest"
import { silentLog } from "../../src/log/log.ts"
import { parseAddress } from "../../src/message/address.ts"
import { type EmbeddedQueue, openEmbeddedQueue } from "../../src/queue/embedded.ts"
import { jobsFor } from "../../src/queue/queue.ts"
import { AUDIT_KEPT_MS, type SweepOptions, startSweeping, sweep } from "../../src/queue/sweep.ts"
import { openFileSpool } from "../../src/store/file-spool.ts"
import { FolderHalves } from "../../src/store/public-halves.ts"
import type { Spool } from "../../src/store/spool.ts"
import { SpoolKeys, SpoolPublicKeys } from "../../src/store/spool-keys.ts"

const DAY_MS = 86_400_000
const START = new Date("2026-01-02T03:04:05Z")
let folder: string
let clock: Date
let spool: Spool
let queue: EmbeddedQueue
let options: SweepOptions

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "postern-sweep-"))
  clock = START
  const now = () => clock
  const halves = new FolderHalves(join(folder, "data", "spool-keys"))
  const spoolKeys = new SpoolKeys(halves, join(folder, "secrets", "spool"))
  await spoolKeys.rotate(now())
  const publicKeys = new SpoolPublicKeys(halves, now)
  spool = await openFileSpool({ folder: join(folder, "data", "spool"), publicKeys, privateKeys: spoolKeys, now })
  queue = openEmbeddedQueue(join(folder, "data"), { now, log: silentLog(), onEmptied: async () => undefined })
  options = { spool, queue, spoolKeys, now, log: silentLog() }
})

afterEach(async () => {
  await queue[Symbol.asyncDispose]()
  await spool[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

const envelope = {
  sender: null,
  recipients: ["a@example.test", "b@example.test", "A@example.test"].map((address) => ({
    address: parseAddress(address),
    notify: null,
    originalRecipient: null,
  })),
  smtpUtf8: false,
  envelopeId: null,
  returnContent: null,
}

async function* text(): AsyncIterable<Uint8Array> {
  yield new TextEncoder().encode("text")
}

async function accept(): Promise<string> {
  const origin = { kind: "mx", account: null, device: null, remote: "", helo: "", tls: false } as const
  return await spool.write({ envelope, origin, received: "", receivedAt: clock }, text())
}

const nothing = { queued: [], removed: [], unreadable: [], leftovers: 0, destroyedKeys: [] }

test("queues a message that has no job, as a repeat, once for each recipient", async () => {
  const id = await accept()
  expect(await sweep(options)).toEqual({ ...nothing, queued: [id] })
  expect((await queue.list()).map((job) => [job.spoolId, job.recipient, job.attempt, job.queuedAt])).toEqual([
    [id, "a@example.test", 1, START],
    [id, "b@example.test", 1, START],
  ])
  expect(await sweep(options)).toEqual(nothing)
})

test("leaves alone what has a job, be it held", async () => {
  const id = await accept()
  const [first] = jobsFor(id, envelope, clock)
  if (first) await queue.add(first)
  await queue.hold(id, "wait")
  expect(await sweep(options)).toEqual(nothing)
})

test("queues only recipients that were not settled, and removes what is settled for all", async () => {
  const id = await accept()
  const [first, second] = jobsFor(id, envelope, clock)
  if (!first || !second) throw new Error("two recipients")
  await queue.add(first)
  await queue.drop(first.id)
  expect(await sweep(options)).toEqual({ ...nothing, queued: [id] })
  expect((await queue.list()).map((job) => job.recipient)).toEqual(["b@example.test"])
  await queue.drop(second.id)
  expect(await sweep(options)).toEqual({ ...nothing, removed: [id] })
  expect(await spool.open(id)).toBeNull()
})

test("leaves what it cannot read where it is, and goes on", async () => {
  const [bad, good] = [await accept(), await accept()].toSorted()
  const path = join(folder, "data", "spool", bad ?? "")
  writeFileSync(path, readFileSync(path).fill(0, 100, 101))
  expect(await sweep(options)).toEqual({ ...nothing, queued: [good], unreadable: [bad] })
  expect(readFileSync(path).length).toBeGreaterThan(0)
})

test("rotates the spool key daily, and destroys an old one when its last message is gone", async () => {
  const secrets = () => readdirSync(join(folder, "secrets", "spool"))
  const [first] = secrets()
  const id = await accept()
  clock = new Date(START.getTime() + DAY_MS)
  await sweep(options)
  expect(secrets()).toHaveLength(2)
  clock = new Date(START.getTime() + 2 * DAY_MS)
  expect((await sweep(options)).destroyedKeys).toEqual([])
  await spool.remove(id)
  expect((await sweep(options)).destroyedKeys).toEqual([first?.replace(".key", "")])
  expect(secrets()).not.toContain(first)
})

test("a copy of data/ that is a week old brings back what was sent, but nobody can open it, and so it is not sent again", async () => {
  const id = await accept()
  cpSync(join(folder, "data"), join(folder, "copy"), { recursive: true })
  await queue.add(...jobsFor(id, envelope, clock))
  await queue.drop(id)
  await spool.remove(id)
  for (const day of [1, 2, 7]) {
    clock = new Date(START.getTime() + day * DAY_MS)
    await sweep(options)
  }
  await queue[Symbol.asyncDispose]()
  rmSync(join(folder, "data"), { recursive: true })
  renameSync(join(folder, "copy"), join(folder, "data"))
  queue = openEmbeddedQueue(join(folder, "data"), {
    now: () => clock,
    log: silentLog(),
    onEmptied: async () => undefined,
  })
  expect(await sweep({ ...options, queue })).toMatchObject({ queued: [], removed: [], unreadable: [id] })
  await expect(spool.open(id)).rejects.toMatchObject({ code: "SPOOL_KEY_MISSING" })
})

test("forgets the record of settled messages after 30 days", async () => {
  const id = await accept()
  await queue.add(...jobsFor(id, envelope, clock))
  await queue.drop(id)
  await spool.remove(id)
  clock = new Date(START.getTime() + AUDIT_KEPT_MS)
  await sweep(options)
  expect((await queue.show(id)).audit).toHaveLength(4)
  clock = new Date(START.getTime() + AUDIT_KEPT_MS + 1)
  await sweep(options)
  expect((await queue.show(id)).audit).toEqual([])
})

test("has swept once when it has started", async () => {
  const id = await accept()
  await using _sweeping = await startSweeping(options, { onReturn: () => undefined })
  expect((await queue.list()).map((job) => job.spoolId)).toEqual([id, id])
})

test("sweeps when the state is back", async () => {
  const returned = Promise.withResolvers<() => void>()
  await using _sweeping = await startSweeping(options, { onReturn: returned.resolve })
  const id = await accept()
  const back = await returned.promise
  back()
  await expect.poll(async () => (await queue.list()).map((job) => job.spoolId)).toEqual([id, id])
})
