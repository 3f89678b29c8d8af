import { afterEach, beforeEach, describe, expect, test, vi } from "vitest"
import { Together } from "../../src/mesh-out/together.ts"

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())
const signal = new AbortController().signal

/** Sends three in one go at most; each is answered when the test says so. */
function sending() {
  const sent: { readonly things: readonly string[]; readonly signal: AbortSignal; answer(): void; fail(): void }[] = []
  const together = new Together<string, string>(
    (things, until) =>
      new Promise((resolve, reject) =>
        sent.push({
          things,
          signal: until,
          answer: () => resolve(things.map((thing) => thing.toUpperCase())),
          fail: () => reject(new Error(`no ${things.join("")}`)),
        }),
      ),
    (things) => Math.min(3, things.length),
  )
  return { sent, things: () => sent.map(({ things }) => things.join("")), together }
}

describe("one by itself", () => {
  test("goes at once, and the next one when it is answered", async () => {
    const { together, sent, things } = sending()
    expect(together.isIdle).toBe(true)
    const a = together.send("a", signal)
    expect(things()).toEqual(["a"])
    expect(together.isIdle).toBe(false)
    sent[0]?.answer()
    expect(await a).toBe("A")
    const b = together.send("b", signal)
    expect(things()).toEqual(["a", "b"])
    sent[1]?.fail()
    await expect(b).rejects.toThrow("no b")
    await vi.advanceTimersByTimeAsync(0)
    expect(together.isIdle).toBe(true)
  })
})

describe("what comes while something is under way", () => {
  test("goes together when that is answered, each with its own result", async () => {
    const { together, sent, things } = sending()
    const all = ["a", "b", "c"].map((thing) => together.send(thing, signal))
    expect(things()).toEqual(["a"])
    sent[0]?.answer()
    await vi.advanceTimersByTimeAsync(0)
    expect(things()).toEqual(["a", "bc"])
    sent[1]?.answer()
    expect(await Promise.all(all)).toEqual(["A", "B", "C"])
  })

  test("goes after a while, even if that is not answered: one that is slow holds up no others", async () => {
    const { together, things } = sending()
    void together.send("a", signal)
    void together.send("b", signal)
    await vi.advanceTimersByTimeAsync(12)
    // Waits for the rest of the time that the one before it began.
    void together.send("c", signal)
    await vi.advanceTimersByTimeAsync(7)
    expect(things()).toEqual(["a"])
    await vi.advanceTimersByTimeAsync(1)
    expect(things()).toEqual(["a", "bc"])
  })

  test("goes when it is more than goes in one go", () => {
    const { together, things } = sending()
    for (const thing of "abcde") void together.send(thing, signal)
    expect(things()).toEqual(["a", "bcd"])
  })

  test("four at a time at most", async () => {
    const { together, sent, things } = sending()
    for (const thing of "abcdefghijklmnopq") void together.send(thing, signal)
    await vi.advanceTimersByTimeAsync(1_000)
    expect(things()).toEqual(["a", "bcd", "efg", "hij"])
    sent[2]?.answer()
    await vi.advanceTimersByTimeAsync(0)
    expect(things()).toEqual(["a", "bcd", "efg", "hij", "klm"])
  })

  test("waits for all that is under way, not for the first of it that is answered", async () => {
    const { together, sent, things } = sending()
    for (const thing of "abcd") void together.send(thing, signal)
    await vi.advanceTimersByTimeAsync(20)
    void together.send("e", signal)
    sent[0]?.answer()
    await vi.advanceTimersByTimeAsync(0)
    void together.send("f", signal)
    expect(things()).toEqual(["a", "bcd"])
    sent[1]?.answer()
    await vi.advanceTimersByTimeAsync(0)
    expect(things()).toEqual(["a", "bcd", "ef"])
  })

  test("a failure is that of all that went together, and of no others", async () => {
    const { together, sent } = sending()
    const all = Promise.allSettled([..."abcde"].map((thing) => together.send(thing, signal)))
    sent[1]?.fail()
    sent[0]?.answer()
    await vi.advanceTimersByTimeAsync(0)
    sent[2]?.answer()
    expect((await all).map((one) => (one.status === "fulfilled" ? one.value : one.reason.message))).toEqual([
      "A",
      "no bcd",
      "no bcd",
      "no bcd",
      "E",
    ])
  })
})

describe("who waits no longer", () => {
  const over = new Error("over")

  test("was not sent yet: is not sent", async () => {
    const { together, sent, things } = sending()
    const leaving = new AbortController()
    void together.send("a", signal)
    const left = together.send("b", leaving.signal)
    void together.send("c", signal)
    leaving.abort(over)
    await expect(left).rejects.toBe(over)
    sent[0]?.answer()
    await vi.advanceTimersByTimeAsync(0)
    expect(things()).toEqual(["a", "c"])
  })

  test("was sent with others: they go on; the last one to leave ends it", async () => {
    const { together, sent } = sending()
    const [first, second] = [new AbortController(), new AbortController()]
    void together.send("a", signal)
    const all = Promise.allSettled([together.send("b", first.signal), together.send("c", second.signal)])
    sent[0]?.answer()
    await vi.advanceTimersByTimeAsync(0)
    first.abort(over)
    expect(sent[1]?.signal.aborted).toBe(false)
    second.abort(over)
    expect(sent[1]?.signal.aborted).toBe(true)
    expect((await all).map((one) => one.status)).toEqual(["rejected", "rejected"])
  })

  test("had left before: sends nothing", async () => {
    const { together, things } = sending()
    await expect(together.send("a", AbortSignal.abort(over))).rejects.toBe(over)
    expect(things()).toEqual([])
  })
})
