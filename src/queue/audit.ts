import { jobFor, type RecordedPair, spoolIdOf, type WorkQueue } from "./queue.ts"

/** Where a recipient's copy of an accepted message is. */
export type Whereabouts =
  | "delivered"
  | "bounced"
  | "dropped"
  | "held"
  | "queued"
  /** In the spool; the next sweep queues it. */
  | "spooled"

/** A pair of message and recipient that is not in exactly one place: a fault of ours. */
export interface AuditFault {
  readonly spoolId: string
  readonly recipient: string
  /** `lost`: it is nowhere; `ended twice`: it has more than one end. */
  readonly kind: "lost" | "ended twice"
}

/** What became of all mail that was accepted. */
export interface AuditReport {
  readonly messages: number
  readonly recipients: Readonly<Record<Whereabouts, number>>
  /** Messages in the spool of which the queue does not know yet; the next sweep queues them. */
  readonly unknown: readonly string[]
  readonly faults: readonly AuditFault[]
}

/**
 * Finds every recipient of every message of which something was heard since `since`: each must be in exactly one place. A server may run
 * beside it: what seems to be nowhere is looked for again, since it may have moved meanwhile.
 */
export async function audit(queue: WorkQueue, spooled: () => AsyncIterable<string>, since: Date): Promise<AuditReport> {
  const recipients = { delivered: 0, bounced: 0, dropped: 0, held: 0, queued: 0, spooled: 0 }
  const faults: AuditFault[] = []
  const messages = new Set<string>()
  const [inSpool, jobs] = [await gathered(spooled()), await statesOf(queue)]
  for await (const pair of queue.pairs(since)) {
    const { spoolId, recipient } = pair
    messages.add(spoolId)
    const found = placeOf(pair, jobs) ?? (await lookAgain(pair, queue, inSpool))
    if (found === "lost" || found === "ended twice") faults.push({ spoolId, recipient, kind: found })
    else recipients[found] += 1
  }
  const known = new Set([...messages, ...[...jobs.keys()].map(spoolIdOf)])
  const left = await gathered(spooled())
  const unknown = [...inSpool].filter((id) => !known.has(id) && left.has(id))
  return { messages: messages.size, recipients, unknown, faults }
}

type Found = Whereabouts | AuditFault["kind"]

const ENDS = { done: "delivered", failed: "bounced", dropped: "dropped" } as const

/** null: not in the record's ends, nor among `jobs`. */
function placeOf({ spoolId, recipient, finals }: RecordedPair, jobs: ReadonlyMap<string, Found>): Found | null {
  if (finals.length > 1) return "ended twice"
  const [end] = finals
  if (end !== undefined) return ENDS[end]
  return jobs.get(jobFor(spoolId, recipient, NEVER).id) ?? null
}

async function lookAgain(pair: RecordedPair, queue: WorkQueue, inSpool: ReadonlySet<string>): Promise<Found> {
  const { spoolId, recipient } = pair
  const { jobs, audit: rows } = await queue.show(spoolId)
  const finals = rows.flatMap(({ recipient: whose, outcome }) =>
    whose === recipient && outcome in ENDS ? [outcome as keyof typeof ENDS] : [],
  )
  const states = new Map(jobs.map(({ id, state }) => [id, state === "held" ? "held" : "queued"] as const))
  return placeOf({ ...pair, finals }, states) ?? (inSpool.has(spoolId) ? "spooled" : "lost")
}

async function statesOf(queue: WorkQueue): Promise<ReadonlyMap<string, Found>> {
  return new Map((await queue.list()).map(({ id, state }) => [id, state === "held" ? "held" : "queued"]))
}

async function gathered(ids: AsyncIterable<string>): Promise<ReadonlySet<string>> {
  const all = new Set<string>()
  for await (const id of ids) all.add(id)
  return all
}

/** A job's id does not depend on its time. */
const NEVER = new Date(0)
