import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as delay } from "node:timers/promises"
import { Instance } from "../harness/instance.ts"
import { type FromPart, type Part, startPart } from "./idle-parts.ts"

/** How the test is made. */
export interface IdleOptions {
  readonly connections: number
  readonly holdMs: number
  readonly workers: number
}

/** What it came to. */
export interface IdleFigures {
  readonly connections: number
  readonly logInSeconds: number
  /** Proportional set size of all processes of the gateway, before and with the connections, KiB. */
  readonly pssKib: { readonly before: number; readonly idling: number; readonly held: number }
  readonly perConnectionKib: number
  /** Between one message and the last client having seen it. */
  readonly announcedMs: readonly number[]
}

const ACCOUNT = "alice@example.test"
/** A process of clients has a descriptor for each, and the limit is 20,000. */
const CLIENT_PROCESSES = 2
const SETTLE_MS = 3_000

/**
 * Holds idle TLS connections through the whole gateway (workers as configured) to a server of ours, tells all of them of new mail at
 * the beginning and at the end, and measures what one connection takes.
 */
export async function holdIdle(options: IdleOptions): Promise<IdleFigures> {
  await using upstream = startPart("idle-upstream.ts")
  const { port } = await upstream.heard((message) => message.kind === "listening", 10_000)
  await using gateway = await gatewayBefore(port, options)
  const device = await gateway.device(ACCOUNT, "laptop")
  await gateway.serve()
  const before = pssKib(gateway.pid)
  await using stack = new AsyncDisposableStack()
  const clients = Array.from({ length: CLIENT_PROCESSES }, () => stack.use(startPart("idle-clients.ts")))
  const start = performance.now()
  const count = Math.floor(options.connections / CLIENT_PROCESSES)
  for (const part of clients)
    part.tell({ kind: "connect", port: device.imap.port, username: device.username, password: device.password, count })
  await Promise.all(clients.map((part) => part.heard((message) => message.kind === "idling", 600_000)))
  const logInSeconds = (performance.now() - start) / 1000
  await delay(SETTLE_MS)
  const idling = pssKib(gateway.pid)
  const first = await announce(upstream, clients, 4)
  await delay(options.holdMs)
  const held = pssKib(gateway.pid)
  const last = await announce(upstream, clients, 5)
  const connections = count * CLIENT_PROCESSES
  return {
    connections,
    logInSeconds,
    pssKib: { before, idling, held },
    perConnectionKib: (idling - before) / connections,
    announcedMs: [first, last],
  }
}

async function gatewayBefore(upstreamPort: number, options: IdleOptions): Promise<Instance> {
  const gateway = await Instance.create()
  await gateway.must("account", "add", ACCOUNT)
  writeFileSync(join(gateway.folder, "secrets", "master"), "x\n")
  gateway.configure(
    'imap = "embedded:"',
    `imap = "imap://127.0.0.1:${upstreamPort}"\nmasterUser = "m"\nmasterPasswordFile = "secrets/master"`,
  )
  gateway.configure("[limits]", `[limits]\nimapConnections = ${options.connections + 10}`)
  return gateway
}

/** One message for all. @returns milliseconds until the last client has seen it */
async function announce(upstream: Part, clients: readonly Part[], exists: number): Promise<number> {
  const seenAll = (message: FromPart) => message.kind === "seen" && message.exists === exists
  const start = performance.now()
  upstream.tell({ kind: "announce" })
  await Promise.all(
    clients.map((part) => part.heard((message): message is FromPart & { kind: "seen" } => seenAll(message), 60_000)),
  )
  return performance.now() - start
}

/** Of a process and its children, KiB: what is shared counts once. */
function pssKib(pid: number): number {
  return [pid, ...childrenOf(pid)].reduce((sum, one) => sum + pssOf(one), 0)
}

function pssOf(pid: number): number {
  return Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "latin1"))?.[1])
}

function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, "latin1").trim().split(" ").filter(Boolean).map(Number),
  )
}
