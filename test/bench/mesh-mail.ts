import { execFileSync } from "node:child_process"
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { eventually, type Instance } from "../harness/instance.ts"
import {
  ALICE,
  aliceAndBob,
  BOB,
  type Device,
  type MeshGateway,
  MeshWorld,
  ONE,
} from "../interop/internet/mesh-world.ts"
import { format, type Row } from "./report.ts"

const OCTETS = 10_240
const MESSAGES = 1_500
const CONNECTIONS = 10
const ROUNDS = 6
/** Messages each way before anything is measured: the code is compiled by then, which takes thousands. */
const WARMING = 3_000
const BULK_OCTETS = 1_000_000_000

type Way = "mesh" | "smtp"

/** What one round shows: messages in a second, and milliseconds of processor time for a message at each gateway. */
interface Round {
  readonly rate: number
  readonly sending: number
  readonly receiving: number
}

/** Mail between two gateways that are processes of their own, from submission into the mailbox at the other: over the Mesh, and by SMTP with S/MIME. */
export async function bench(): Promise<Row[]> {
  await using world = await MeshWorld.start({ configured: forBench, isTapped: false })
  const { alice, inbox } = await begun(world)
  return [...(await rates(world, alice, inbox, MESSAGES)), ...(await bulk(world, alice, inbox, BULK_OCTETS))]
}

/** Short mail alone, in rounds of another size: `node test/bench/mesh-mail.ts rate 100`. */
async function benchRate(messages: number): Promise<Row[]> {
  await using world = await MeshWorld.start({ configured: forBench, isTapped: false })
  const { alice, inbox } = await begun(world)
  return await rates(world, alice, inbox, messages)
}

async function rates(world: MeshWorld, alice: Device, inbox: string, messages: number): Promise<Row[]> {
  const [overMesh, bySmtp]: [Round[], Round[]] = [[], []]
  await round(world, alice, inbox, "mesh", WARMING)
  await round(world, alice, inbox, "smtp", WARMING)
  for (let index = 0; index < ROUNDS; index++) {
    // Each goes first as often: a round finds what the one before has left to the disk.
    for (const by of index % 2 === 0 ? (["mesh", "smtp"] as const) : (["smtp", "mesh"] as const))
      (by === "mesh" ? overMesh : bySmtp).push(await round(world, alice, inbox, by, messages))
  }
  return [
    {
      name: "10 KB mail from submission into the mailbox at the other gateway, over the Mesh against SMTP with S/MIME",
      unit: "messages/s",
      ours: overMesh.map(({ rate }) => rate),
      peer: { name: "smtp", values: bySmtp.map(({ rate }) => rate) },
      target: { kind: "ratio at least", value: 1 },
    },
    ...(["sending", "receiving"] as const).map((gateway) => ({
      name: `processor time of the ${gateway} gateway for it`,
      unit: "ms/message",
      ours: overMesh.map((each) => each[gateway]),
      peer: { name: "smtp", values: bySmtp.map((each) => each[gateway]) },
      target: null,
    })),
  ]
}

async function round(world: MeshWorld, alice: Device, inbox: string, by: Way, messages: number): Promise<Round> {
  const target = filesIn(inbox).length + messages
  const [sent, received] = [cpuMillisecondsOf(world.one), cpuMillisecondsOf(world.two)]
  const start = performance.now()
  await submitAll(world, alice, by, messages)
  // Spools are short, and an inbox is long: to list it every 10 ms takes half a core.
  const isDone = () => world.one.instance.spooled() + world.two.instance.spooled() === 0
  await eventually("all messages have arrived", () => isDone() && filesIn(inbox).length >= target, 300_000)
  const rate = (messages / (performance.now() - start)) * 1000
  return {
    rate,
    sending: (cpuMillisecondsOf(world.one) - sent) / messages,
    receiving: (cpuMillisecondsOf(world.two) - received) / messages,
  }
}

/** The long mail alone, of another size: `node test/bench/mesh-mail.ts 200` for 200 MB. */
async function benchBulk(octets: number): Promise<Row[]> {
  await using world = await MeshWorld.start({ configured: forBench, isTapped: false })
  const { alice, inbox } = await begun(world)
  return await bulk(world, alice, inbox, octets)
}

async function begun(world: MeshWorld): Promise<{ readonly alice: Device; readonly inbox: string }> {
  const { alice } = await aliceAndBob(world)
  return { alice, inbox: join(world.two.instance.maildir(BOB), "new") }
}

/** Both gateways take a gigabyte; a word in the subject chooses the way. */
function forBench(instance: Instance): void {
  instance.configure('messageSize = "50MB"', 'messageSize = "1500MB"')
  instance.configure(
    "[limits]",
    '[[policy.rules]]\nname = "by SMTP"\nsubjectTag = "smtp:"\nkeepTag = true\nmethods = ["smime"]\n\n[limits]\nsmtpRecipientsPerAccount = 0\nmeshRequestsPerNetwork = 0',
  )
}

async function submitAll(world: MeshWorld, device: Device, by: Way, messages: number): Promise<void> {
  let left = messages
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      using client = await world.submitting(device)
      for (; left > 0; ) await client.send([BOB], mail(by, left--))
    }),
  )
}

function mail(by: Way, number: number): Buffer {
  const head =
    `From: ${ALICE}\r\nTo: ${BOB}\r\nSubject: ${by}: ${number}\r\nDate: Fri, 27 Nov 2026 02:00:00 +0000\r\n` +
    `Message-ID: <${by}.${number}.${Math.round(performance.now() * 1e3)}@${ONE.domain}>\r\n\r\n`
  return Buffer.from(head + LINE.repeat(Math.ceil((OCTETS - head.length) / LINE.length)))
}

/**
 * A long mail. The bulk of it, which the first gateway has published: from the first octet that the second one has of it until it is verified, in the account's form and durable in the
 * mailbox, compared with a copy over loopback. And all of it, from the moment that the first gateway has accepted it. The memory of both is watched.
 */
async function bulk(world: MeshWorld, alice: Device, inbox: string, octets: number): Promise<Row[]> {
  using client = await world.submitting(alice)
  const head = mail("mesh", 0)
  // What rounds before have written is not to be written now.
  execFileSync("sync")
  const text = Buffer.alloc(octets - head.length, LINE)
  using memory = new Watched([world.one, world.two])
  await client.send([BOB], Buffer.concat([head, text]))
  const [start, used] = [performance.now(), cpuMilliseconds(world)]
  const coming = join(inbox, "..", "tmp")
  await eventually("it is being pulled", () => filesIn(coming).length > 0, 600_000)
  const pulling = performance.now()
  // To look at all that is in the mailbox every 10 ms takes a core.
  await eventually("the long mail has arrived", () => filesIn(coming).length === 0, 600_000)
  // It has its name before it is on the disk, as it is when its attempt is over.
  await eventually("it is durable", () => world.two.instance.spooled() === 0, 60_000)
  const end = performance.now()
  if (!filesIn(inbox).some((name) => statSync(join(inbox, name)).size > octets)) throw new Error("it has not arrived")
  const rate = (from: number) => octets / 1e3 / (end - from)
  const spent = cpuMilliseconds(world) - used
  const grown = memory.grown()
  const copy = { name: "loopback copy", values: [loopbackCopy(world, octets)] }
  return [
    {
      name: `${octets / 1e9} GB bulk over the Mesh, pulled into the mailbox, against a copy over loopback`,
      unit: "MB/s",
      ours: [rate(pulling)],
      peer: copy,
      target: { kind: "ratio at least", value: 0.5 },
    },
    {
      name: "the same from accepted, encrypting and publishing included",
      unit: "MB/s",
      ours: [rate(start)],
      peer: copy,
      target: null,
    },
    {
      name: "processor time of both gateways for it",
      unit: "ms/MB",
      ours: [spent / (octets / 1e6)],
      peer: null,
      target: { kind: "at most", value: 12 },
    },
    {
      name: "memory that the larger gateway grew by meanwhile",
      unit: "MB",
      ours: [grown],
      peer: null,
      target: { kind: "at most", value: 200 },
    },
  ]
}

/** Largest growth of resident memory of a process. */
class Watched {
  readonly #begun: readonly number[]
  readonly #most: number[]
  readonly #gateways: readonly MeshGateway[]
  readonly #timer: NodeJS.Timeout

  constructor(gateways: readonly MeshGateway[]) {
    this.#gateways = gateways
    this.#begun = gateways.map(residentMegabytes)
    this.#most = [...this.#begun]
    this.#timer = setInterval(() => this.#look(), 200)
  }

  grown(): number {
    this.#look()
    return Math.max(...this.#most.map((most, at) => most - (this.#begun[at] ?? 0)))
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    for (const [at, gateway] of this.#gateways.entries())
      this.#most[at] = Math.max(this.#most[at] ?? 0, residentMegabytes(gateway))
  }
}

/** The folder is made with the first message. */
function filesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : []
}

function residentMegabytes({ instance }: MeshGateway): number {
  const [, kilobytes = "0"] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${instance.pid}/status`, "utf8")) ?? []
  return Number(kilobytes) / 1_000
}

function cpuMilliseconds({ one, two }: MeshWorld): number {
  return cpuMillisecondsOf(one) + cpuMillisecondsOf(two)
}

/** User and system time of a process (proc(5), `stat`); a clock tick is 10 ms. */
function cpuMillisecondsOf({ instance }: MeshGateway): number {
  const [, rest = ""] = /\) (.*)$/s.exec(readFileSync(`/proc/${instance.pid}/stat`, "utf8")) ?? []
  const fields = rest.split(" ")
  return (Number(fields[11]) + Number(fields[12])) * 10
}

/** Megabytes in a second that a file takes from one process to another over TCP, and onto the disk. */
function loopbackCopy(world: MeshWorld, octets: number): number {
  const { folder } = world.internet
  const [from, to] = [folder.file("from"), folder.file("to")]
  writeFileSync(from, Buffer.alloc(octets, LINE))
  const start = performance.now()
  execFileSync(process.execPath, ["-e", COPY, from, to])
  const seconds = (performance.now() - start) / 1000
  rmSync(from)
  rmSync(to)
  return octets / 1e6 / seconds
}

const COPY = `
const { createReadStream, createWriteStream } = require("node:fs")
const { createServer } = require("node:net")
const [from, to] = process.argv.slice(1)
const server = createServer((socket) => {
  socket.pipe(createWriteStream(to, { flush: true })).on("close", () => process.exit(0))
}).listen(0, "127.0.0.1", () => {
  const sender = 'require("node:fs").createReadStream(process.argv[1]).pipe(require("node:net").connect(+process.argv[2]))'
  require("node:child_process").spawn(process.execPath, ["-e", sender, from, String(server.address().port)], { stdio: "inherit" })
})
`
const LINE = "0123456789 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n"

if (import.meta.main) {
  const [, , what, messages = String(MESSAGES)] = process.argv
  const rows =
    what === undefined ? bench() : what === "rate" ? benchRate(Number(messages)) : benchBulk(Number(what) * 1e6)
  for (const row of await rows) console.log(format(row))
}
