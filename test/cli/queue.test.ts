import { once } from "node:events"
import { readdirSync } from "node:fs"
import { afterAll, beforeAll, expect, test } from "vitest"
import { silentLog } from "../../src/log/log.ts"
import { parseAddress } from "../../src/message/address.ts"
import { openEmbeddedQueue } from "../../src/queue/embedded.ts"
import { jobFor, jobsFor, type Outcome } from "../../src/queue/queue.ts"
import { openFileSpool } from "../../src/store/file-spool.ts"
import { FolderHalves } from "../../src/store/public-halves.ts"
import { SpoolKeys, SpoolPublicKeys } from "../../src/store/spool-keys.ts"
import { eventually, Instance } from "../harness/instance.ts"
import type { Finished } from "../harness/peers.ts"

const now = () => new Date()
const RECEIVED_AT = new Date(Date.now() - 3 * 3_600_000)

let instance: Instance
beforeAll(async () => {
  instance = await Instance.create()
})
afterAll(() => instance[Symbol.asyncDispose]())

const json = async (...args: string[]): Promise<unknown> => JSON.parse(await instance.must(...args, "--json"))
/** What the queue holds, asked without the cost of a command. */
async function jobsNow() {
  await using queue = openEmbeddedQueue(`${instance.folder}/data`, {
    now,
    log: silentLog(),
    onEmptied: async () => undefined,
  })
  return queue.list()
}
const told = ({ code, stdout, stderr }: Finished) => [code, Buffer.from(stdout).toString(), stderr]

/** Accepts a message as the MX does, and makes one attempt for each recipient. @returns the spool id */
async function accept(outcomes: Readonly<Record<string, Outcome["kind"]>>): Promise<string> {
  const halves = new FolderHalves(`${instance.folder}/data/spool-keys`)
  const keys = new SpoolKeys(halves, `${instance.folder}/secrets/spool`)
  await keys.rotate(now())
  await using spool = await openFileSpool({
    folder: `${instance.folder}/data/spool`,
    publicKeys: new SpoolPublicKeys(halves, now),
    privateKeys: null,
    now,
  })
  const recipients = Object.keys(outcomes).map((address) => ({
    address: parseAddress(address),
    notify: null,
    originalRecipient: null,
  }))
  const sender = parseAddress("carol@elsewhere.test")
  const envelope = { sender, recipients, smtpUtf8: false, envelopeId: null, returnContent: null }
  const origin = {
    kind: "mx" as const,
    account: null,
    device: null,
    remote: "192.0.2.7",
    helo: "mx.elsewhere.test",
    tls: true,
  }
  const content = "Subject: queue-canary\r\n\r\nHello.\r\n"
  const id = await spool.write(
    { envelope, origin, received: "Received: by example.test\r\n", receivedAt: RECEIVED_AT },
    (async function* () {
      yield new TextEncoder().encode(content)
    })(),
  )
  await using queue = openEmbeddedQueue(`${instance.folder}/data`, {
    now,
    log: silentLog(),
    onEmptied: (spoolId) => spool.remove(spoolId),
  })
  const jobs = jobsFor(id, envelope, RECEIVED_AT)
  await queue.add(...jobs)
  const done = new AbortController()
  let attempts = 0
  await queue.work(
    async (job) => {
      attempts += 1
      if (attempts === jobs.length) done.abort()
      return outcome(outcomes[job.recipient] ?? "done", job.recipient)
    },
    { concurrency: jobs.length, signal: done.signal },
  )
  return id
}

function outcome(kind: Outcome["kind"], recipient: string): Outcome {
  const status = { recipient, action: "delayed", status: "4.4.1", diagnostic: "connection refused" } as const
  switch (kind) {
    case "done":
      return { kind, status: { ...status, action: "delivered", status: "2.0.0", diagnostic: "stored" } }
    case "failed":
      return { kind, status: { ...status, action: "failed", status: "5.1.1", diagnostic: "no such person" } }
    case "retry":
      return { kind, at: new Date(Date.now() + 3_600_000), status }
    case "hold":
      return { kind, reason: "no answer from the key directory" }
    default:
      return kind satisfies never
  }
}

test("an empty queue", async () => {
  const [listed, stats] = await Promise.all([instance.must("queue", "list"), json("queue", "stats")])
  expect(listed).toBe("the queue is empty\n")
  expect(stats).toMatchObject({ ready: 0, held: 0, messages: 0, oldest: null, nextAttempt: null })
})

test("unknown ids and missing ones", async () => {
  const rows: [args: string[], code: number, message: RegExp][] = [
    [["queue", "show", "nix"], 1, /^postern: queue nix: no job and no message of this id\n$/],
    [["queue", "drop", "nix"], 1, /^postern: queue nix: no job/],
    [["queue", "drop"], 2, /^postern: missing required argument/],
    [["queue", "explode"], 2, /^postern: unknown command 'explode'/],
  ]
  const done = await Promise.all(rows.map(([args]) => instance.postern(...args)))
  for (const [index, [args, code, message]] of rows.entries())
    expect([args, ...(done[index] ? told(done[index]) : [])]).toEqual([args, code, "", expect.stringMatching(message)])
})

test("list tells sender, recipient, age, attempts and the last answer; nothing of the content", async () => {
  const id = await accept({ "dave@elsewhere.test": "retry", "erin@elsewhere.test": "hold", "bob@b.test": "done" })
  const [text, jobs, shown] = await Promise.all([
    instance.must("queue", "list"),
    json("queue", "list"),
    json("queue", "show", id),
  ])
  expect(jobs).toEqual([
    {
      id: expect.stringMatching(new RegExp(`^${id}-[0-9a-f]{16}$`)),
      spoolId: id,
      state: "delayed",
      sender: "carol@elsewhere.test",
      recipient: "dave@elsewhere.test",
      sizeOctets: 33,
      queuedAt: RECEIVED_AT.toISOString(),
      attempts: 1,
      dueAt: expect.any(String),
      lastStatus: expect.objectContaining({ status: "4.4.1", diagnostic: "connection refused" }),
      holdReason: null,
      anyway: false,
      worker: null,
    },
    expect.objectContaining({ state: "held", dueAt: null, holdReason: "no answer from the key directory" }),
  ])
  expect(text).toMatch(
    / {2}delayed {2}carol@elsewhere.test -> dave@elsewhere.test {2}3h, 33 octets, 1 attempt, next in /,
  )
  expect(text).toContain("    last: 4.4.1 connection refused\n")
  expect(text).toContain("    held: no answer from the key directory\n")
  expect(shown).toMatchObject({
    message: { sender: "carol@elsewhere.test", origin: { kind: "mx", remote: "192.0.2.7", tls: true } },
    jobs: [{ state: "delayed" }, { state: "held" }],
    audit: [
      ...["dave@elsewhere.test", "erin@elsewhere.test", "bob@b.test"].map((recipient) => ({
        recipient,
        outcome: "queued",
      })),
      { recipient: "erin@elsewhere.test", outcome: "held" },
      { recipient: "bob@b.test", outcome: "done" },
    ],
  })
  // The seed makes the message's content keys.
  expect(`${text}${JSON.stringify([jobs, shown])}`).not.toMatch(/queue-canary|seed/)
})

test("audit finds every recipient in one place", async () => {
  const [text, found] = await Promise.all([instance.must("queue", "audit"), json("queue", "audit")])
  expect(found).toMatchObject({ recipients: { delivered: 1, held: 1, queued: 1 }, unknown: [], faults: [] })
  expect(text).toMatch(/^since [\d-]+: 1 messages, 3 recipients\n(.+\n)+each of them is in one place\n$/)
  const { code, stderr } = await instance.postern("queue", "audit", "--since", "yesterday")
  expect([code, stderr]).toEqual([2, expect.stringContaining("must be a day such as")])
})

test("release --anyway is for what an alias sends on, and for what is held", async () => {
  const [delayed = "", held = ""] = (await jobsNow()).map(({ id }) => id)
  const [mail, waiting] = await Promise.all([
    instance.postern("queue", "release", held, "--anyway"),
    instance.postern("queue", "release", delayed, "--anyway"),
  ])
  expect(told(mail)).toEqual([
    1,
    "",
    expect.stringMatching(/^postern: queue release .*: --anyway is for what an alias sends on/),
  ])
  expect(told(waiting)[2]).toMatch(/no job of it is held/)
  expect(await jobsNow()).toMatchObject([{ state: "delayed" }, { state: "held" }])
})

test("hold, release, retry and drop, by job and by message, each in its state only", async () => {
  const [delayed, held] = (await jobsNow()).map(({ id }) => id)
  if (delayed === undefined || held === undefined) throw new Error("the test before left no jobs")
  const [retried, released] = await Promise.all([
    instance.postern("queue", "retry", held),
    instance.postern("queue", "release", delayed),
  ])
  expect(told(retried)).toEqual([1, "", `postern: queue retry ${held}: held; release it\n`])
  expect(told(released)[2]).toMatch(/no job of it is held/)
  await instance.must("queue", "hold", delayed, "--reason", "looks like a loop")
  expect(await jobsNow()).toMatchObject([{ state: "held", holdReason: "looks like a loop" }, { state: "held" }])
  // What is held already stays so, for the reason it has.
  expect(await instance.must("queue", "hold", delayed)).toBe(`${delayed} to dave@elsewhere.test: held\n`)
  expect(await jobsNow()).toMatchObject([{ holdReason: "looks like a loop" }, { state: "held" }])
  const spoolId = delayed.slice(0, delayed.lastIndexOf("-"))
  expect(await json("queue", "release", spoolId)).toEqual({
    act: "release",
    jobs: [
      { id: delayed, recipient: "dave@elsewhere.test", state: "ready" },
      { id: held, recipient: "erin@elsewhere.test", state: "ready" },
    ],
  })
  expect(await instance.must("queue", "retry", delayed)).toBe(`${delayed} to dave@elsewhere.test: is tried now\n`)
  expect(await instance.must("queue", "drop", held)).toBe(`${held} to erin@elsewhere.test: dropped\n`)
  expect(await jobsNow()).toMatchObject([{ state: "ready" }])
  expect(readdirSync(`${instance.folder}/data/spool`)).toContain(spoolId)
  await instance.must("queue", "drop", spoolId)
  // The last job takes the message with it.
  expect(readdirSync(`${instance.folder}/data/spool`)).toEqual([])
  const [again, shown] = await Promise.all([
    instance.postern("queue", "drop", spoolId),
    instance.must("queue", "show", spoolId),
  ])
  expect(told(again)[2]).toMatch(/all its recipients are settled already/)
  expect(shown).toMatch(/Z {2}dropped {2}erin@elsewhere.test/)
})

test("with a server beside it: what is released and retried is delivered", async () => {
  await instance.must("account", "add", "alice@example.test")
  const held = await accept({ "alice@example.test": "hold", "gone@elsewhere.test": "failed" })
  const delayed = await accept({ "alice@example.test": "retry" })
  await instance.serve()
  expect(await json("queue", "stats")).toMatchObject({ held: 1, delayed: 1, failed: 1, messages: 2 })
  await Promise.all([instance.must("queue", "release", held), instance.must("queue", "retry", delayed)])
  await eventually("both messages in the mailbox", () => stored().length === 2)
  await eventually("an empty queue", async () => (await jobsNow()).length === 0)
  await instance.stop()
})

test("of active jobs it is said how many wait for a place at their destination, and with whom", async () => {
  instance.configure("recipients = 100", "recipients = 100\ndeliveriesPerDomain = 2")
  const destinations = {
    attempts: 2,
    of: ({ recipient }: { recipient: string }) => recipient.slice(recipient.indexOf("@") + 1),
  }
  await using queue = openEmbeddedQueue(`${instance.folder}/data`, {
    now,
    log: silentLog(),
    onEmptied: async () => undefined,
    destinations,
  })
  const add = (...names: string[]) => queue.add(...names.map((name) => jobFor(name, `${name}@slow.test`, now())))
  const ending = new AbortController()
  const begun: string[] = []
  const working = queue.work(
    async ({ spoolId, recipient }) => {
      begun.push(spoolId)
      // The first shows how fast it goes there; the others do not come to an end.
      if (spoolId !== "quick000") await once(ending.signal, "abort")
      return outcome(spoolId === "quick000" ? "done" : "retry", recipient)
    },
    { concurrency: 9, signal: ending.signal },
  )
  try {
    await add("slow0000", "quick000")
    await eventually("one is done", async () => (await queue.settled("quick000")).size === 1)
    await add("slow1111", "slow2222", "slow3333", "slow4444")
    await eventually("five are leased", async () => (await queue.counts()).active === 5)
    const [list, stats, shown] = await Promise.all([
      instance.must("queue", "list"),
      json("queue", "stats"),
      instance.must("queue", "show", "slow4444"),
    ])
    expect(begun).toEqual(["slow0000", "quick000", "slow1111"])
    expect(list).toMatch(/^3 of 5 active ones for slow\.test wait for a place there \(\S+\)$/m)
    expect(stats).toMatchObject({ active: 5, waiting: 3 })
    expect(shown).toMatch(/^ {4}with \S+: is being tried, or waits for a place at slow\.test$/m)
  } finally {
    ending.abort()
    await working
    for (const { id, recipient } of await queue.list()) if (recipient.endsWith("@slow.test")) await queue.drop(id)
  }
})

function stored(): readonly string[] {
  try {
    return readdirSync(`${instance.maildir("alice@example.test")}/new`)
  } catch {
    // The Maildir is made with the first message.
    return []
  }
}
