import cluster from "node:cluster"
import { join } from "node:path"
import type { Config } from "../config/config.ts"
import { GatewayError } from "../errors.ts"
import { type ImapProxy, startImapProxy } from "../imap-proxy/server.ts"
import { createGatheringLog } from "../log/written.ts"
import { MailStore } from "../mailbox/store.ts"
import { AskedSeats, type SeatShares } from "./asked-seats.ts"
import { type Core, openCore } from "./core.ts"
import { affordableConnections } from "./descriptors.ts"
import { LiveDevices } from "./devices.ts"
import { describeConnections, describeProcess } from "./gauges.ts"
import { type ImapParts, imapParts, serveOptions } from "./imap.ts"
import { type ImapKind, imapLimits, imapProcessesOf } from "./imap-limits.ts"
import type { Order, Report, SharedSecrets } from "./imap-orders.ts"
import { knowPeople } from "./known-people.ts"
import { loginLimits } from "./login-limits.ts"
import { LiveTls } from "./tls.ts"

/**
 * Listens beside others and serves, until {@link ImapProcesses} says that it is enough. Without the main process there is nobody to say what
 * changes: then node:cluster ends this one at once.
 */
async function run({ config, name, secrets }: Order & { kind: "start" }, outbox: Outbox): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const core = stack.use(await openCore(config, new Set(["imap"]), createGatheringLog(config.logLevel)))
  const serving = open(core, name, secrets, outbox, stack)
  const { graceMs, spreadMs } = await new Promise<Drain>((resolve) => {
    process.on("message", (order: Order) => {
      if (order.kind === "drain") resolve(order)
      else if (order.kind === "listen")
        listen(order.listeners, serving, core).then(
          () => outbox.tell({ kind: "listening" }),
          (error: unknown) => {
            // Of no use like this; another is started in its place.
            outbox.tell(failure(error))
            process.exitCode = 1
            resolve(AT_ONCE)
          },
        )
      else if (order.kind !== "start") obey(order, serving, core, outbox)
    })
    outbox.tell({ kind: "ready" })
  })
  process.on("message", (order: Order) => {
    if (order.kind === "drain") void close(serving, order)
  })
  await close(serving, { graceMs, spreadMs })
  // What was counted goes on counting when this process is no more.
  outbox.tell({ kind: "metrics", question: 0, snapshot: await core.counters.snapshot() })
}

async function close({ proxies }: Serving, { graceMs, spreadMs }: Drain): Promise<void> {
  await Promise.all(proxies.map((proxy) => proxy.close(graceMs, spreadMs)))
}

type Drain = Pick<Order & { kind: "drain" }, "graceMs" | "spreadMs">
const AT_ONCE: Drain = { graceMs: 0, spreadMs: 0 }

interface Serving {
  readonly parts: ImapParts
  /** Those that listen. */
  readonly proxies: ImapProxy[]
  readonly seats: AskedSeats
  readonly tls: LiveTls
  readonly limits: ReturnType<typeof loginLimits>
}

function open(core: Core, name: string, secrets: SharedSecrets, outbox: Outbox, stack: AsyncDisposableStack): Serving {
  const { config, people, counters, log, now } = core
  const limits = loginLimits(core, Buffer.from(secrets.loginKey, "base64"))
  limits.onNews((news) => outbox.tell({ kind: "login", news }))
  const devices = new LiveDevices({ people, limits, counters, log, now })
  const known = stack.use(knowPeople(core))
  known.presence.onChange(() => devices.refresh())
  known.presence.onDoubt(() => devices.doubt())
  const store = stack.use(new MailStore(join(config.data, "mail"), { now, log }))
  const tls = stack.use(new LiveTls(config, log, Buffer.from(secrets.ticketKeys, "base64")))
  const parts = imapParts(core, known, { devices, store, tls })
  const seats = new AskedSeats(sharesOf(config), (report) => outbox.tell(report))
  const proxies: ImapProxy[] = []
  tls.onChange((changed) => {
    for (const proxy of proxies) proxy.reloadTls(changed)
  })
  describeProcess(counters, name)
  describeConnections(counters, name, parts.windows, () => proxies.map(({ connections }) => connections))
  return { parts, proxies, seats, tls, limits }
}

/** @throws GatewayError LISTEN_FAILED */
async function listen(listeners: readonly ImapKind[], { parts, proxies, seats }: Serving, core: Core): Promise<void> {
  for (const kind of listeners) {
    const { host, port } = kind
    proxies.push(await startImapProxy({ ...serveOptions(core, parts, kind), host, port, seats }))
  }
}

/**
 * Of one account or device so many may be let in without a question. Shares that others do not use are given out again, so that a limit
 * is passed by a quarter at worst; one of few connections never is.
 */
function sharesOf(config: Config): SeatShares {
  const processes = imapProcessesOf(config)
  const { connectionsPerAccount, connectionsPerDevice } = imapLimits(config, processes)
  return {
    connections: affordableConnections(config, 1),
    perAccount: Math.floor(connectionsPerAccount / (4 * processes)),
    perDevice: Math.floor(connectionsPerDevice / (4 * processes)),
  }
}

function obey(
  order: Exclude<Order, { kind: "start" | "listen" | "drain" }>,
  { proxies, seats, tls, limits }: Serving,
  { counters }: Core,
  outbox: Outbox,
): void {
  switch (order.kind) {
    case "evict":
      for (const { connections } of proxies) connections.evict(order.place, order.limit)
      break
    case "seat":
      seats.answer(order.place, order.refusal)
      break
    case "ticketKeys":
      tls.useTicketKeys(Buffer.from(order.ticketKeys, "base64"))
      // It is told with every change, a renewed certificate's too.
      tls.reload()
      break
    case "login":
      void limits.hear(order.news)
      break
    case "metrics":
      void counters.snapshot().then((snapshot) => outbox.tell({ kind: "metrics", question: order.question, snapshot }))
  }
}

function failure(error: unknown): Report {
  const code = error instanceof GatewayError ? error.code : null
  return { kind: "failed", code, message: error instanceof Error ? error.message : String(error) }
}

/**
 * What goes to the main process; what is said within a moment goes as one message, since a message is two system calls and wakes
 * a process: more than all else that it takes to count a connection.
 */
class Outbox {
  #reports: Report[] = []
  #timer: NodeJS.Timeout | null = null

  tell(report: Report): void {
    this.#reports.push(report)
    if (isWaitedFor(report)) this.send()
    else this.#timer ??= setTimeout(() => this.send(), GATHERED_MS)
  }

  send(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    if (this.#reports.length > 0 && process.connected) process.send?.(this.#reports)
    this.#reports = []
  }
}

/** A device waits for the answer, or the limits of all processes depend on it; others only count. */
function isWaitedFor(report: Report): boolean {
  return report.kind === "logIn" ? report.ask : report.kind !== "left" && report.kind !== "enter"
}

/** For so long a connection that has ended holds its place, and one too many is not yet turned away: as a handshake takes in a crowd. */
const GATHERED_MS = 50

// Signals go to the whole group of a terminal or container; the main process says when to end.
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => undefined)
process.once("message", async (start: Order) => {
  if (start.kind !== "start") throw new GatewayError("USAGE", "imap-process: is a part of the server")
  const outbox = new Outbox()
  try {
    await run(start, outbox)
  } catch (error) {
    outbox.tell(failure(error))
    process.exitCode = 1
  }
  outbox.send()
  cluster.worker?.disconnect()
})
