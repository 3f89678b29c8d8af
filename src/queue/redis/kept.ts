import type { Job as BullJob } from "bullmq"
import { GatewayError } from "../../errors.ts"
import type { DeliveryStatus } from "../../message/status.ts"
import type { Job } from "../queue.ts"

/** Of all our keys. */
export const PREFIX = "postern"
/** BullMQ's name of the queue. */
export const QUEUE = "mail"

/** What BullMQ keeps for us of a job. Times are milliseconds since 1970. */
export interface Kept {
  readonly spoolId: string
  readonly recipient: string
  /** Attempts begun before it was added. */
  readonly attempt: number
  readonly queuedAt: number
  /** The order in which jobs were added. */
  readonly place: number
  readonly dueAt: number
  readonly lastStatus: DeliveryStatus | null
  readonly holdReason: string | null
  readonly anyway?: true
}

/** A job as BullMQ hands it out. */
export type Held = BullJob<Kept>

/** How many jobs were ever added: {@link Kept.place} of the last one. */
export const PLACE = `${PREFIX}:place`

/** The set of a message's jobs. */
export function messageKey(spoolId: string): string {
  return `${PREFIX}:message:${spoolId}`
}

/** BullMQ's lock of a job, which has the name of the worker that leased it. */
export function lockKey(queue: { toKey(type: string): string }, id: string): string {
  return `${queue.toKey(id)}:lock`
}

export function keptOf({ spoolId, recipient, attempt, queuedAt }: Job, place: number): Kept {
  const queuedAtMs = queuedAt.getTime()
  return {
    spoolId,
    recipient,
    attempt,
    queuedAt: queuedAtMs,
    place,
    dueAt: queuedAtMs,
    lastStatus: null,
    holdReason: null,
  }
}

export function jobIn({ id = "", data }: Held): Job {
  const { spoolId, recipient, attempt, queuedAt, anyway } = data
  return { id, spoolId, recipient, attempt, queuedAt: new Date(queuedAt), ...(anyway ? { anyway } : {}) }
}

/** What is kept of a job whose last attempt was counted and is none. */
export function untried(kept: Kept): Kept {
  return { ...kept, attempt: kept.attempt - 1 }
}

/** BullMQ says so by a negative code: the job, or our lock of it, is gone. */
export function isLost(error: unknown): boolean {
  return error instanceof Error && "code" in error && typeof error.code === "number" && error.code < 0
}

/** Tells of an absence in the middle of what was asked, in our words. What was asked may have been done all the same. */
export async function answered<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (cause) {
    if (!(cause instanceof Error) || !ABSENCE.test(`${cause.name}: ${cause.message}`)) throw cause
    throw new GatewayError("QUEUE_AWAY", "queue: Redis does not answer", { cause })
  }
}

/** ioredis has no codes for these. */
const ABSENCE = /Connection is closed|Command timed out|Stream isn't writeable|ECONN|EPIPE|ETIMEDOUT|LOADING|READONLY/
