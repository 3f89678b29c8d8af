import { describe, expect, test } from "vitest"
import { postgresPossible } from "../harness/postgres.ts"
import { redisPossible } from "../harness/redis.ts"
import { killMachines, type MachinesLedger, machineFaults } from "../soak/machines.ts"

/** As many as the suite has time for; `npm run soak machines` has more, of Redis and PostgreSQL too. */
const KILLS = 1

describe.skipIf(!postgresPossible || !redisPossible)("two machines on one PostgreSQL and one Redis", () => {
  test("one killed while mail flows: what was answered 250 arrives, once, and the record says so", {
    timeout: 240_000,
  }, async () => {
    const ledger = await killMachines(KILLS, ["one"])
    expect(ledger.acknowledged.size).toBeGreaterThan(0)
    expect(machineFaults(ledger)).toEqual({ lost: [], doubled: [], invented: [] })
    expect(ledger.recorded).toEqual({ pairs: ledger.received.size, unbalanced: 0 })
  })
})

test("the count sees a loss, a stranger, and a double that no crash excuses", () => {
  const ledger: MachinesLedger = {
    crashes: [{ victim: "redis", at: 10_000, back: 11_000 }],
    acknowledged: new Set(["lost", "once", "excused", "while away", "doubled"]),
    unanswered: new Set(["unanswered"]),
    received: new Map([
      ["once", [1]],
      ["unanswered", [1]],
      ["excused", [9_000, 12_000]],
      ["while away", [10_900, 12_000]],
      ["doubled", [11_600, 12_000]],
      ["stranger", [1]],
    ]),
    recorded: { pairs: 0, unbalanced: 0 },
  }
  expect(machineFaults(ledger)).toEqual({ lost: ["lost"], doubled: ["doubled"], invented: ["stranger"] })
})
