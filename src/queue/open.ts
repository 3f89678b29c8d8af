import type { Config, StoreConfig } from "../config/config.ts"
import type { AuditLog } from "./audit-log.ts"
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
  const { queue, store, data } = config
  if (queue.kind === "embedded")
    return openEmbeddedQueue(data, { ...options, commitsReachDisk: runsOn ? "later" : "at once" })
  // Loaded where it is used: BullMQ and its like take a fifth of a second and 25 MB.
  const [{ RedisServer }, { RedisQueue }] = await Promise.all([
    import("./redis/server.ts"),
    import("./redis/redis-queue.ts"),
  ])
  const audit = await openAudit(store, data)
  return RedisQueue.open(await RedisServer.connect(queue, options.log), audit, options)
}

async function openAudit(store: StoreConfig, data: string): Promise<AuditLog> {
  if (store.kind === "embedded") return openEmbeddedAudit(data)
  const { openPostgresAuditLog } = await import("../store/postgres/audit-log.ts")
  return await openPostgresAuditLog(store)
}
