import { availableParallelism } from "node:os"
import { join } from "node:path"
import type { Config, ListenAddress } from "../config/config.ts"
import { written } from "../config/values.ts"
import { startAdminHttp } from "../http/admin.ts"
import { startPlainHttp } from "../http/plain.ts"
import { reloadPublicTls, startPublicHttp } from "../http/public.ts"
import { PROXY_LIMITS } from "../imap-proxy/ports.ts"
import { WindowCache } from "../imap-proxy/windows.ts"
import { MailStore } from "../mailbox/store.ts"
import { stsPolicyText } from "../message/published-sts.ts"
import type { Discovery } from "../profiles/discover.ts"
import { queueName, refuseOtherQueues } from "../queue/one-queue.ts"
import { openQueue } from "../queue/open.ts"
import type { WorkQueue } from "../queue/queue.ts"
import { startSweeping } from "../queue/sweep.ts"
import { PendingChallenges, startAcme } from "./acme.ts"
import { openAttempts } from "./attempts.ts"
import type { Core } from "./core.ts"
import { correspondentsOf } from "./correspondents.ts"
import { LiveDevices } from "./devices.ts"
import { diagnosisOf } from "./diagnosis.ts"
import { startDnsProbe } from "./dns-probe.ts"
import { startExpiryWarnings } from "./expiry-warnings.ts"
import { upstreamOf } from "./external.ts"
import { describeCertificates, describeProcess } from "./gauges.ts"
import { Hands } from "./hands.ts"
import { type ImapParts, onAlteredOf, startImap, uploadMemory } from "./imap.ts"
import { ImapProcesses } from "./imap-processes.ts"
import { type KeyMeans, keyMeansOf } from "./key-rules.ts"
import { type KnownPeople, knowPeople } from "./known-people.ts"
import { startLdap } from "./ldap.ts"
import { type LoginLimits, loginLimits } from "./login-limits.ts"
import { meshDoorOf } from "./mesh-service.ts"
import { askersOf, publishedKeys } from "./published.ts"
import { restoreServerCertificate } from "./server-certificate.ts"
import { claim, SHARES_PORTS } from "./shared-ports.ts"
import { startSmtp } from "./smtp.ts"
import { adminSource } from "./status.ts"
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
const HTTPS_PORT = 443

/** The roles of this process, running. */
export interface Running extends AsyncDisposable {
  /** `name=host:port` of each listener. */
  readonly listeners: readonly string[]
  /** Ends idle connections, lets the rest finish for `graceMs`, then cuts it. */
  drain(graceMs: number): Promise<void>
  /** Leaves everything new to a successor that runs already, and ends what is under way in peace. */
  retire(): Promise<void>
}

/** One listener as the composition sees it. */
export interface Listener {
  readonly name: string
  readonly where: string
  close(graceMs: number, spreadMs?: number): Promise<void>
}

/** What all roles of a process share beside the core. */
interface Shared {
  readonly queue: WorkQueue
  readonly devices: LiveDevices
  readonly known: KnownPeople
  readonly store: MailStore
  readonly tls: LiveTls
  readonly loginLimits: LoginLimits
  readonly correspondents: Discovery
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
    const listeners = await startListeners(core, shared, imap, held)
    return {
      listeners: listeners.map(({ name, where }) => `${name}=${where}`),
      async drain(graceMs) {
        // What it has under way has its own time, which is to run beside that of the listeners.
        worker?.abort()
        await Promise.all(listeners.map((listener) => listener.close(graceMs)))
      },
      async retire() {
        worker?.abort()
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

/** @returns what ends its work before the stack does */
async function startWorker(core: Core, shared: Shared, stack: AsyncDisposableStack): Promise<AbortController> {
  const { queue } = shared
  const { spool, spoolKeys, now, log } = core
  stack.use(startTlsReports(core, reportsOf(core, queue)))
  stack.use(startExpiryWarnings(core, () => shared.tls.current, reportsOf(core, queue)))
  stack.use(startStsRefresh(core))
  stack.use(startDnsProbe(core))
  if (spoolKeys) stack.use(await startSweeping({ spool, queue, spoolKeys, now, log }, shared.known.presence))
  const hands = Math.min(availableParallelism() - 1, MAX_HANDS)
  const attempt =
    hands > 0 ? stack.use(await Hands.start(hands, core.config)).attempt : openAttempts(core, shared, stack)
  const ending = new AbortController()
  const working = work(core, queue, attempt, ending.signal)
  working.catch((error: unknown) => log.error("worker.ended", {}, error))
  stack.defer(async () => {
    ending.abort()
    await working
  })
  return ending
}

async function startListeners(
  core: Core,
  shared: Shared,
  imap: ImapProcesses | null,
  held: ReadonlySet<string>,
): Promise<Listener[]> {
  const { config, roles } = core
  const started: Listener[] = []
  try {
    for (const [kind, listener] of await startSmtp(
      core,
      shared.queue,
      shared.devices,
      shared.tls,
      shared.correspondents,
      held,
    ))
      started.push(named(kind, listener))
    const served = roles.has("imap") ? startImap(core, imapParts(core, shared), held) : imap?.listen(held)
    for (const [kind, listener] of (await served) ?? []) started.push(named(kind, listener))
    if (roles.has("submission")) started.push(...(await startLdap(core, shared, held)))
    const { https, http, admin } = config.listen
    if (roles.has("http") && https) started.push(await startPublic(core, shared.tls, await claim("https", https, held)))
    if (roles.has("http") && http) started.push(await startPlain(core, shared.tls, await claim("http", http, held)))
    if (admin) started.push(await startAdmin(core, shared, imap, await claim("admin", admin, held)))
    return started
  } catch (error) {
    await Promise.all(started.map((listener) => listener.close(0)))
    throw error
  }
}

function imapParts(core: Core, { known, store, devices, tls }: Shared): ImapParts {
  const windows = new WindowCache(PROXY_LIMITS.windowOctets)
  const [held, onAltered] = [uploadMemory(), onAlteredOf(core.config)]
  return { ...known, devices, tls, windows, held, upstream: upstreamOf(core, store), onAltered }
}

async function startPublic(core: Core, tls: LiveTls, listen: ListenAddress): Promise<Listener> {
  const server = await startPublicHttp({
    ...listen,
    sharesPort: SHARES_PORTS,
    tls: tls.current,
    keys: publishedKeys(core.people, core.config.domains),
    askers: askersOf(core),
    clients: { domains: core.config.domains, services: core.config.clients },
    stsPolicy: stsPolicyOf(core.config),
    mesh: meshDoorOf(core, new Map()),
    log: core.log,
  })
  tls.onChange((changed) => reloadPublicTls(server, changed))
  return { name: "https", where: server.listeningOrigin.replace(/^https?:\/\//, ""), close: () => server.close() }
}

function stsPolicyOf({ hostname, policy }: Config): string | null {
  return policy.mtaSts === "off" ? null : stsPolicyText({ mode: policy.mtaSts, mx: hostname })
}

/** HTTP in clear; where certificates come from a CA it is asked from here, since its challenges are answered here. */
async function startPlain(core: Core, tls: LiveTls, listen: ListenAddress): Promise<Listener> {
  const { config } = core
  const challenges = new PendingChallenges()
  const port = config.clients.https?.port
  const server = await startPlainHttp({
    ...listen,
    sharesPort: SHARES_PORTS,
    challenge: (token) => challenges.find(token),
    https: port === undefined ? null : `${config.hostname}${port === HTTPS_PORT ? "" : `:${port}`}`,
  })
  const acme = config.tls.acme === null ? null : startAcme(core, config.tls.acme, tls, challenges)
  const close = async (): Promise<void> => {
    // First: an order whose challenge finds nobody would count as failed.
    await acme?.[Symbol.asyncDispose]()
    await server.close()
  }
  return named("http", { address: server.address, close })
}

async function startAdmin(
  core: Core,
  { queue, correspondents }: Shared,
  imap: ImapProcesses | null,
  listen: ListenAddress,
): Promise<Listener> {
  const source = adminSource(core, queue, imap)
  const diagnosis = diagnosisOf(core, correspondents)
  const names = [core.config.hostname, listen.host.toLowerCase(), ...core.config.adminNames]
  const server = await startAdminHttp({ ...listen, names, sharesPort: SHARES_PORTS, source, diagnosis, log: core.log })
  return { name: "admin", where: server.listeningOrigin.replace(/^https?:\/\//, ""), close: () => server.close() }
}

function named(
  name: string,
  listener: {
    address(): { readonly host: string; readonly port: number }
    close(graceMs: number, spreadMs?: number): Promise<void>
  },
): Listener {
  return {
    name,
    where: written(listener.address()),
    close: (graceMs, spreadMs) => listener.close(graceMs, spreadMs),
  }
}
