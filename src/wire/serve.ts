import type { Config } from "../config/config.ts"
import { loadConfig } from "../config/load.ts"
import { Counters } from "../log/counters.ts"
import type { Log } from "../log/log.ts"
import { createGatheringLog, createLog } from "../log/written.ts"
import { openCore, type Role } from "./core.ts"
import { roomyHeap } from "./heap.ts"
import { imapKinds, imapLimits, imapProcessesOf } from "./imap-limits.ts"
import { type Inherited, LiveGateway } from "./reload.ts"
import { type Running, startRoles } from "./roles.ts"
import { youngBuffers } from "./young-buffers.ts"

/** How long a drain may take before connections and deliveries under way are cut. */
const DRAIN_MS = 10_000
/** After that the process ends, whatever it still waits for: all that it answered for is on the disk, or on the servers. */
const END_MS = 12_000
/** Each fsync holds one; those that wait together are done by one commit of the file system. The default, 4, lets few wait together. */
const DISK_THREADS = "64"

/**
 * Runs the roles: one line `postern ready …` on standard output when every listener accepts, then until SIGTERM or SIGINT. SIGHUP and a
 * change of the configuration file make it run by the new one.
 * @throws GatewayError LISTEN_FAILED, CONFIG_INVALID, STATE_*
 */
export async function runServer(configPath: string | null, roles: ReadonlySet<Role>): Promise<number> {
  process.env.UV_THREADPOOL_SIZE ??= DISK_THREADS
  const load = () => loadConfig(configPath, process.cwd())
  const stop = signalled("SIGTERM", "SIGINT")
  await using gateway = await LiveGateway.start(load, (config, shared) => startServer(config, roles, shared))
  // Not before all is loaded: code compiled under other flags than those is not taken from the compile cache.
  using _heap = roomyHeap()
  using _buffers = youngBuffers()
  process.stdout.write(`postern ready ${gateway.listeners.join(" ")}\n`)
  await stop
  endWithin(END_MS)
  await gateway.drain(DRAIN_MS)
  return 0
}

function endWithin(ms: number): void {
  const cut = () => {
    createLog("error").error("serve.cut", { afterMs: ms })
    process.exit(0)
  }
  setTimeout(cut, ms).unref()
}

/** The gateway in this process. */
export async function startServer(
  config: Config,
  roles: ReadonlySet<Role>,
  { counters, held }: Inherited = { counters: new Counters(), held: new Set() },
): Promise<Running> {
  const log = createGatheringLog(config.logLevel)
  for (const warning of config.warnings) log.warn("config.warning", { warning })
  const processes = imapProcesses(config, roles, log)
  // What others do, this process has no secrets for.
  const own = processes === 0 ? roles : new Set([...roles].filter((role) => role !== "imap"))
  return await startRoles(await openCore(config, own, log, counters), processes, held)
}

/** How many processes serve IMAP in this one's place; 0: none. */
function imapProcesses(config: Config, roles: ReadonlySet<Role>, log: Log): number {
  if (!roles.has("imap") || imapKinds(config).length === 0) return 0
  const count = imapProcessesOf(config)
  const { connections } = imapLimits(config, count)
  if (connections < config.limits.imapConnections)
    log.warn("imap.descriptors", {
      wanted: config.limits.imapConnections,
      served: connections,
      advice: "raise the limit of open files (ulimit -n, LimitNOFILE), or limits.imapProcesses",
    })
  return count > 1 ? count : 0
}

function signalled(...signals: readonly NodeJS.Signals[]): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of signals) process.once(signal, () => resolve())
  })
}
