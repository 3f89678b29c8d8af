import type { Config } from "../config/config.ts"
import { GatewayError } from "../errors.ts"
import type { State } from "../store/database.ts"
import { presentProcesses } from "../store/presence.ts"
import { thisProcess } from "../store/process.ts"
import { secret } from "../store/secrets.ts"

/** In `data`; made with the first start. A copy of the folder has it too, and is taken for the same. */
const ID_FILE = "queue-id"
const ID_OCTETS = 16

/** The name of the queue that a worker of this configuration works on, the same in all processes that work on it. */
export function queueName({ queue, data }: Pick<Config, "queue" | "data">): string {
  return queue.kind === "redis" ? "redis" : Buffer.from(secret(data, ID_FILE, ID_OCTETS)).toString("hex")
}

/**
 * Two queues over one spool send everything twice: each finds in it what the other has not settled in its own record. To be asked when this
 * process is among those that are present, so that of two that start at once one sees the other at least.
 * @throws GatewayError CONFIG_INVALID naming a live worker of this store that has another queue
 */
export function refuseOtherQueues(state: State, name: string, now: Date): void {
  const own = `${thisProcess()}/`
  const other = presentProcesses(state, now).find(
    (process) => process.queue !== null && process.queue !== name && !process.name.startsWith(own),
  )
  if (other === undefined) return
  const [host, pid] = other.name.split("/")
  throw new GatewayError(
    "CONFIG_INVALID",
    `queue.url: process ${pid} on ${host} works on the mail of this store by another queue, and all of it would be sent twice: ` +
      "machines that share store.url need one Redis; or end that process, and wait for 20 s if its machine is gone",
  )
}
