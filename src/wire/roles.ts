import { availableParallelism } from "node:os"
import { join } from "node:path"
import type { Config } from "../config/config.ts"
import { MailStore } from "../mailbox/store.ts"
import { queueName, refuseOtherQueues } from "../queue/one-queue.ts"
import { openQueue } from "../queue/open.ts"
import { startSweeping } from "../queue/sweep.ts"
import type { StoreHeld } from "./attempts.ts"
import type { Core } from "./core.ts"
import { correspondentsOf } from "./correspondents.ts"
import { LiveDevices } from "./devices.ts"
import { startDnsProbe } from "./dns-probe.ts"
import { startExpiryWarnings } from "./expiry-warnings.ts"
import { describeCertificates, describeProcess } from "./gauges.ts"
import { Hands } from "./hands.ts"
import { ImapProcesses } from "./imap-processes.ts"
import { type KeyMeans, keyMeansOf } from "./key-rules.ts"
import { knowPeople } from "./known-people.ts"
import { type ListenerParts, startListeners } from "./listeners.ts"
import { type LoginLimits, loginLimits } from "./login-limits.ts"
import { startBulkSweep } from "./mesh-bulk.ts"
import { restoreServerCertificate } from "./server-certificate.ts"
import { startStsRefresh } from "./sts-refresh.ts"
import { LiveTls } from "./tls.ts"
import { startTlsReports } from "./tls-reports.ts"
import { reportsOf, work } from "./worker.ts"

/** The rest of the process keeps this many busy at most. */
const MAX_HANDS = 4
/** IMAP sessions of one that retires end within this time, one after the other: ten thousand devices at once would be a siege. */
const SPREAD_MS = 300_000
/** What is still under way after that is cut. */
const RETIRE_MS = SPREAD_MS + 60_000

/** The roles of this process, running. */
export interface Running extends AsyncDisposable {
  /** `name=host:port` of each listener. */
  readonly listeners: readonly string[]
  /** Ends idle connections, lets the rest finish for `graceMs`, then cuts it. */
  drain(graceMs: number): Promise<void>
  /** Leaves everything new to a successor that runs already, and ends what is under way in peace. */
  retire(): Promise<void>
}

/** What all roles of a process share beside the core. */
interface Shared extends Omit<ListenerParts, "storeHeld"> {
  readonly loginLimits: LoginLimits
  readonly keyMeans: KeyMeans
}

/**
 * Starts what the roles of this process need, inside out: state and queue, the worker, then the listeners. Ended in reverse.
 * @param imapProcesses that serve IMAP in this one's place; 0: it does so itself, where it has the role
 * @param held `host:port` of what a predecessor of ours listens on until it retires
 * @throws GatewayError LISTEN_FAILED
 */
export async function startRoles(
  core: Core,
  imapProcesses: number,
  held: ReadonlySet<string> = new Set(),
): Promise<Running> {
  const stack = new AsyncDisposableStack()
  stack.use(core)
  try {
    describeProcess(core.counters, "main")
    const shared = await openShared(core, stack)
    const imap = imapProcesses > 0 ? stack.use(new ImapProcesses(core, imapProcesses, shared)) : null
    const worker = core.roles.has("worker") ? await startWorker(core, shared, stack) : null
    const storeHeld = storesAtOnce(core.config) ? (worker?.storeHeld ?? null) : null
    const listeners = await startListeners(core, { ...shared, storeHeld }, imap, held)
    return {
      listeners: listeners.map(({ name, where }) => `${name}=${where}`),
      async drain(graceMs) {
        // What it has under way has its own time, which is to run beside that of the listeners.
        worker?.ending.abort()
        await Promise.all(listeners.map((listener) => listener.close(graceMs)))
      },
      async retire() {
        worker?.ending.abort()
        await Promise.all(listeners.map((listener) => listener.close(RETIRE_MS, SPREAD_MS)))
      },
      async [Symbol.asyncDispose]() {
        await Promise.all(listeners.map((listener) => listener.close(0)))
        await stack.disposeAsync()
      },
    }
  } catch (error) {
    await stack.disposeAsync()
    throw error
  }
}

async function openShared(core: Core, stack: AsyncDisposableStack): Promise<Shared> {
  const { config, people, log, now } = core
  const onEmptied = (id: string) => core.spool.remove(id)
  const queue = stack.use(await openQueue(config, { now, log, onEmptied, runsOn: true }))
  const limits = loginLimits(core)
  const devices = new LiveDevices({ people, limits, counters: core.counters, log, now })
  const known = stack.use(knowPeople(core))
  if (core.roles.has("worker") && config.store.kind !== "embedded")
    refuseOtherQueues(core.database, queueName(config), now())
  known.presence.onChange(() => devices.refresh())
  known.presence.onDoubt(() => devices.doubt())
  const store = stack.use(new MailStore(join(config.data, "mail"), { now, log }))
  if (core.roles.has("http")) restoreServerCertificate(config, now())
  const tls = stack.use(new LiveTls(config, log))
  describeCertificates(core.counters, config.hostname, () => tls.current, now)
  const keyMeans = keyMeansOf(config, now)
  const correspondents = stack.use(correspondentsOf(core, keyMeans))
  known.presence.onChange(() => correspondents.forget())
  return { queue, devices, known, store, tls, loginLimits: limits, correspondents, keyMeans }
}

/** Mail from the Mesh goes straight into mailboxes that are here, where no other gateway shares what is remembered of it. */
function storesAtOnce({ deliver, store }: Config): boolean {
  return deliver.kind === "embedded" && store.kind === "embedded"
}

interface Working {
  /** Ends its work before the stack does. */
  readonly ending: AbortController
  readonly storeHeld: StoreHeld
}

async function startWorker(core: Core, shared: Shared, stack: AsyncDisposableStack): Promise<Working> {
  const { queue } = shared
  const { spool, spoolKeys, now, log } = core
  stack.use(startTlsReports(core, reportsOf(core, queue)))
  stack.use(startExpiryWarnings(core, () => shared.tls.current, reportsOf(core, queue)))
  stack.use(startStsRefresh(core))
  stack.use(startDnsProbe(core))
  if (core.config.mesh.service !== null) {
    stack.use(startBulkSweep(core))
    stack.use((await import("./mesh-inbound.ts")).startInboundSweep(core))
    stack.use(await (await import("./contacts.ts")).startContacts(core, queue, shared.correspondents))
  }
  if (spoolKeys) stack.use(await startSweeping({ spool, queue, spoolKeys, now, log }, shared.known.presence))
  const hands = Math.min(availableParallelism() - 1, MAX_HANDS)
  const { attempt, storeHeld } =
    hands > 0
      ? stack.use(await Hands.start(hands, core.config))
      : (await import("./attempts.ts")).openAttempts(core, shared, stack)
  const ending = new AbortController()
  const working = work(core, queue, attempt, ending.signal)
  working.catch((error: unknown) => log.error("worker.ended", {}, error))
  stack.defer(async () => {
    ending.abort()
    await working
  })
  return { ending, storeHeld }
}
