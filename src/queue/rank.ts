/**
 * PURE. Who is first among the jobs that are due: who came first, where some stand in line as if they had come later. So nobody starves:
 * whoever waits for that long is before all mail that comes then.
 */

/** A retry stands behind the fresh mail of this time, and so does a message to very many. */
export const STANDS_BEHIND_MS = 300_000
/** A message to more recipients than this is a mailing, not a letter. */
export const MANY_RECIPIENTS = 50

/**
 * The place in line of a job that is due at `dueMs`; the smallest is first.
 * @param attempt attempts begun before the one that it waits for
 * @param recipients jobs that its message was added with
 */
export function rankOf(dueMs: number, attempt: number, recipients: number): number {
  return attempt > 0 || recipients > MANY_RECIPIENTS ? dueMs + STANDS_BEHIND_MS : dueMs
}

/** The same as a number from 1 to 2 ** 21, as BullMQ has priorities: the smallest is first. Five minutes each, it lasts until 2044. */
export function priorityOf(dueMs: number, attempt: number, recipients: number): number {
  const slot = Math.floor((rankOf(dueMs, attempt, recipients) - FIRST_SLOT_MS) / STANDS_BEHIND_MS)
  return Math.min(Math.max(slot, 1), LAST_SLOT)
}

/** The first of January 2025. */
const FIRST_SLOT_MS = 1_735_689_600_000
const LAST_SLOT = 2 ** 21
