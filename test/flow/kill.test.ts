import { expect, test } from "vitest"
import { faults, killAgainAndAgain, type Ledger } from "../soak/kill.ts"

test("3 crashes while mail arrives and is delivered: what was answered 250 is stored, once", {
  timeout: 120_000,
}, async () => {
  const ledger = await killAgainAndAgain(3)
  expect(ledger.acknowledged.size).toBeGreaterThanOrEqual(1)
  expect(faults(ledger)).toEqual({ lost: [], doubled: [], invented: [] })
})

test("the count sees a loss, a double and a stranger", () => {
  const ledger: Ledger = {
    kills: 1,
    acknowledged: new Set(["a", "b"]),
    unanswered: new Set(["c"]),
    stored: new Map([
      ["b", 2],
      ["c", 1],
      ["d", 1],
    ]),
  }
  expect(faults(ledger)).toEqual({ lost: ["a"], doubled: ["b"], invented: ["d"] })
})
