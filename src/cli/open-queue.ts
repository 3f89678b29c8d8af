import { existsSync } from "node:fs"
import { join } from "node:path"
import type { Config } from "../config/config.ts"
import { GatewayError } from "../errors.ts"
import { silentLog } from "../log/log.ts"
import { openQueue as openWorkQueue } from "../queue/open.ts"
import type { WorkQueue } from "../queue/queue.ts"
import { openSpool } from "../store/open-spool.ts"
import type { Spool, SpoolEntry } from "../store/spool.ts"

/** The queue and the spool behind it, open while a command works on them; a server may run beside it. */
export interface OpenQueue extends AsyncDisposable {
  readonly queue: WorkQueue
  /** Envelope, origin and size of a message. @returns null when it left the spool, or the spool's secret keys are not here */
  entry(spoolId: string): Promise<SpoolEntry | null>
  /** Ids of all messages in the spool. */
  spooled(): AsyncIterable<string>
}

/**
 * Opens queue and spool of the instance.
 * @throws GatewayError CONFIG_INVALID, STATE_CORRUPT, STATE_VERSION; what is asked of the queue later throws QUEUE_AWAY
 */
export async function openQueue(config: Config): Promise<OpenQueue> {
  const now = () => new Date()
  // Without the private keys everything works, but nobody can say who sent a message.
  const opens = existsSync(join(config.secrets, "spool"))
  const { spool } = await openSpool(config, { accepts: false, opens, runsOn: false, now })
  const log = silentLog()
  const queue = await openWorkQueue(config, { now, log, runsOn: false, onEmptied: (id) => spool.remove(id) })
  return {
    queue,
    entry: (spoolId) => entryOf(spool, spoolId),
    spooled: () => spool.ids(),
    async [Symbol.asyncDispose]() {
      await queue[Symbol.asyncDispose]()
      await spool[Symbol.asyncDispose]()
    },
  }
}

async function entryOf(spool: Spool, spoolId: string): Promise<SpoolEntry | null> {
  try {
    await using message = await spool.open(spoolId)
    return message?.entry ?? null
  } catch (error) {
    // The queue can be looked at all the same: a list must not end at a damaged file.
    if (error instanceof GatewayError) return null
    throw error
  }
}
