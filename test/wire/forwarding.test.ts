import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { silentLog } from "../../src/log/log.ts"
import { formatAddress, parseAddress } from "../../src/message/address.ts"
import { forward } from "../../src/pipeline/forward.ts"
import { collect } from "../../src/pipeline/prepared.ts"
import { type EmbeddedQueue, openEmbeddedQueue } from "../../src/queue/embedded.ts"
import { type Job, jobsFor } from "../../src/queue/queue.ts"
import { sweep } from "../../src/queue/sweep.ts"
import { openFileSpool } from "../../src/store/file-spool.ts"
import { FolderHalves } from "../../src/store/public-halves.ts"
import type { Spool } from "../../src/store/spool.ts"
import { SpoolKeys, SpoolPublicKeys } from "../../src/store/spool-keys.ts"
import type { Core } from "../../src/wire/core.ts"
import { spoolOnce } from "../../src/wire/spool-once.ts"
import { forwardingOf, reportsOf } from "../../src/wire/worker.ts"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { newEntry } from "../store/conformance/new-entry.ts"

const NOW = new Date("2026-11-27T10:00:00Z")
const now = () => NOW
const TARGETS = ["Bob@else.test", "carol@else.test"].map((address) => ({ target: parseAddress(address), clear: false }))
const ALIAS = { address: parseAddress("sales@example.test"), notify: null, originalRecipient: null }
let folder: TemporaryFolder
let spool: Spool
let spoolKeys: SpoolKeys
let queue: EmbeddedQueue

beforeEach(async () => {
  folder = await temporaryFolder()
  const halves = new FolderHalves(folder.file("spool-keys"))
  spoolKeys = new SpoolKeys(halves, folder.file("secrets"))
  await spoolKeys.rotate(NOW)
  const publicKeys = new SpoolPublicKeys(halves, now)
  spool = await openFileSpool({ folder: folder.file("spool"), publicKeys, privateKeys: spoolKeys, now })
  queue = openEmbeddedQueue(folder.file("data"), { now, log: silentLog(), onEmptied: (id) => spool.remove(id) })
})

afterEach(async () => {
  await queue[Symbol.asyncDispose]()
  await spool[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
})

async function* text(): AsyncIterable<Uint8Array> {
  yield Buffer.from("Subject: x\r\n\r\ntext\r\n")
}

async function accept(): Promise<string> {
  return await spool.write({ ...newEntry(), origin: { ...newEntry().origin, kind: "mx", account: null } }, text())
}

/** One attempt at the alias, which dies at the given step of spool or queue. */
async function attempt(id: string, deathAt = Number.POSITIVE_INFINITY): Promise<void> {
  let step = 0
  const dying =
    <Given extends readonly unknown[], Found>(act: (...given: Given) => Promise<Found>) =>
    async (...given: Given): Promise<Found> => {
      if (++step === deathAt) throw new Error("killed")
      const found = await act(...given)
      if (++step === deathAt) throw new Error("killed")
      return found
    }
  const places = {
    spool: { ...spool, write: dying(spool.write.bind(spool)) } as Spool,
    queue: { add: dying(queue.add.bind(queue)), settled: dying(queue.settled.bind(queue)) },
  }
  await using message = await spool.open(id)
  if (message === null) throw new Error("gone")
  await forward(message, id, ALIAS, TARGETS, { forwarding: forwardingOf(places, places.queue), now })
}

/** Works what is due. @returns what was sent, as recipient and message */
async function work(): Promise<string[]> {
  const sent: string[] = []
  const ending = new AbortController()
  const handler = async ({ spoolId, recipient }: Job) => {
    await using message = await spool.open(spoolId)
    sent.push(`${recipient} ${spoolId} ${message && Buffer.from(await collect(message.content())).toString().length}`)
    return { kind: "done", status: { recipient, action: "relayed", status: "2.0.0", diagnostic: "" } } as const
  }
  const working = queue.work(handler, { concurrency: 2, signal: ending.signal })
  while ((await queue.list()).length > 0) await new Promise((resolve) => setImmediate(resolve))
  ending.abort()
  await working
  return sent.sort()
}

async function stored(): Promise<number> {
  let count = 0
  for await (const _ of spool.ids()) count++
  return count
}

describe("an attempt that dies sends nobody two, and loses none", () => {
  // Asked, written, asked again, queued, for each of two, before and after.
  for (let death = 1; death <= 17; death++)
    test(`at step ${death}, and is made again at once`, async () => {
      const id = await accept()
      if (death <= 16) await expect(attempt(id, death)).rejects.toThrow("killed")
      await attempt(id)
      const sent = await work()
      expect(sent.map((line) => line.split(" ")[0])).toEqual(["bob@else.test", "carol@else.test"])
      expect(await stored()).toBe(1)
    })

  for (let death = 1; death <= 17; death++)
    test(`at step ${death}, and is made again after a sweep, when what it had sent on is gone`, async () => {
      const id = await accept()
      if (death <= 16) await expect(attempt(id, death)).rejects.toThrow("killed")
      const own = await spool.open(id)
      await own?.[Symbol.asyncDispose]()
      const ids = {
        async *ids() {
          for await (const one of spool.ids()) if (one !== id) yield one
        },
      }
      const tidied = {
        ...ids,
        open: spool.open.bind(spool),
        remove: spool.remove.bind(spool),
        removeLeftovers: async () => 0,
        keysInUse: async () => null,
      }
      await sweep({ spool: tidied, queue, spoolKeys, now, log: silentLog() })
      const before = await work()
      await attempt(id)
      const sent = [...before, ...(await work())].sort()
      expect(sent.map((line) => line.split(" ")[0])).toEqual(["bob@else.test", "carol@else.test"])
      expect(await stored()).toBe(1)
    })
})

test("whose job comes through while it is spooled once more is not left in the spool", async () => {
  const [id, entry] = ["forwarded00000000", newEntry()]
  const overtaken = {
    ...spool,
    remove: spool.remove.bind(spool),
    write: async (...given: Parameters<Spool["write"]>) => {
      await queue.add(...jobsFor(id, entry.envelope, NOW))
      await work()
      return await spool.write(...given)
    },
  } as Spool
  const { queued } = await spoolOnce({ spool: overtaken }, queue, id, entry, text())
  await queued
  expect([await stored(), await queue.list()]).toEqual([0, []])
})

test("a report of ours that is made again after it was sent is not left in the spool", async () => {
  const core = { spool, config: { hostname: "mx.example.test" }, now } as Core
  const report = {
    name: "report0000000000",
    to: parseAddress("bob@else.test"),
    octets: Buffer.from("Subject: x\r\n\r\n"),
  }
  for (const sent of [["bob@else.test"], []]) {
    await reportsOf(core, queue).submit(report)
    expect((await work()).map((line) => line.split(" ")[0])).toEqual(sent)
  }
  expect(await stored()).toBe(0)
})

test("what is sent on is the same content in the sender's name, for one target, and its sender is told of no success", async () => {
  const id = await accept()
  const asked = { ...ALIAS, notify: ["SUCCESS"] as const, originalRecipient: "rfc822;sales@example.test" }
  await using message = await spool.open(id)
  if (message === null) throw new Error("gone")
  await forward(message, id, asked, TARGETS, { forwarding: forwardingOf({ spool }, queue), now })
  const [first] = await queue.list()
  await using found = await spool.open(first?.spoolId ?? "")
  expect(first?.spoolId.slice(0, 9)).toBe(id.slice(0, 9))
  expect(found?.entry.origin).toMatchObject({ kind: "forward", account: null, remote: "::1", alias: ALIAS.address })
  expect(found?.entry.envelope).toMatchObject({
    sender: newEntry().envelope.sender,
    requireTls: true,
    envelopeId: "envelope-canary",
    recipients: [{ notify: ["NEVER"], originalRecipient: "rfc822;sales@example.test" }],
  })
  expect(found?.entry.envelope.recipients.map(({ address }) => formatAddress(address))).toEqual(["Bob@else.test"])
})
