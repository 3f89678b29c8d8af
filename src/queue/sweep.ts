import { GatewayError, hasCode } from "../errors.ts"
import type { Log } from "../log/log.ts"
import type { Spool } from "../store/spool.ts"
import type { SpoolKeys } from "../store/spool-keys.ts"
import { jobsFor, spoolIdOf, type WorkQueue } from "./queue.ts"

/** What the sweep tidies. */
export interface SweepOptions {
  readonly spool: Pick<Spool, "ids" | "open" | "remove" | "removeLeftovers" | "keysInUse">
  readonly queue: Pick<WorkQueue, "add" | "ids" | "settled" | "prune" | "onReturn">
  readonly spoolKeys: Pick<SpoolKeys, "rotate" | "replaced" | "destroy">
  readonly now: () => Date
  readonly log: Log
}

/** What may be away. */
interface Returning {
  /** `act` is called when it is back. */
  onReturn(act: () => void): void
}

/** What a sweep found. */
export interface SweepReport {
  /** Messages without a job, queued again. */
  readonly queued: readonly string[]
  /** Messages that were settled and had not left the spool. */
  readonly removed: readonly string[]
  /** Messages that cannot be opened; they stay where they are. */
  readonly unreadable: readonly string[]
  /** Files that killed writers left. */
  readonly leftovers: number
  /** Spool keys destroyed. */
  readonly destroyedKeys: readonly string[]
}

/** The record of what became of mail is kept for this long. */
export const AUDIT_KEPT_MS = 30 * 24 * 3_600_000
const SWEEP_EVERY_MS = 600_000

/** Makes queue and spool agree: the spool is the truth, the queue can be made again from it. */
export async function sweep(options: SweepOptions): Promise<SweepReport> {
  const { spool, queue, spoolKeys, now, log } = options
  const leftovers = await spool.removeLeftovers()
  const fates = { queued: [] as string[], removed: [] as string[], unreadable: [] as string[] }
  for (const id of await withoutJob(spool, queue)) {
    const fate = await mend(id, options)
    if (fate !== "gone") fates[fate].push(id)
  }
  await queue.prune(new Date(now().getTime() - AUDIT_KEPT_MS))
  await spoolKeys.rotate(now())
  const destroyedKeys = await destroyReplacedKeys(options)
  const report = { ...fates, leftovers, destroyedKeys }
  if (fates.queued.length + fates.removed.length + leftovers > 0)
    log.info("sweep.mended", { queued: fates.queued, removed: fates.removed, leftovers })
  return report
}

/**
 * Sweeps now, every 10 minutes, and when the queue or the state is back from an absence; one sweep at a time, until disposed. The first has
 * ended when the promise resolves, unless the queue is away.
 */
export async function startSweeping(options: SweepOptions, state: Returning): Promise<AsyncDisposable> {
  const failed = (error: unknown): void => options.log.error("sweep.failed", {}, error)
  let running: Promise<unknown> = sweep(options).catch((error: unknown) => {
    if (!hasCode(error, "QUEUE_AWAY")) throw error
    failed(error)
  })
  await running
  let over = false
  const soon = (): void => {
    if (!over) running = running.then(() => sweep(options)).catch(failed)
  }
  for (const one of [options.queue, state]) one.onReturn(soon)
  const timer = setInterval(soon, SWEEP_EVERY_MS).unref()
  return {
    [Symbol.asyncDispose]: async () => {
      over = true
      clearInterval(timer)
      await running
    },
  }
}

/** The spool is listed first: what gets its job in between is seen to have it. */
async function withoutJob(spool: SweepOptions["spool"], queue: SweepOptions["queue"]): Promise<string[]> {
  const stored: string[] = []
  for await (const id of spool.ids()) stored.push(id)
  const queued = new Set<string>()
  for await (const id of queue.ids()) queued.add(spoolIdOf(id))
  return stored.filter((id) => !queued.has(id)).toSorted()
}

async function mend(
  id: string,
  { spool, queue, log }: SweepOptions,
): Promise<"queued" | "removed" | "unreadable" | "gone"> {
  try {
    await using message = await spool.open(id)
    if (message === null) return "gone"
    const settled = await queue.settled(id)
    // Attempt 1: nobody knows whether there was one before.
    const jobs = jobsFor(id, message.entry.envelope, message.entry.receivedAt, 1)
    const open = jobs.filter((job) => !settled.has(job.recipient))
    if (open.length > 0) await queue.add(...open)
    else await spool.remove(id)
    return open.length > 0 ? "queued" : "removed"
  } catch (error) {
    if (!(error instanceof GatewayError) || error.code === "STATE_AWAY") throw error
    log.error("sweep.unreadable", { id, code: error.code }, error)
    return "unreadable"
  }
}

async function destroyReplacedKeys({ spool, spoolKeys, now, log }: SweepOptions): Promise<readonly string[]> {
  const replaced = await spoolKeys.replaced(now())
  if (replaced.length === 0) return []
  const used = await spool.keysInUse()
  const unused = used === null ? [] : replaced.filter((id) => !used.has(id))
  const destroyed = await spoolKeys.destroy(unused)
  if (destroyed.length > 0) log.info("sweep.spool-keys-destroyed", { keys: destroyed.length })
  return destroyed
}
