import { describe, expect, test } from "vitest"
import type { AuditLog } from "../../src/queue/audit-log.ts"
import type { AuditRow, RecordedPair } from "../../src/queue/queue.ts"

/** A record under test, empty. */
export interface AuditDriver {
  readonly audit: AuditLog
  close(): Promise<void>
}

const START = new Date("2026-01-02T03:04:05.678Z")
const later = (ms: number) => new Date(START.getTime() + ms)
const [A, B] = ["a@example.test", "b@bücher.example"]

function row(spoolId: string, recipient: string, outcome: AuditRow["outcome"], at = START): AuditRow {
  const action = outcome === "failed" ? ("failed" as const) : ("delivered" as const)
  const status = { recipient, action, status: "2.0.0", diagnostic: `said "ok"\n\u{1f4ee}` }
  return { spoolId, recipient, outcome, status: outcome === "released" ? null : status, at }
}

async function pairsIn(audit: AuditLog, since: Date): Promise<RecordedPair[]> {
  const pairs: RecordedPair[] = []
  for await (const pair of audit.pairs(since)) pairs.push(pair)
  return pairs
}

/** The promises of every {@link AuditLog}. */
export function auditConformance(name: string, open: () => Promise<AuditDriver>): void {
  const suite = (title: string, act: (audit: AuditLog) => Promise<void>) =>
    test(title, async () => {
      const driver = await open()
      try {
        await act(driver.audit)
      } finally {
        await driver.close()
      }
    })

  describe(`${name} keeps the promises of the record`, () => {
    suite("gives back what was written, in its order", async (audit) => {
      const rows = [
        row("m1", A, "queued"),
        row("m1", A, "held"),
        row("m1", A, "released"),
        row("m1", B, "done"),
        row("m1", A, "failed"),
      ]
      for (const one of rows) await audit.write(one)
      await audit.write(row("m2", A, "dropped"))
      expect(await audit.of("m1")).toEqual(rows)
      expect(await audit.of("m3")).toEqual([])
    })

    suite("several rows in one call keep their order", async (audit) => {
      const rows = [row("m1", B, "held"), row("m1", A, "held"), row("m1", B, "released"), row("m1", B, "done")]
      await audit.write(...rows)
      await audit.write()
      expect(await audit.of("m1")).toEqual(rows)
    })

    suite("a pair is queued once and ends once, as was said first; what is neither may come again", async (audit) => {
      await audit.write(row("m1", A, "queued"), row("m1", A, "held"))
      await audit.write(row("m1", A, "queued", later(1)), row("m1", A, "held"), row("m1", A, "failed"))
      await audit.write(row("m1", A, "done"), row("m1", A, "dropped"), row("m1", B, "done"), row("m1", B, "failed"))
      expect((await audit.of("m1")).map((one) => [one.recipient, one.outcome])).toEqual([
        [A, "queued"],
        [A, "held"],
        [A, "held"],
        [A, "failed"],
        [B, "done"],
      ])
      expect(await audit.failed()).toBe(1)
    })

    suite("says who is settled", async (audit) => {
      await audit.write(row("m1", A, "done"), row("m2", A, "held"), row("m2", B, "queued"))
      expect(await audit.settled("m1")).toEqual(new Set([A]))
      await audit.write(row("m1", B, "dropped"))
      const asked = await Promise.all(["m1", "m2", "m3"].map((spoolId) => audit.settled(spoolId)))
      expect(asked).toEqual([new Set([A, B]), new Set(), new Set()])
    })

    suite("of those who write the last rows of a message at once, somebody sees them all", async (audit) => {
      const recipients = Array.from({ length: 20 }, (_, index) => `r${index}@example.test`)
      const seen = await Promise.all(
        recipients.map(async (recipient) => {
          await audit.write(row("m1", recipient, "done"))
          return await audit.settled("m1")
        }),
      )
      expect(seen.some((settled) => settled.size === recipients.length)).toBe(true)
    })

    suite("of those who settle one pair at once, one counts", async (audit) => {
      const outcomes = ["done", "failed", "dropped", "done", "failed"] as const
      await Promise.all(outcomes.map((outcome) => audit.write(row("m1", A, outcome))))
      expect(await audit.of("m1")).toHaveLength(1)
    })

    suite("lists and counts what failed, newest first", async (audit) => {
      for (const id of ["m1", "m2", "m3"]) await audit.write(row(id, A, "failed"), row(id, B, "done"))
      expect((await audit.failures(2)).map((one) => one.spoolId)).toEqual(["m3", "m2"])
      expect(await audit.failed()).toBe(3)
    })

    suite("forgets messages whole, when nothing was heard of them and nothing of them lives", async (audit) => {
      await audit.write(row("old", A, "done"), row("old", B, "done", later(1)))
      await audit.write(row("living", A, "done"))
      await audit.write(row("young", A, "done"), row("young", B, "done", later(1_000)))
      expect(await audit.prune(later(1), new Set(["living"]))).toBe(0)
      expect(await audit.prune(later(2), new Set(["living"]))).toBe(2)
      expect(await audit.of("old")).toEqual([])
      expect(await audit.of("living")).toHaveLength(1)
      expect(await audit.of("young")).toHaveLength(2)
      expect(await audit.prune(later(2), new Set())).toBe(1)
    })

    suite("tells all pairs of messages that something was heard of, however many", async (audit) => {
      await audit.write(row("old", A, "queued"), row("old", A, "done"))
      await audit.write(row("heard", A, "queued"), row("heard", B, "queued"), row("heard", A, "failed", later(9)))
      await audit.write(...Array.from({ length: 1_200 }, (_, index) => row(`x${index}`, A, "queued", later(9))))
      const pairs = await pairsIn(audit, later(5))
      expect(pairs).toHaveLength(1_202)
      expect(pairs.slice(0, 2)).toEqual([
        { spoolId: "heard", recipient: A, queuedAt: START, finals: ["failed"] },
        { spoolId: "heard", recipient: B, queuedAt: START, finals: [] },
      ])
      expect(new Set(pairs.map((pair) => pair.spoolId)).size).toBe(1_201)
    })
  })
}
