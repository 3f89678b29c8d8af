import { once } from "node:events"
import { connect } from "node:net"
import { type Duplex, duplexPair } from "node:stream"
import { setImmediate as turn } from "node:timers/promises"
import { connect as connectTls } from "node:tls"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import fc from "fast-check"
import { afterAll, beforeAll, expect, test } from "vitest"
import { cmsRecryptor } from "../../src/crypto/recryption/cms.ts"
import { OctetSource } from "../../src/imap-proxy/octets.ts"
import type { DeviceSession, Upstream } from "../../src/imap-proxy/ports.ts"
import type { Log } from "../../src/log/log.ts"
import { cmsRecryption } from "../crypto/recryption/vectors.ts"
import { spoiling } from "../harness/lending.ts"
import { MESSAGES, patched } from "../imap-proxy/messages.ts"
import { type Rig, startRig } from "../imap-proxy/rig.ts"

const numRuns = Number(process.env["FUZZ_RUNS"] ?? 80)

/** One user: what the other must never see, and what this one's device sees of the message that both have in their mailboxes. */
interface User {
  readonly account: string
  /** In all that the client says. */
  readonly said: string
  /** In all that the upstream has. */
  readonly stored: string
  readonly message: string
  readonly session: DeviceSession
  /** Octets that only this user's device, and this user's upstream, may be given. */
  readonly secrets: readonly string[]
}

const block = MESSAGES["smime"] ?? ""

function user(name: string, device: "laptop" | "phone"): User {
  const recryption = cmsRecryption(device === "laptop" ? "dev1" : "dev2")
  const [said, stored] = [`${name}-SAID-THIS`, `${name}-HAS-THIS`]
  const ours = patched(block, device)
  const from = [...ours].findIndex((octet, at) => octet !== block[at])
  return {
    account: `${name.toLowerCase()}@example.test`,
    said,
    stored,
    message: `X-Of: ${stored}\r\n${block}`,
    secrets: [said, stored, ours.slice(from + 4, from + 30)],
    session: {
      account: `${name.toLowerCase()}@example.test`,
      device: "device",
      readOnly: false,
      scope: name,
      recryptors: [cmsRecryptor(recryption)],
      revoked: new AbortController().signal,
      markers: { onAltered: "report", check: () => ({ push: () => undefined, end: () => "none" }) },
    },
  }
}

const alice = user("ALICE", "laptop")
const bob = user("BOB", "phone")

/** Pieces of protocol; `%` becomes what this side knows and the other user must not. */
const TOKENS = [
  ...'\r\n|\n|\r|a1 |a1|UID |FETCH |1 |1:* |BODY[|BODY.PEEK[|TEXT|1.2|]|<0.100>|<300.50>|HEADER.FIELDS (|(|)| |"|\\'.split(
    "|",
  ),
  ..."{5}\r\n|{3+}\r\n|~{4}\r\n|{0}\r\n|{70000+}\r\n|{99999999999}\r\n|NIL|+ go\r\n|+ |* |* 1 FETCH (|a1 OK |* BYE |\0|é|$".split(
    "|",
  ),
  ..."* 2 EXISTS\r\n|* 1 EXPUNGE\r\n|* OK [UIDVALIDITY 1] x\r\n|UID 7 |BODY[] |BODY[]<0> |RFC822 |DONE\r\n|%|% ".split(
    "|",
  ),
]
const glue = fc
  .array(fc.oneof(fc.constantFrom(...TOKENS), fc.string({ maxLength: 4, unit: "binary-ascii" })), { maxLength: 25 })
  .map((pieces) => pieces.join(""))

const COMMANDS = [
  "SELECT INBOX",
  "FETCH 1 BODY[]",
  "FETCH 1 (FLAGS BODY.PEEK[]<300.200>)",
  "UID FETCH 7 BODY.PEEK[]",
  "UID FETCH 7 BODY.PEEK[TEXT]<200.500>",
  'SEARCH SUBJECT "%"',
  "SEARCH SUBJECT {5+}\r\n%",
  "IDLE\r\nDONE",
  "NOOP",
  "APPEND INBOX (\\Seen) {27+}\r\nSubject: x\r\n\r\n%",
  "LOGOUT",
] as const
const clientAction = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...COMMANDS).map((command) => `c ${command}\r\n`) },
  { weight: 1, arbitrary: glue },
)
const ANSWERS = ["answer", "* 1 FETCH (UID 7 BODY[] literal)\r\n", "* 1 FETCH (BODY[] literal", "+ go\r\n", "end"]
const upstreamAction = fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...ANSWERS) }, { weight: 2, arbitrary: glue })
const step = fc.oneof(fc.constant(100_000), fc.integer({ min: 1, max: 40 }))
const anyScript = fc.record({
  logsIn: fc.nat(9).map((n) => n > 0),
  client: fc.array(clientAction, { maxLength: 12 }),
  upstream: fc.array(upstreamAction, { maxLength: 8 }),
  step,
})
/** A session as it should be first, so that there are octets of each user that could go astray. */
const usualScript = fc.record({
  logsIn: fc.constant(true),
  client: fc
    .array(clientAction, { maxLength: 6 })
    .map((more) =>
      ["SELECT INBOX", "FETCH 1 BODY[]", 'SEARCH SUBJECT "%"'].map((line) => `c ${line}\r\n`).concat(more),
    ),
  upstream: fc.constant<string[]>([]),
  step,
})
const script = fc.oneof({ weight: 3, arbitrary: anyScript }, { weight: 1, arbitrary: usualScript })

type Script = typeof script extends fc.Arbitrary<infer T> ? T : never

/** What is going on with one user. */
class Side {
  readonly user: User
  readonly script: Script
  /** One for each connection to its upstream: it ends when the proxy lets go of it. */
  readonly served: Promise<void>[] = []
  toClient = ""
  toUpstream = ""

  constructor(of: User, plan: Script) {
    this.user = of
    this.script = plan
  }

  /** By the script; when it is over, as a server would. */
  async serve(stream: Duplex): Promise<void> {
    stream.on("error", () => undefined)
    const actions = [...this.script.upstream]
    const source = new OctetSource(stream)
    stream.write("* PREAUTH [CAPABILITY IMAP4rev1 UIDPLUS IDLE LITERAL+] ready\r\n")
    for (let octets = await source.read(); octets !== null; octets = await source.read()) {
      const text = Buffer.from(octets).toString("latin1")
      this.toUpstream += text
      const action = actions.shift() ?? "answer"
      if (action === "end") return void stream.destroy()
      const said = action === "answer" ? answersTo(text, this.user) : this.#filled(action)
      for (const piece of pieces(said, this.script.step)) stream.write(Buffer.from(piece, "latin1"))
    }
    stream.destroy()
  }

  async talk({ port, certificate }: Rig): Promise<void> {
    const tcp = connect(port, "127.0.0.1")
    const socket = connectTls({ socket: tcp, ca: certificate.certificate, servername: "localhost" })
    for (const one of [tcp, socket]) one.setNoDelay(true).on("error", () => undefined)
    socket.on("data", (octets: Buffer) => {
      this.toClient += octets.toString("latin1")
    })
    await once(socket, "secureConnect")
    if (this.script.logsIn) await this.#logIn(socket)
    for (const action of this.script.client)
      for (const piece of pieces(action.replaceAll("%", this.user.said), this.script.step)) {
        if (socket.writable) socket.write(piece, "latin1")
        await turn()
      }
    for (let turns = 0; turns < 20; turns += 1) await turn()
    // Not only the end of its side, behind which answers would be waited for.
    tcp.resetAndDestroy()
    await Promise.all(this.served)
  }

  async #logIn(socket: Duplex): Promise<void> {
    socket.write(`l LOGIN ${this.user.account} x\r\n`)
    while (!/^l /m.test(this.toClient) && !socket.destroyed) await turn()
  }

  #filled(action: string): string {
    const { message, stored } = this.user
    return action.replace("literal", `{${message.length}}\r\n${message}`).replaceAll("%", stored)
  }
}

/** A server's answers to the lines in `text`, all of them about one message. */
function answersTo(text: string, { message, stored }: User): string {
  return text
    .split("\r\n")
    .map((line) => {
      const [, tag = "", name = ""] = /^(\S+) (?:UID )?([A-Z]+)/i.exec(line) ?? []
      const go = /\{\d+\}$/.test(line) || name === "IDLE" ? "+ go\r\n" : ""
      if (go !== "" || tag === "") return go
      const [, section = "", from] = /BODY(?:\.PEEK)?\[([A-Z]*)\](?:<(\d+)\.)?/.exec(line) ?? []
      const data = message.slice(Number(from ?? 0))
      const origin = from === undefined ? "" : `<${from}>`
      const fetched =
        name === "FETCH" ? `* 1 FETCH (UID 7 BODY[${section}]${origin} {${data.length}}\r\n${data})\r\n` : ""
      const selected = name === "SELECT" ? "* 1 EXISTS\r\n* OK [UIDVALIDITY 1] x\r\n" : ""
      return `${fetched}${selected}${tag} OK ${stored}\r\n`
    })
    .join("")
}

function pieces(text: string, step: number): string[] {
  return Array.from({ length: Math.ceil(text.length / step) }, (_, at) => text.slice(at * step, (at + 1) * step))
}

const sides = new Map<string, Side>()
const failures: string[] = []
let rig: Rig

beforeAll(async () => {
  const upstream: Upstream = {
    connect: async (account) => {
      const [ours, theirs] = duplexPair()
      const side = sides.get(account)
      if (side) side.served.push(side.serve(theirs))
      return spoiling(ours)
    },
  }
  const sessions = new Map([alice, bob].map(({ account, session }) => [account, session]))
  rig = await startRig({
    upstream,
    tlsMode: "implicit",
    devices: { authenticate: async (username) => sessions.get(username) ?? null },
    limits: { windowOctets: 100_000, appendOctets: 1_000_000 },
    log: watched(),
  })
})

afterAll(() => rig[Symbol.asyncDispose]())

/** A fault of ours is no GatewayError: it is logged as such, or ends a session with its name. */
function watched(): Log {
  const log: Log = {
    debug: () => undefined,
    info: () => undefined,
    with: () => log,
    warn: (event, fields) => {
      if (/^\w*Error:/.test(String(fields?.["reason"]))) failures.push(`${event} ${fields?.["reason"]}`)
    },
    error: (event, _fields, error) => {
      failures.push(`${event} ${error instanceof Error ? error.stack : error}`)
    },
  }
  return log
}

test("two users at once, whatever clients and upstreams say: no fault, and no octet of one reaches the other", async () => {
  let reached = 0
  const runs = fc.asyncProperty(script, script, async (first, second) => {
    const [one, other] = [new Side(alice, first), new Side(bob, second)]
    for (const side of [one, other]) sides.set(side.user.account, side)
    await Promise.all([one.talk(rig), other.talk(rig)])
    for (const [side, theirs] of [
      [one, bob.secrets],
      [other, alice.secrets],
    ] as const)
      for (const secret of theirs) {
        expect(side.toClient.includes(secret)).toBe(false)
        expect(side.toUpstream.includes(secret)).toBe(false)
      }
    expect(failures).toEqual([])
    if (alice.secrets.every((secret) => `${one.toClient}${one.toUpstream}`.includes(secret))) reached += 1
  })
  await fc.assert(runs, { numRuns: Math.min(20, numRuns) })
  const before = usedOctets()
  await fc.assert(runs, { numRuns })
  expect(usedOctets() - before).toBeLessThan(20_000_000)
  // The scripts are worth something: a good part of the sessions had it all.
  expect(reached).toBeGreaterThan(numRuns / 20)
})

/** Without what waits for the collector. */
function usedOctets(): number {
  setFlagsFromString("--expose-gc")
  runInNewContext("gc")()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
