import { readdir } from "node:fs/promises"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import type { Config } from "../../src/config/config.ts"
import { parseConfig } from "../../src/config/load.ts"
import { binaryUdf, presentUdf, UDF_TYPE } from "../../src/crypto/udf/udf.ts"
import { Counters } from "../../src/log/counters.ts"
import { silentLog } from "../../src/log/log.ts"
import { maildirOf } from "../../src/mailbox/paths.ts"
import { MailStore } from "../../src/mailbox/store.ts"
import { parseAddress } from "../../src/message/address.ts"
import type { ArrivedMail, MailReceipt } from "../../src/pipeline/mesh/ports.ts"
import type { Result } from "../../src/pipeline/ports.ts"
import { stored } from "../../src/pipeline/settle.ts"
import { type EmbeddedQueue, openEmbeddedQueue } from "../../src/queue/embedded.ts"
import { type Job, jobFor } from "../../src/queue/queue.ts"
import { sweep } from "../../src/queue/sweep.ts"
import { openFileSpool } from "../../src/store/file-spool.ts"
import { KeptMeshMail } from "../../src/store/mesh-mail.ts"
import { thisProcess } from "../../src/store/process.ts"
import { FolderHalves } from "../../src/store/public-halves.ts"
import type { Spool } from "../../src/store/spool.ts"
import { SpoolKeys, SpoolPublicKeys } from "../../src/store/spool-keys.ts"
import { openEmbeddedState } from "../../src/store/state.ts"
import { MailKeeper, type MailKeeperParts } from "../../src/wire/kept-mail.ts"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { insertMeshAccounts } from "../store/conformance/mesh-stores.ts"
import { newEntry } from "../store/conformance/new-entry.ts"

const BOB = "bob@example.test"
/** A process of this host that is no more. */
const DEAD = thisProcess().replace(/\d+$/, "1")
const ELSEWHERE = "another-host/1/1"
const TO_BOB = { address: parseAddress(BOB), notify: null, originalRecipient: null }
let clock: Date
const now = () => clock
let folder: TemporaryFolder
let config: Config
let database: ReturnType<typeof openEmbeddedState>
let spool: Spool
let spoolKeys: SpoolKeys
let queue: EmbeddedQueue
let mailboxes: MailStore
let counters: Counters

beforeEach(async () => {
  clock = new Date("2026-11-27T12:00:00Z")
  folder = await temporaryFolder()
  config = parseConfig('domains = ["example.test"]\nhostname = "mx.example.test"\n', folder.file("postern.toml"))
  database = openEmbeddedState(folder.file("state"))
  insertMeshAccounts(database, BOB)
  const halves = new FolderHalves(folder.file("spool-keys"))
  spoolKeys = new SpoolKeys(halves, folder.file("secrets"))
  await spoolKeys.rotate(clock)
  const publicKeys = new SpoolPublicKeys(halves, now)
  spool = await openFileSpool({ folder: folder.file("spool"), publicKeys, privateKeys: spoolKeys, now })
  queue = openEmbeddedQueue(folder.file("data"), { now, log: silentLog(), onEmptied: (id) => spool.remove(id) })
  mailboxes = new MailStore(folder.file("mail"), { now })
  counters = new Counters()
})

afterEach(async () => {
  await queue[Symbol.asyncDispose]()
  await spool[Symbol.asyncDispose]()
  await mailboxes[Symbol.asyncDispose]()
  database.close()
  await folder[Symbol.asyncDispose]()
})

const idOf = (number: number) => `${number}`.padStart(40, "0")
const some = (count: number, number: number) => new Uint8Array(count).fill(number)

/** A mail as it arrives now. */
function arriving(number = 1): ArrivedMail {
  const messageId = presentUdf(binaryUdf(UDF_TYPE.nonce, some(16, number)))
  const names = { recipient: "MBOB", messageId, sender: "MALI", salt: some(16, number) }
  const mail = { ...names, digest: some(64, number), payloadDigest: some(64, number) }
  const standing = new KeptMeshMail(database).look(mail)
  if (standing === "accepted") throw new Error("nobody asks for it to be kept")
  const entry = newEntry()
  return {
    id: idOf(number),
    entry: {
      ...entry,
      receivedAt: clock,
      envelope: { ...entry.envelope, recipients: [TO_BOB] },
      origin: { ...entry.origin, kind: "mesh", account: BOB },
    },
    message: some(12_000, number),
    mail,
    isEnclosed: true,
    begun: typeof standing === "object" ? standing : null,
  }
}

/** Into Bob's mailbox, as an attempt at the job does. */
async function store(job: Job) {
  async function* content(): AsyncIterable<Uint8Array> {
    yield Buffer.from("Subject: x\r\n\r\n")
  }
  const repeated = job.attempt > 0
  await mailboxes.deliver(BOB, {
    uniqueName: job.spoolId,
    sizeOctets: 14,
    content: content(),
    internalDate: clock,
    repeated,
  })
  return stored(BOB, "stored")
}

function keeperWith(parts: Partial<MailKeeperParts> = {}) {
  const atOnce = { store: ({ job }: { readonly job: Job }) => store(job), passed: queue.passed.bind(queue) }
  const core = { config, counters, database, log: silentLog(), now, spool }
  return new MailKeeper({ core, queue, atOnce, ...parts }, new KeptMeshMail(database))
}

/** As a service does with what comes in a request. */
async function kept(keeper: MailKeeper, mail = arriving()): Promise<MailReceipt["kind"]> {
  const receipt = await keeper.keep(mail)
  if (receipt.kind === "accepted") await receipt.remember?.()
  return receipt.kind
}

async function inMailbox(): Promise<number> {
  const places = ["new", "cur"].map((place) => readdir(join(maildirOf(folder.file("mail"), BOB), place)))
  return (await Promise.all(places.map((names) => names.catch(() => [])))).flat().length
}

/** Works what is queued. @returns the attempts that the jobs began with */
async function work(): Promise<number[]> {
  const begun: number[] = []
  const ending = new AbortController()
  const handler = (job: Job) => {
    begun.push(job.attempt)
    return store(job)
  }
  // What is added, and not waited for, is added by then.
  await queue.add()
  const working = queue.work(handler, { concurrency: 2, signal: ending.signal })
  while ((await queue.list()).length > 0) await new Promise((resolve) => setImmediate(resolve))
  ending.abort()
  await working
  return begun
}

async function record(): Promise<string[]> {
  return (await queue.show(idOf(1))).audit.map(({ outcome }) => outcome)
}

async function spooled(): Promise<number> {
  let count = 0
  for await (const _ of spool.ids()) count += 1
  return count
}

describe("mail that is whole", () => {
  test("is in the mailbox and in the record when its service hears that it was accepted, and nowhere else", async () => {
    const keeper = keeperWith()
    expect(await kept(keeper)).toBe("accepted")
    expect([await inMailbox(), await spooled(), await record()]).toEqual([1, 0, ["queued", "done"]])
    expect(await counters.text()).toContain('postern_deliveries_total{outcome="done"} 1')
    // It comes again, since the answer was lost.
    expect(await kept(keeper)).toBe("accepted")
    expect([await inMailbox(), await spooled(), await record()]).toEqual([1, 0, ["queued", "done"]])
  })

  test("that comes twice at the same time is stored once", async () => {
    const times: string[] = []
    const counting = ({ job }: { readonly job: Job }) => {
      times.push(job.spoolId)
      return store(job)
    }
    const keeper = keeperWith({ atOnce: { store: counting, passed: queue.passed.bind(queue) } })
    const [first, second] = [arriving(), arriving()]
    expect(await Promise.all([kept(keeper, first), kept(keeper, second)])).toEqual(["accepted", "accepted"])
    expect([times, await inMailbox(), await record()]).toEqual([[idOf(1)], 1, ["queued", "done"]])
  })

  test("that is in the record, and not remembered any more, is done", async () => {
    await queue.passed(jobFor(idOf(1), BOB, clock), stored(BOB, "stored").status)
    expect(await kept(keeperWith())).toBe("accepted")
    expect([await inMailbox(), await spooled(), await record()]).toEqual([0, 0, ["queued", "done"]])
  })

  test.each([
    [
      "is not taken",
      async () =>
        ({
          kind: "retry",
          status: { recipient: BOB, action: "delayed", status: "4.2.2", diagnostic: "full" },
        }) as const,
    ],
    ["is held", async () => ({ kind: "hold", reason: "no" }) as const],
    ["fails for a fault of ours", () => Promise.reject(new Error("fault"))],
  ])("and %s there waits in spool and queue, as what may be there", async (_what, failing) => {
    const atOnce = { store: failing, passed: queue.passed.bind(queue) }
    const keeper = keeperWith({ atOnce })
    expect(await kept(keeper)).toBe("accepted")
    expect([await inMailbox(), await spooled()]).toEqual([0, 1])
    // It comes again meanwhile.
    expect(await kept(keeper)).toBe("accepted")
    expect(await work()).toEqual([1])
    expect([await inMailbox(), await spooled(), await record()]).toEqual([1, 0, ["queued", "done"]])
  })

  test("goes through the queue where nobody stores it at once, where more come than are delivered at once, and where it is in the spool", async () => {
    expect(await kept(keeperWith({ atOnce: null }))).toBe("accepted")
    expect(await kept(keeperWith(), { ...arriving(2), isEnclosed: false })).toBe("accepted")
    await spool.write(arriving(3).entry, bytes(arriving(3).message), arriving(3).id)
    expect(await kept(keeperWith(), arriving(3))).toBe("accepted")
    expect(await inMailbox()).toBe(0)
    const { promise: waiting, resolve: goOn } = Promise.withResolvers<void>()
    const passed = queue.passed.bind(queue)
    const atOnce = { store: ({ job }: { readonly job: Job }) => waiting.then(() => store(job)), passed }
    const narrow = { ...config, limits: { ...config.limits, deliveries: 1 } }
    const keeper = keeperWith({ atOnce, core: { config: narrow, counters, database, log: silentLog(), now, spool } })
    const first = kept(keeper, arriving(4))
    expect(await kept(keeper, arriving(5))).toBe("accepted")
    goOn()
    expect(await first).toBe("accepted")
    expect(await inMailbox()).toBe(1)
    expect(await work()).toEqual([0, 0, 0, 0])
    expect(await inMailbox()).toBe(5)
  })
})

async function* bytes(octets: Uint8Array): AsyncIterable<Uint8Array> {
  yield octets
}

describe("mail that somebody has begun with", () => {
  const begunBy = (keeper: string) => new KeptMeshMail(database).add([arriving().mail], clock, keeper)

  test("and who lives is left to him: its service comes again", async () => {
    begunBy(ELSEWHERE)
    expect([await kept(keeperWith()), await inMailbox(), await spooled()]).toEqual(["later", 0, 0])
    clock = new Date(clock.getTime() + 600_001)
    expect([await kept(keeperWith()), await spooled()]).toEqual(["accepted", 1])
    expect(await work()).toEqual([1])
  })

  test("and who is dead may be in the mailbox: it is looked for there", async () => {
    begunBy(DEAD)
    await store(jobFor(idOf(1), BOB, clock))
    expect(await kept(keeperWith())).toBe("accepted")
    expect(await work()).toEqual([1])
    expect([await inMailbox(), await record()]).toEqual([1, ["queued", "done"]])
  })

  test("and who has said what came of it is done", async () => {
    begunBy(ELSEWHERE)
    await queue.passed(jobFor(idOf(1), BOB, clock), stored(BOB, "stored").status)
    expect([await kept(keeperWith()), await spooled()]).toEqual(["accepted", 0])
  })
})

describe("a process that dies keeps no mail twice, and loses none", () => {
  /** One life, which ends at the given step of what it does; nobody hears of it. */
  async function life(deathAt: number, keeper: string, isTaken = true): Promise<MailReceipt["kind"] | "died"> {
    let step = 0
    const { promise: death, resolve: die } = Promise.withResolvers<"died">()
    const end = () => {
      die("died")
      return new Promise<never>(() => undefined)
    }
    const dying =
      <Given extends readonly unknown[], Found>(act: (...given: Given) => Promise<Found>) =>
      async (...given: Given): Promise<Found> => {
        if (++step >= deathAt) return end()
        const found = await act(...given)
        return ++step >= deathAt ? end() : found
      }
    const storing = async ({ job }: { readonly job: Job }): Promise<Result> =>
      isTaken ? store(job) : { kind: "hold", reason: "no" }
    const dyingKeeper = keeperWith({
      core: {
        ...{ config, counters, database, log: silentLog(), now },
        spool: { ...spool, has: dying(spool.has.bind(spool)), write: dying(spool.write.bind(spool)) } as Spool,
      },
      queue: { add: dying(queue.add.bind(queue)), settled: dying(queue.settled.bind(queue)) },
      atOnce: {
        store: dying(storing),
        passed: dying(queue.passed.bind(queue)),
      },
      keeper,
    })
    return Promise.race([kept(dyingKeeper), death])
  }

  // Asked, looked for, stored, written down, before and after; or spooled and queued instead.
  for (const isTaken of [true, false])
    for (let deathAt = 1; deathAt <= (isTaken ? 8 : 14); deathAt++)
      for (const swept of [false, true])
        test(`at step ${deathAt} of mail that the mailbox ${isTaken ? "takes" : "does not take"}${swept ? ", swept" : ""}`, async () => {
          const outcome = await life(deathAt, DEAD, isTaken)
          if (swept) await sweep({ spool, queue, spoolKeys, now, log: silentLog() })
          const before = swept ? await work() : []
          // Another second is another name in the mailbox.
          clock = new Date(clock.getTime() + 2_000)
          // Who was not told sends it again.
          if (outcome === "died" && new KeptMeshMail(database).look(arriving().mail) !== "accepted")
            expect(await kept(keeperWith())).toBe("accepted")
          await work()
          expect(before.length).toBeLessThanOrEqual(1)
          expect([await inMailbox(), await spooled()]).toEqual([1, 0])
          expect((await record()).filter((line) => line === "done")).toEqual(["done"])
        })
})
