import { describe, expect, test } from "vitest"
import { Destinations } from "../../src/queue/destinations.ts"
import { type Job, jobFor } from "../../src/queue/queue.ts"
import { priorityOf, rankOf, STANDS_BEHIND_MS } from "../../src/queue/rank.ts"
import { type Crowd, crowds } from "../../src/queue/waiting.ts"

const NOW = new Date("2026-01-02T03:04:05Z")
const at = (ms: number) => new Date(NOW.getTime() + ms)
const job = (index: number, domain = "a.test") => jobFor(`m${index}`, `r@${domain}`, NOW)
const LIMIT = {
  attempts: 2,
  of: ({ recipient }: { recipient: string }) => (recipient.endsWith("@own.test") ? null : recipient.slice(2)),
}
const limited = () => new Destinations<Job>(LIMIT)
const COME = { hasCome: true, isShared: false }
const AWAY = { hasCome: false, isShared: false }
const TOGETHER = { hasCome: true, isShared: true }
const PLACE = { kind: "place" }
const WAITS = { kind: "waits" }
const putOff = (until: Date) => ({ kind: "put off", until })

/** Both places are taken; an attempt took so long. */
function full(tookMs: number) {
  const places = limited()
  for (const index of [0, 1]) places.admit(job(index), NOW)
  places.release(job(0), at(tookMs), COME)
  places.admit(job(2), at(tookMs))
  return places
}

describe("those who wait for a place", () => {
  const leased = (count: number, worker: string | null, domain?: string) =>
    Array.from({ length: count }, (_, index) => {
      const state = worker === null ? "ready" : "active"
      return { ...job(index, domain), state, worker, dueAt: null, lastStatus: null, holdReason: null } as const
    })
  test.each<[what: string, jobs: ReturnType<typeof leased>, found: readonly Crowd[]]>([
    ["nobody", [], []],
    ["as many as there are places", leased(2, "w"), []],
    ["two more", leased(4, "w"), [{ destination: "a.test", worker: "w", leased: 4, waiting: 2 }]],
    ["each worker has places of its own", [...leased(2, "w"), ...leased(2, "x")], []],
    ["and so has each destination", [...leased(2, "w"), ...leased(2, "w", "b.test")], []],
    ["our own have no limit", leased(9, "w", "own.test"), []],
    ["who is not leased waits for no place", leased(9, null), []],
  ])("%s", (_what, jobs, found) => {
    expect(crowds(jobs, LIMIT)).toEqual(found)
  })
})

describe("places of a destination", () => {
  test("are as many as stated, for each on its own", () => {
    const places = limited()
    expect([0, 1].map((index) => places.admit(job(index), NOW))).toEqual([PLACE, PLACE])
    expect(places.admit(job(2), NOW)).toEqual(putOff(at(1_000)))
    expect(places.admit(job(3, "b.test"), NOW)).toEqual(PLACE)
    for (let index = 4; index < 50; index++) expect(places.admit(job(index, "own.test"), NOW)).toEqual(PLACE)
  })

  test("a job has one however often it is asked for, and gives one back", () => {
    const places = limited()
    for (let times = 0; times < 3; times++) expect(places.admit(job(0), NOW)).toEqual(PLACE)
    expect(places.admit(job(1), NOW)).toEqual(PLACE)
    places.release(job(7), NOW, COME)
    expect(places.admit(job(2), NOW)).toEqual(putOff(at(1_000)))
    for (let times = 0; times < 2; times++) expect(places.release(job(0), NOW, COME)).toEqual([])
    expect(places.admit(job(2), NOW)).toEqual(PLACE)
    expect(places.admit(job(3), NOW)).toEqual(WAITS)
  })

  test("who finds none comes back one after the other, as fast as places become free, within a minute", () => {
    const places = full(10_000)
    const answers = [3, 4, 5].map((index) => places.admit(job(index), at(10_000)))
    expect(answers).toEqual([11_000, 16_000, 21_000].map((ms) => putOff(at(ms))))
    const last = Array.from({ length: 100 }, (_, index) => places.admit(job(10 + index), at(10_000))).at(-1)
    expect(last).toEqual(putOff(at(70_000)))
  })

  test("whose turn comes within a second waits for it, and has the place when another gives it back", () => {
    const places = full(500)
    // Two places, half a second each: a second holds four.
    expect([3, 4, 5, 6].map((index) => places.admit(job(index), at(500)))).toEqual([WAITS, WAITS, WAITS, WAITS])
    expect(places.admit(job(7), at(500))).toEqual(putOff(at(1_500)))
    expect(places.waiting()).toEqual([3, 4, 5, 6].map((index) => job(index)))
    expect(places.release(job(1), at(600), COME)).toEqual([job(3)])
    expect(places.admit(job(3), at(600))).toEqual(PLACE)
    expect(places.release(job(3), at(700), COME)).toEqual([job(4)])
    expect(places.admit(job(4), at(700))).toEqual(PLACE)
    expect(places.waiting()).toEqual([job(5), job(6)])
  })

  test("nobody waits at one that is away: one tries it, the others are put off, until an attempt has come to something", () => {
    const places = full(500)
    for (const index of [3, 4]) places.admit(job(index), at(500))
    const waited = places.release(job(1), at(600), AWAY)
    expect(waited).toEqual([job(3), job(4)])
    expect(waited.map((one) => places.admit(one, at(600)).kind)).toEqual(["place", "put off"])
    expect(places.admit(job(5), at(600)).kind).toBe("put off")
    expect(places.release(job(3), at(610), COME)).toEqual([])
    expect(places.admit(job(6), at(610))).toEqual(PLACE)
    expect(places.admit(job(7), at(610))).toEqual(WAITS)
  })

  test("so many wait for each place at most, however fast it goes", () => {
    const places = full(1)
    const answers = Array.from({ length: 70 }, (_, index) => places.admit(job(10 + index), at(1)).kind)
    expect(answers.filter((kind) => kind === "waits")).toHaveLength(64)
    expect(answers.at(-1)).toBe("put off")
  })

  test("there are twice as many where what is sent goes several together, while that takes no longer than a second", () => {
    const places = full(500)
    for (let index = 3; index < 9; index++) places.admit(job(index), at(500))
    // One has its place back, and two more than before are there.
    expect(places.release(job(1), at(600), TOGETHER)).toEqual([job(3), job(4), job(5)])
    expect([3, 4, 5].map((index) => places.admit(job(index), at(600)))).toEqual([PLACE, PLACE, PLACE])
    expect(places.admit(job(9), at(600))).toEqual(WAITS)
    // It becomes slow: those who are there stay, and nobody comes for those that are too many.
    expect(places.release(job(2), at(1_600), TOGETHER)).toEqual([])
    expect(places.release(job(3), at(1_601), TOGETHER)).toEqual([])
    expect(places.release(job(4), at(1_602), TOGETHER)).toEqual([job(6)])
  })

  test("there are as many as before where the last one went alone, or came to nothing", () => {
    for (const last of [COME, AWAY]) {
      const places = full(500)
      for (let index = 3; index < 6; index++) places.admit(job(index), at(500))
      for (const next of places.release(job(1), at(510), TOGETHER)) places.admit(next, at(510))
      expect(places.release(job(2), at(520), last)).toEqual([])
      expect(places.admit(job(7), at(520)).kind).not.toBe("place")
    }
  })

  test("who waits is dismissed at the end, and nobody has the place after him", () => {
    const places = full(100)
    places.admit(job(3), at(100))
    expect(places.dismiss()).toEqual([job(3)])
    expect(places.waiting()).toEqual([])
    expect(places.release(job(1), at(200), COME)).toEqual([])
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
