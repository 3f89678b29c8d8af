import { describe, expect, test } from "vitest"
import { Destinations } from "../../src/queue/destinations.ts"
import { jobFor } from "../../src/queue/queue.ts"
import { priorityOf, rankOf, STANDS_BEHIND_MS } from "../../src/queue/rank.ts"

const NOW = new Date("2026-01-02T03:04:05Z")
const at = (ms: number) => new Date(NOW.getTime() + ms)
const job = (index: number, domain = "a.test") => jobFor(`m${index}`, `r@${domain}`, NOW)
const limited = () =>
  new Destinations({
    attempts: 2,
    of: ({ recipient }) => (recipient.endsWith("@own.test") ? null : recipient.slice(2)),
  })

describe("places of a destination", () => {
  test("are as many as stated, for each on its own", () => {
    const places = limited()
    expect([0, 1].map((index) => places.admit(job(index), NOW))).toEqual([null, null])
    expect(places.admit(job(2), NOW)).not.toBeNull()
    expect(places.admit(job(3, "b.test"), NOW)).toBeNull()
    for (let index = 4; index < 50; index++) expect(places.admit(job(index, "own.test"), NOW)).toBeNull()
  })

  test("a job has one however often it is asked for, and gives one back", () => {
    const places = limited()
    for (let times = 0; times < 3; times++) expect(places.admit(job(0), NOW)).toBeNull()
    expect(places.admit(job(1), NOW)).toBeNull()
    places.release(job(7), NOW)
    expect(places.admit(job(2), NOW)).not.toBeNull()
    for (let times = 0; times < 2; times++) places.release(job(0), NOW)
    expect(places.admit(job(2), NOW)).toBeNull()
    expect(places.admit(job(3), NOW)).not.toBeNull()
  })

  test("who finds none comes back one after the other, as fast as places become free, within a minute", () => {
    const places = limited()
    for (const index of [0, 1]) places.admit(job(index), NOW)
    places.release(job(0), at(10_000))
    places.admit(job(2), at(10_000))
    const waits = [3, 4, 5].map((index) => places.admit(job(index), at(10_000)))
    expect(waits).toEqual([at(11_000), at(16_000), at(21_000)])
    const last = Array.from({ length: 100 }, (_, index) => places.admit(job(10 + index), at(10_000))).at(-1)
    expect(last).toEqual(at(70_000))
  })
})

describe("the place in line", () => {
  const rows: [name: string, attempt: number, recipients: number, behindMs: number][] = [
    ["fresh mail", 0, 1, 0],
    ["a letter to a club", 0, 50, 0],
    ["a mailing", 0, 51, STANDS_BEHIND_MS],
    ["a retry", 1, 1, STANDS_BEHIND_MS],
  ]
  for (const [name, attempt, recipients, behindMs] of rows)
    test(name, () => expect(rankOf(NOW.getTime(), attempt, recipients)).toBe(NOW.getTime() + behindMs))

  test("as BullMQ has it: rises with time, from 1 to what it can hold", () => {
    const slot = (date: string, attempt = 0) => priorityOf(Date.parse(date), attempt, 1)
    expect(slot("1970-01-01T00:00:00Z")).toBe(1)
    expect(slot("2026-01-02T00:05:00Z") - slot("2026-01-02T00:00:00Z")).toBe(1)
    expect(slot("2026-01-02T00:00:00Z", 1) - slot("2026-01-02T00:00:00Z")).toBe(1)
    expect(slot("2044-01-01T00:00:00Z")).toBeLessThan(2 ** 21)
    expect(slot("2090-01-01T00:00:00Z")).toBe(2 ** 21)
  })
})
