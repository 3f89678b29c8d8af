import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as delay } from "node:timers/promises"
import { pssKilobytes } from "../bench/processes.ts"
import { Instance } from "../harness/instance.ts"
import { type Counted, type FromPart, type Part, startPart } from "./idle-parts.ts"

/** How the test is made. */
export interface IdleOptions {
  readonly connections: number
  /** Below 29 minutes: these clients do not renew their IDLE. */
  readonly holdMs: number
  /** That serve IMAP. */
  readonly processes: number
  /** Of TLS key agreement; null: what Node prefers, which is X25519MLKEM768. It takes 6 to 9 KB of a connection more than X25519. */
  readonly group: string | null
}

/** What it came to. */
export interface IdleFigures {
  readonly asked: number
  /** In the end. */
  readonly held: number
  /** Refused, or ended at any time. */
  readonly lost: number
  readonly reasons: readonly string[]
  readonly logInSeconds: number
  readonly heldSeconds: number
  /** Proportional set size of all processes of the gateway: before, with the connections, and when they were held, KiB. */
  readonly pssKib: { readonly before: number; readonly idling: number; readonly held: number }
  /** New mail at the beginning and at the end. */
  readonly announced: readonly Announced[]
}

interface Announced {
  /** Clients that have seen it. */
  readonly seen: number
  /** From one message to the last client; null: not all have seen it. */
  readonly ms: number | null
}

const ACCOUNT = "alice@example.test"
/** A process of clients has a descriptor for each, and the limit is 20,000. */
const CLIENT_PROCESSES = 2
const SETTLE_MS = 3_000
/** 10,000 handshakes are some 40 s of this machine. */
const LOG_IN_MS = 600_000
const ANNOUNCE_MS = 60_000

/**
 * Holds idle TLS connections through the whole gateway to a server of ours, tells all of them of new mail at the beginning and at the
 * end, and measures what one connection takes.
 */
export async function holdIdle(options: IdleOptions): Promise<IdleFigures> {
  await using upstream = startPart("idle-upstream.ts")
  const listening = await upstream.heard((message) => message.kind === "listening", SETTLE_MS)
  if (listening === null) throw new Error("the server behind the proxy does not start")
  await using gateway = await gatewayBefore(listening.port, options)
  const device = await gateway.device(ACCOUNT, "laptop")
  await gateway.serve()
  const before = pssKilobytes(gateway.pid)
  await using stack = new AsyncDisposableStack()
  const clients = Array.from({ length: CLIENT_PROCESSES }, () => stack.use(startPart("idle-clients.ts")))
  const start = performance.now()
  const count = Math.ceil(options.connections / CLIENT_PROCESSES)
  const { username, password, imap } = device
  for (const part of clients)
    part.tell({ kind: "connect", port: imap.port, username, password, count, group: options.group })
  await Promise.all(clients.map((part) => part.heard((message) => message.kind === "idling", LOG_IN_MS)))
  const loggedIn = performance.now()
  await delay(SETTLE_MS)
  const idling = pssKilobytes(gateway.pid)
  const first = await announce(upstream, clients, FIRST_EXISTS)
  await delay(options.holdMs)
  const held = pssKilobytes(gateway.pid)
  const last = await announce(upstream, clients, FIRST_EXISTS + 1)
  const counted = await countAll(clients, FIRST_EXISTS + 1)
  return {
    asked: count * CLIENT_PROCESSES,
    held: counted.held,
    lost: counted.lost,
    reasons: counted.reasons,
    logInSeconds: (loggedIn - start) / 1000,
    heldSeconds: (performance.now() - loggedIn) / 1000,
    pssKib: { before, idling, held },
    announced: [first, last],
  }
}

async function gatewayBefore(upstreamPort: number, options: IdleOptions): Promise<Instance> {
  const gateway = await Instance.create()
  await gateway.must("account", "add", ACCOUNT)
  writeFileSync(join(gateway.folder, "secrets", "master"), "x\n")
  const many = options.connections + CLIENT_PROCESSES
  gateway.configure(
    'imap = "embedded:"',
    `imap = "imap://127.0.0.1:${upstreamPort}"
masterUser = "m"
masterPasswordFile = "secrets/master"
connections = ${many}
connectionsPerAccount = ${many}`,
  )
  gateway.configure(
    "[limits]",
    `[limits]
imapProcesses = ${options.processes}
imapConnections = ${many}
imapConnectionsPerAccount = ${many}
imapConnectionsPerDevice = ${many}`,
  )
  return gateway
}

/** One message for all. */
async function announce(upstream: Part, clients: readonly Part[], exists: number): Promise<Announced> {
  const start = performance.now()
  upstream.tell({ kind: "announce" })
  const seenAll = (message: FromPart): message is FromPart & { kind: "seen" } =>
    message.kind === "seen" && message.exists === exists
  const heard = await Promise.all(clients.map((part) => part.heard(seenAll, ANNOUNCE_MS)))
  const ms = performance.now() - start
  const { seen } = await countAll(clients, exists)
  return { seen, ms: heard.includes(null) ? null : ms }
}

/** All parts together. */
async function countAll(clients: readonly Part[], exists: number): Promise<Counted> {
  const isAnswer = (message: FromPart): message is Counted => message.kind === "counted" && message.exists === exists
  const parts = await Promise.all(
    clients.map((part) => {
      part.tell({ kind: "count", exists })
      return part.heard(isAnswer, ANNOUNCE_MS)
    }),
  )
  const sum = (read: (part: Counted) => number): number =>
    parts.reduce((total, part) => total + (part === null ? 0 : read(part)), 0)
  return {
    kind: "counted",
    exists,
    held: sum(({ held }) => held),
    lost: sum(({ lost }) => lost),
    seen: sum(({ seen }) => seen),
    reasons: parts.flatMap((part) => part?.reasons ?? []),
  }
}

/** The mailbox of idle-upstream.ts has three messages. */
const FIRST_EXISTS = 4
