import { appendFileSync } from "node:fs"
import { type OpenQueue, openQueue } from "../../src/cli/open-queue.ts"
import { loadConfig } from "../../src/config/load.ts"
import { eventually, Instance } from "../harness/instance.ts"
import { databaseOf, Postgres } from "../harness/postgres.ts"
import { Redis } from "../harness/redis.ts"
import { openSmtpSink } from "../harness/smtp-sink.ts"
import { stuffed, WireClient } from "../harness/wire.ts"

/** What can be killed. */
export const VICTIMS = ["one", "two", "redis", "postgres"] as const
export type Victim = (typeof VICTIMS)[number]

/** Something that was killed, and when it was there again, in milliseconds. */
export interface Crash {
  readonly victim: Victim
  readonly at: number
  readonly back: number
}

/** What a series of crashes came to. */
export interface MachinesLedger {
  readonly crashes: readonly Crash[]
  /** Message ids whose 250 was read. */
  readonly acknowledged: ReadonlySet<string>
  /** Sent to the final dot, and no 250 was read: may have arrived. */
  readonly unanswered: ReadonlySet<string>
  /** When each id arrived in the mail store, in milliseconds. */
  readonly received: ReadonlyMap<string, readonly number[]>
  /** Pairs of message and recipient that the record knows, and those of them that did not end exactly once. */
  readonly recorded: { readonly pairs: number; readonly unbalanced: number }
}

const SENDERS = 2
const RECIPIENT = "alice@example.test"
/** How long something may be alive before the next is killed. */
const LONGEST_LIFE_MS = 1_500
/** A machine that is killed may have sent more than its peer has read. */
const READ_LATER_MS = 500
const NEAR_MS = 10_000

/**
 * Two gateways with data folders of their own share a PostgreSQL, a Redis and `secrets/`, take mail and deliver it by LMTP. Whatever
 * `victims` names is killed with SIGKILL at a random moment, one after the other, and started again.
 */
export async function killMachines(
  kills: number,
  victims: readonly Victim[],
  onKill: (count: number) => void = () => undefined,
): Promise<MachinesLedger> {
  await using postgres = await Postgres.start()
  await using redis = await Redis.start()
  const received = new Map<string, number[]>()
  await using sink = await openSmtpSink({
    server: { lmtp: true },
    keeps: false,
    data: ({ octets }) => {
      const [, found = "unknown"] = /^Message-ID: <(kill-[^@]+)@/m.exec(octets.toString("latin1")) ?? []
      // A copy: a part of a string keeps all of it in memory.
      const id = Buffer.from(found).toString()
      received.set(id, [...(received.get(id) ?? []), Date.now()])
      return null
    },
  })
  const store = await postgres.database()
  await using one = await Instance.create()
  one.configure('deliver = "embedded:"', `deliver = "lmtp://127.0.0.1:${sink.port}"`)
  appendFileSync(one.configuration, `\n[store]\nurl = "${store.url}"\n[queue]\nurl = "${redis.url}"\n`)
  await using two = await one.beside("two")
  await one.must("account", "add", RECIPIENT)

  const seen = { acknowledged: new Set<string>(), unanswered: new Set<string>() }
  const machines = { one: new Machine("one", one, seen), two: new Machine("two", two, seen) }
  // They end before what they speak to, also when something else has failed.
  await using _sending = {
    [Symbol.asyncDispose]: async () =>
      void (await Promise.allSettled([machines.one.endSending(), machines.two.endSending()])),
  }
  await Promise.all([machines.one.start(), machines.two.start()])
  const crashes: Crash[] = []
  for (let count = 0; count < kills; count++) {
    const before = seen.acknowledged.size
    await eventually("mail flows", () => seen.acknowledged.size > before, 60_000)
    await new Promise((resolve) => setTimeout(resolve, Math.random() * LONGEST_LIFE_MS))
    const victim = victims[count % victims.length] ?? "one"
    const at = Date.now()
    if (victim === "redis" || victim === "postgres") {
      const server = victim === "redis" ? redis : postgres
      await server.kill()
      await server.start()
    } else {
      await machines[victim].kill()
      await machines[victim].start()
    }
    crashes.push({ victim, at, back: Date.now() })
    onKill(count + 1)
  }
  await Promise.all([machines.one.endSending(), machines.two.endSending()])
  // What could not be settled or removed while a server was away waits for its lease, or for the next sweep: a start does both.
  if (victims.some((victim) => victim === "redis" || victim === "postgres"))
    for (const machine of [one, two]) {
      await machine.stop()
      await machine.serve()
    }
  const count = async (text: string) => Number((await postgres.query(databaseOf(store), text))[0]?.["count"])
  const missing = () => [...seen.acknowledged].filter((id) => !received.has(id)).length
  const left = async () => missing() + (await count("SELECT count(*) FROM spool_message"))
  await using commands = await openQueue(loadConfig(one.configuration, process.cwd()))
  for (let before = await left(); before > 0; before = await left()) {
    await retryAll(commands)
    await eventually(`fewer than ${before} messages left`, async () => (await left()) < before, 60_000)
  }
  const recorded = {
    pairs: await count("SELECT count(DISTINCT (spool_id, recipient)) FROM audit"),
    unbalanced: await count(`SELECT count(*) FROM (SELECT FROM audit GROUP BY spool_id, recipient
      HAVING count(*) FILTER (WHERE outcome IN ('done', 'failed', 'dropped')) <> 1) AS pair`),
  }
  await Promise.all([one.stop(), two.stop()])
  return { crashes, ...seen, received, recorded }
}

/** What met a database that was away waits for minutes; so long nobody wants to. */
export async function retryAll({ queue }: OpenQueue): Promise<void> {
  for (const job of await queue.list()) if (job.state === "delayed") await queue.retry(job.id)
}

/** A gateway, and those who send mail to it while it lives. */
class Machine {
  readonly #name: string
  readonly #instance: Instance
  readonly #seen: Seen
  #life = 0
  #end = new AbortController()
  #senders: readonly Promise<void>[] = []

  constructor(name: string, instance: Instance, seen: Seen) {
    this.#name = name
    this.#instance = instance
    this.#seen = seen
  }

  async start(): Promise<void> {
    await this.#instance.serve()
    this.#end = new AbortController()
    this.#life += 1
    const series = (sender: number) => `${this.#name}-${this.#life}-${sender}`
    this.#senders = Array.from({ length: SENDERS }, (_, sender) =>
      send(this.#instance.port, series(sender), this.#seen, this.#end.signal),
    )
  }

  async kill(): Promise<void> {
    await this.#instance.stop("SIGKILL")
    await this.endSending()
  }

  async endSending(): Promise<void> {
    this.#end.abort()
    await Promise.all(this.#senders)
  }
}

interface Seen {
  readonly acknowledged: Set<string>
  readonly unanswered: Set<string>
}

/** Sends message after message, over a new connection when one breaks, until the end. */
async function send(port: number, series: string, seen: Seen, end: AbortSignal): Promise<void> {
  for (let number = 0; !end.aborted; ) {
    let sending: string | null = null
    try {
      using client = await WireClient.connect(port)
      end.addEventListener("abort", () => client[Symbol.dispose](), { once: true })
      await client.until(/^220 .*\r\n/m)
      await said(client, "EHLO killer.test")
      while (!end.aborted) {
        const envelope = [`MAIL FROM:<k@elsewhere.test>`, `RCPT TO:<${RECIPIENT}>`, "DATA"]
        if (!(await allTaken(client, envelope))) continue
        const id = `kill-${series}-${number++}`
        sending = id
        await client.write(stuffed(message(id, number)))
        // Without a 250 it may be there: the answer to a commit can be lost.
        seen[(await reply(client)) === "250" ? "acknowledged" : "unanswered"].add(id)
        sending = null
      }
    } catch (error) {
      if (
        !(
          error instanceof Error &&
          /connection ended|ECONNRESET|ECONNREFUSED|EPIPE|write|not within/.test(error.message)
        )
      )
        throw error
      if (sending !== null) seen.unanswered.add(sending)
      // Whoever is told at once that nobody listens, asks ten thousand times until somebody does.
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}

/** One in sixteen is too large for a row of the spool. */
function message(id: string, number: number): Uint8Array {
  const words = number % 16 === 0 ? 30_000 : 500
  return Buffer.from(`Message-ID: <${id}@elsewhere.test>\r\nSubject: ${id}\r\n\r\n${"payload \r\n".repeat(words)}`)
}

async function allTaken(client: WireClient, commands: readonly string[]): Promise<boolean> {
  for (const command of commands)
    if (!/^[23]/.test(await said(client, command))) {
      await said(client, "RSET")
      return false
    }
  return true
}

async function said(client: WireClient, command: string): Promise<string> {
  await client.write(`${command}\r\n`)
  return await reply(client)
}

/** The code of the last line. */
async function reply(client: WireClient): Promise<string> {
  return (await client.until(/^\d{3} .*\r\n/m)).split("\r\n").at(-2)?.slice(0, 3) ?? ""
}

/**
 * What must not be: ids that were answered 250 and never arrived, that came twice without a crash in between, that nobody sent. While a server is away, nothing
 * that happens is written down: the crash lasts until it is back.
 */
export function machineFaults({ crashes, acknowledged, unanswered, received }: MachinesLedger) {
  const excused = (first: number, next: number) =>
    crashes.some(({ at, back }) => back >= first - READ_LATER_MS && at <= next)
  const unexcused = (times: readonly number[]) =>
    times.slice(1).some((next, index) => !excused(times[index] ?? next, next))
  return {
    lost: [...acknowledged].filter((id) => !received.has(id)),
    doubled: [...received].filter(([, times]) => unexcused(times)).map(([id]) => id),
    invented: [...received.keys()].filter((id) => !acknowledged.has(id) && !unanswered.has(id)),
  }
}

/** When a message arrived, and the crashes near that: what to look at where it came twice. */
export function storyOf(id: string, { crashes, received }: MachinesLedger): string {
  const [first = 0, ...others] = received.get(id) ?? []
  const last = others.at(-1) ?? first
  const near = crashes.filter(({ at, back }) => back > first - NEAR_MS && at < last + NEAR_MS)
  const told = near.map(({ victim, at, back }) => `${victim} away from ${at - first} to ${back - first}`)
  return `${id} arrived ${others.map((next) => `${next - first} ms later`).join(", ")} again; ${told.join("; ")}`
}

/** Messages that arrived more than once. */
export function repeated({ received }: MachinesLedger): number {
  return [...received.values()].filter((times) => times.length > 1).length
}
