import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { KeptPolicies } from "../../../src/store/sts-policies.ts"
import { type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"
import type { StateDriver, TestState } from "./driver.ts"

/** What kept policies of MTA-STS promise, whatever keeps them. */
export function stsPoliciesConformance(driver: StateDriver): void {
  const AT = new Date("2026-01-02T03:04:05Z")
  const DAY_S = 86_400
  let folder: TemporaryFolder
  let opened: TestState
  let kept: KeptPolicies

  beforeEach(async () => {
    folder = await temporaryFolder()
    opened = await driver.empty(folder.file("data"))
    kept = new KeptPolicies(opened.state)
  })

  afterEach(async () => {
    await opened[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  const policy = (id: string, maxAgeSeconds: number, fetchedAt: Date, mx: readonly string[] = ["mx.a.test"]) => ({
    id,
    policy: { mode: "enforce" as const, mx, maxAgeSeconds },
    fetchedAt,
  })
  const later = (seconds: number) => new Date(AT.getTime() + seconds * 1000)

  describe("a kept policy", () => {
    test("is read back as it was kept last, without limit to its mail exchangers", () => {
      const long = Array.from({ length: 500 }, (_, index) => `mx${index}.${"x".repeat(50)}.test`)
      expect(kept.find("a.test")).toBeNull()
      kept.keep("a.test", policy("1", DAY_S, AT))
      kept.keep("a.test", policy("2", 2 * DAY_S, AT, long))
      expect(kept.find("a.test")).toEqual(policy("2", 2 * DAY_S, AT, long))
      kept.keep("a.test", policy("3", 2 * DAY_S, AT, []))
      expect(kept.find("a.test")?.policy.mx).toEqual([])
    })

    test("goes with the first that is kept when its time is over", () => {
      kept.keep("a.test", policy("1", DAY_S, AT))
      kept.keep("b.test", policy("1", DAY_S, later(DAY_S)))
      expect(kept.find("a.test")).not.toBeNull()
      kept.keep("b.test", policy("2", DAY_S, later(DAY_S + 1)))
      expect(kept.find("a.test")).toBeNull()
    })

    test("is fetched again in the second half of its time, when mail went there within 60 days", () => {
      kept.keep("b.test", policy("1", 200 * DAY_S, AT))
      kept.keep("a.test", policy("1", 100 * DAY_S, AT))
      expect(kept.ageing(later(49 * DAY_S))).toEqual([])
      expect(kept.ageing(later(50 * DAY_S))).toEqual(["a.test"])
      expect(kept.ageing(later(70 * DAY_S))).toEqual([])
      kept.used("a.test", later(70 * DAY_S))
      kept.used("b.test", later(99 * DAY_S))
      expect(kept.ageing(later(99 * DAY_S))).toEqual(["a.test"])
      expect(kept.ageing(later(100 * DAY_S))).toEqual(["b.test"])
    })
  })
}
