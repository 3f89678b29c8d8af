import type { Config } from "../config/config.ts"
import type { Log } from "../log/log.ts"
import type { AuditLog } from "./audit-log.ts"
import type { DestinationLimit } from "./destinations.ts"
import { openEmbeddedQueue } from "./embedded.ts"
import { openEmbeddedAudit } from "./embedded-audit.ts"
import type { WorkQueue } from "./queue.ts"
import type { QueueOptions } from "./work-loop.ts"

/** What a process does with the queue. */
export interface QueueUse extends QueueOptions {
  /** It is a server, not a command: see {@link EmbeddedQueueOptions.commitsReachDisk}. */
  readonly runsOn: boolean
}

/**
 * Opens the queue that the configuration names.
 * @throws GatewayError STATE_VERSION, STATE_CORRUPT, CONFIG_INVALID (a password that is not there)
 */
export async function openQueue(config: Config, { runsOn, ...options }: QueueUse): Promise<WorkQueue> {
  const { queue, data } = config
  const all = { ...options, destinations: destinationsOf(config) }
  if (queue.kind === "embedded")
    return openEmbeddedQueue(data, { ...all, commitsReachDisk: runsOn ? "later" : "at once" })
  // Loaded where it is used: BullMQ and its like take a fifth of a second and 25 MB.
  const [{ RedisServer }, { RedisQueue }] = await Promise.all([
    import("./redis/server.ts"),
    import("./redis/redis-queue.ts"),
  ])
  const audit = await openAudit(config, runsOn, options.log)
  return RedisQueue.open(await RedisServer.connect(queue, options.log), audit, all)
}

async function openAudit({ store, data }: Config, runsOn: boolean, log: Log): Promise<AuditLog> {
  if (store.kind === "embedded") return openEmbeddedAudit(data, runsOn ? "later" : "at once", log)
  const { openPostgresAuditLog } = await import("../store/postgres/audit-log.ts")
  return await openPostgresAuditLog(store)
}

/** How many attempts a worker makes where. Mail for other domains goes to the domain, as far as places are counted; mail of our own people is not kept waiting by others. */
export function destinationsOf({ domains, limits }: Pick<Config, "domains" | "limits">): DestinationLimit {
  const own = new Set(domains)
  return {
    attempts: limits.deliveriesPerDomain,
    of({ recipient }) {
      const domain = recipient.slice(recipient.lastIndexOf("@") + 1)
      return own.has(domain) ? null : domain
    },
  }
}
