import { jobsFor, type WorkQueue } from "../queue/queue.ts"
import type { NewEntry } from "../store/spool.ts"
import type { Core } from "./core.ts"

/** What holds messages, and knows what became of them. */
export type MessageQueue = Pick<WorkQueue, "add" | "settled">

/**
 * Spools and queues a message under `id`, once: a crash may have come before whoever asks for it had noted that it is done, and what has
 * left since is not put back into the spool.
 * @param attempt how many there may have been before
 * @returns when it is spooled; `queued`: when it is queued, too, which the sweep makes up for where it fails
 */
export async function spoolOnce(
  { spool }: Pick<Core, "spool">,
  queue: MessageQueue,
  id: string,
  entry: NewEntry,
  content: AsyncIterable<Uint8Array>,
  attempt = 0,
): Promise<{ readonly queued: Promise<void> }> {
  const isSettled = async () => (await queue.settled(id)).size > 0
  if (await isSettled()) return { queued: Promise.resolve() }
  await spool.write(entry, content, id)
  if (await isSettled()) {
    // Its job came through meanwhile, and took what was spooled before: nobody would come for what was written behind it.
    await spool.remove(id)
    return { queued: Promise.resolve() }
  }
  return { queued: queue.add(...jobsFor(id, entry.envelope, entry.receivedAt, attempt)) }
}

/** Content that is at hand. */
export async function* whole(octets: Uint8Array): AsyncGenerator<Uint8Array> {
  yield octets
}
