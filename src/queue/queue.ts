import { sha256 } from "../crypto/primitives/hash.ts"
import { addressKey } from "../message/address.ts"
import type { Envelope } from "../message/envelope.ts"
import type { DeliveryStatus } from "../message/status.ts"

/** One message for one recipient. The octets stay in the spool. */
export interface Job {
  /** Spool id and digest of the recipient: adding the same pair again changes nothing. */
  readonly id: string
  readonly spoolId: string
  /** In the form of `addressKey`. */
  readonly recipient: string
  /** Attempts begun before this one. Above 0: an earlier one may have come through, whatever became of its note. */
  readonly attempt: number
  /** When the message was accepted. */
  readonly queuedAt: Date
  /** An administrator has let it go whatever doubt there is of who sends it; policy and keys count as for all mail. */
  readonly anyway?: true
}

/** What became of an attempt: a value, never a thrown error; retry is an ordinary day. */
export type Outcome =
  /** `isDropped`: it was taken, and nobody gets it. `isShared`: it went with others in one go, and the place that it had cost little. */
  | { readonly kind: "done"; readonly status: DeliveryStatus; readonly isDropped?: true; readonly isShared?: true }
  | { readonly kind: "retry"; readonly at: Date; readonly status: DeliveryStatus }
  /** The handler has spooled and queued the bounce before it says so. */
  | { readonly kind: "failed"; readonly status: DeliveryStatus }
  | { readonly kind: "hold"; readonly reason: string }

/** One attempt. `signal` ends with the worker; what it throws is a fault of ours, and is tried again. */
export type Handler = (job: Job, signal: AbortSignal) => Promise<Outcome>

/** Jobs by state; `failed` are the bounced ones that the audit still knows. */
export type Counts = Readonly<Record<"ready" | "delayed" | "active" | "held" | "failed", number>>

/** Durable work list; holds references, the octets stay in the spool. At least once: handlers are idempotent. */
export interface Queue extends AsyncDisposable {
  /**
   * Resolves when the jobs are written down, all or none. A pair that is queued or was settled already is left as it is.
   * All jobs of a message go in one call: when its last job is settled, the message leaves the spool.
   */
  add(...jobs: readonly Job[]): Promise<void>
  /** Works until `signal` ends and the attempts under way are settled. */
  work(handler: Handler, options: { readonly concurrency: number; readonly signal: AbortSignal }): Promise<void>
  /** Ids of all jobs not yet settled. */
  ids(): AsyncIterable<string>
  counts(): Promise<Counts>
}

/** A job as an administrator sees it. */
export interface QueuedJob extends Job {
  /** `active`: a worker has it, and tries it, or keeps it until its destination has a place. */
  readonly state: "ready" | "delayed" | "active" | "held"
  /** Who has it, as `host/pid/start/worker`; null: it is not active, or its lease has just run out. */
  readonly worker: string | null
  /** When it is tried next; null: not by itself. */
  readonly dueAt: Date | null
  /** What the last attempt came to; null: never tried, or the attempt left no note. */
  readonly lastStatus: DeliveryStatus | null
  /** Why it is held, or will be after the attempt under way; null: it is not. */
  readonly holdReason: string | null
}

/** How a pair of message and recipient ends. */
export type FinalOutcome = "done" | "failed" | "dropped"

/** One line of the record of what became of mail: `queued` first, exactly one final outcome last. */
export interface AuditRow {
  readonly spoolId: string
  readonly recipient: string
  readonly outcome: FinalOutcome | "queued" | "held" | "released"
  /** null where nothing was attempted. */
  readonly status: DeliveryStatus | null
  readonly at: Date
}

/** Acts of an administrator. `id` is a job's, or a spool id for all jobs of the message; each returns how many jobs it met. */
export interface QueueAdministration {
  list(): Promise<QueuedJob[]>
  /** @returns both empty when the queue never knew the id, or has forgotten it after 30 days */
  show(id: string): Promise<{ readonly jobs: readonly QueuedJob[]; readonly audit: readonly AuditRow[] }>
  /** What failed for good last, newest first. */
  failures(limit: number): Promise<AuditRow[]>
  /** An attempt under way is finished; only what it leaves is held. */
  hold(id: string, reason: string): Promise<number>
  /** `anyway`: {@link Job.anyway}, of those that are held; it stays with the job. What is put into the queue again by the sweep has lost it. */
  release(id: string, anyway?: boolean): Promise<number>
  /** Tries delayed jobs now. */
  retry(id: string): Promise<number>
  /** Ends the jobs without a bounce; an attempt under way is finished first, and counts when it comes through. */
  drop(id: string): Promise<number>
}

/** What the record says of a job that is released {@link Job.anyway}. */
export function inSpiteOf({ recipient, holdReason }: QueuedJob): DeliveryStatus {
  const diagnostic = `released by an administrator, anyway; it was held: ${holdReason ?? "nothing was said why"}`
  return { recipient, action: "delayed", status: "4.7.0", diagnostic }
}

/** What the record says of one pair, all its lines together. */
export interface RecordedPair {
  readonly spoolId: string
  readonly recipient: string
  readonly queuedAt: Date | null
  /** More than one, or one that was never queued: a fault of ours. */
  readonly finals: readonly FinalOutcome[]
}

/** The record, as the sweep and an audit ask it, and as it is told of what went past the queue. */
export interface Ledger {
  /** Writes down of mail that needed no job that it came and is done. Of a pair that was settled already nothing more is written. */
  passed(job: Job, status: DeliveryStatus): Promise<void>
  /** Recipients of the message for whom all is over. */
  settled(spoolId: string): Promise<ReadonlySet<string>>
  /** Forgets messages of which nothing was heard since `before`, and that have no job. @returns how many rows went */
  prune(before: Date): Promise<number>
  /** All pairs of messages of which something was heard since then, by message. */
  pairs(since: Date): AsyncIterable<RecordedPair>
}

/** A whole driver. All its methods throw GatewayError QUEUE_AWAY while what it keeps its jobs in does not answer. */
export interface WorkQueue extends Queue, QueueAdministration, Ledger {
  /** False: it does not answer. */
  readonly isThere: boolean
  /** `act` is called when it answers again, or has lost everything: a sweep is due. */
  onReturn(act: () => void): void
}

/** The job of one recipient of one message. */
export function jobFor(spoolId: string, recipient: string, queuedAt: Date, attempt = 0): Job {
  const digest = Buffer.from(sha256(new TextEncoder().encode(recipient))).toString("hex")
  return { id: `${spoolId}-${digest.slice(0, RECIPIENT_DIGITS)}`, spoolId, recipient, attempt, queuedAt }
}

/** One job for each recipient of the envelope, in its order, doubles left out. */
export function jobsFor(spoolId: string, envelope: Envelope, queuedAt: Date, attempt = 0): Job[] {
  const recipients = new Set(envelope.recipients.map((recipient) => addressKey(recipient.address)))
  return [...recipients].map((recipient) => jobFor(spoolId, recipient, queuedAt, attempt))
}

/** The spool id within a job's id. */
export function spoolIdOf(jobId: string): string {
  return jobId.slice(0, jobId.length - RECIPIENT_DIGITS - 1)
}

/** 64 bits: enough to tell the recipients of one message apart. */
const RECIPIENT_DIGITS = 16
