import { describe, expect, test } from "vitest"
import { GIVE_UP_AFTER_MS, nextAttempt } from "../../src/queue/backoff.ts"

const START = new Date("2026-01-02T03:04:05Z")
const plus = (ms: number) => new Date(START.getTime() + ms)

function schedule(jitter: number): number[] {
  const waits: number[] = []
  let now = START
  for (let attempt = 0; ; attempt++) {
    const next = nextAttempt(attempt, START, now, jitter)
    if (next === null) return waits
    waits.push(next.getTime() - now.getTime())
    now = next
  }
}

describe("the backoff", () => {
  test("begins with minutes, never shrinks, and has at most three hours", () => {
    const waits = schedule(0.5)
    expect(waits[0]).toBe(120_000)
    expect(waits.slice(0, -1)).toEqual(waits.slice(0, -1).toSorted((a, b) => a - b))
    expect(Math.max(...waits)).toBe(3 * 3_600_000)
  })

  test("ends with a last attempt after five days (RFC 5321 §4.5.4.1)", () => {
    for (const jitter of [0, 0.5, 0.999]) {
      expect(schedule(jitter).reduce((sum, wait) => sum + wait, 0)).toBe(GIVE_UP_AFTER_MS)
      expect(schedule(jitter).length).toBeLessThan(60)
    }
    expect(nextAttempt(3, START, plus(GIVE_UP_AFTER_MS - 1))).toEqual(plus(GIVE_UP_AFTER_MS))
    expect(nextAttempt(3, START, plus(GIVE_UP_AFTER_MS))).toBeNull()
  })

  test("spreads what failed together", () => {
    expect(nextAttempt(1, START, START, 0)?.getTime()).toBeLessThan(nextAttempt(1, START, START, 0.99)?.getTime() ?? 0)
    expect(nextAttempt(1, START, START, 0)?.getTime()).toBeGreaterThan(START.getTime())
  })

  test("a clock that jumped back does not end or hurry it", () => {
    expect(nextAttempt(0, START, plus(-86_400_000))).toEqual(plus(-86_400_000 + 120_000))
  })
})
