/**
 * PURE. When to try again, or null to give up: minutes after the first attempts, then hours (RFC 5321 §4.5.4.1).
 * @param attempt attempts begun before the one that just failed
 * @param receivedAt when the message was accepted
 * @param jitter from 0 up to 1, so that what failed together does not come back together; spreads over a quarter of the wait
 */
export function nextAttempt(attempt: number, receivedAt: Date, now: Date, jitter = 0.5): Date | null {
  const waitMs = (WAITS_MINUTES[attempt] ?? LONGEST_WAIT_MINUTES) * 60_000 * (0.875 + jitter / 4)
  const giveUpAt = receivedAt.getTime() + GIVE_UP_AFTER_MS
  if (now.getTime() >= giveUpAt) return null
  // The last attempt falls on the end itself; a clock that jumped back must not make the wait longer than planned.
  return new Date(Math.min(now.getTime() + waitMs, giveUpAt))
}

/** RFC 5321 §4.5.4.1: "at least 4-5 days". */
export const GIVE_UP_AFTER_MS = 5 * 24 * 3_600_000

/** Greylisting ends after minutes; a reboot within the hour; the rest takes people. */
const WAITS_MINUTES: readonly number[] = [2, 5, 10, 20, 30, 60, 90, 120]
/** RFC 5321 §4.5.4.1 allows two or three hours between tries of old mail. */
const LONGEST_WAIT_MINUTES = 180
/** A wait that is longer than this comes from a clock that ran ahead. */
export const LONGEST_WAIT_MS = 6 * 3_600_000
