import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { KeptTlsResults, MAX_ROWS_OF_DOMAIN } from "../../../src/store/tls-results.ts"
import { type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"
import type { StateDriver, TestState } from "./driver.ts"

/** What counted sessions promise, whatever keeps them. */
export function tlsResultsConformance(driver: StateDriver): void {
  let folder: TemporaryFolder
  let opened: TestState
  let kept: KeptTlsResults

  beforeEach(async () => {
    folder = await temporaryFolder()
    opened = await driver.empty(folder.file("data"))
    kept = new KeptTlsResults(opened.state)
  })

  afterEach(async () => {
    await opened[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  const DAY = "2026-11-25"
  const one = {
    day: DAY,
    domain: "b.test",
    policy: "{}",
    result: "success",
    mx: "mx.b.test",
    address: "192.0.2.1",
    reason: "",
    sessions: 2,
  }
  const { day: _, domain: __, ...alone } = one

  describe("sessions that ended alike", () => {
    test("are added up, whatever they have in common is how long, and told by octets", () => {
      const long = { ...one, policy: `{"${"p".repeat(5_000)}"}`, reason: "r".repeat(1_000) }
      const umlaut = { ...one, mx: "Z.b.test", result: "Äpfel" }
      kept.add([one, long, umlaut])
      kept.add([{ ...one, sessions: 3 }, long])
      expect(kept.of({ day: DAY, domain: "b.test" })).toEqual([
        { ...alone, policy: long.policy, reason: long.reason, sessions: 4 },
        { ...alone, sessions: 5 },
        { ...alone, mx: "Z.b.test", result: "Äpfel" },
      ])
      expect(kept.sessions(DAY)).toEqual({ success: 9, Äpfel: 2 })
    })

    test("are listed until they are removed, oldest first", () => {
      kept.add([
        { ...one, domain: "B.test" },
        { ...one, domain: "a.test" },
        { ...one, day: "2026-11-24" },
        { ...one, domain: "" },
      ])
      expect(kept.before("2026-11-26").map(({ day, domain }) => `${day} ${domain}`)).toEqual([
        "2026-11-24 b.test",
        "2026-11-25 B.test",
        "2026-11-25 a.test",
      ])
      kept.remove({ day: DAY, domain: "a.test" })
      kept.removeBefore(DAY)
      expect(kept.before("2026-11-26")).toEqual([{ day: DAY, domain: "B.test" }])
    })

    test("lose their details above the limit of a domain", () => {
      kept.add(Array.from({ length: MAX_ROWS_OF_DOMAIN + 2 }, (_, index) => ({ ...one, reason: String(index) })))
      const rows = kept.of({ day: DAY, domain: "b.test" })
      expect(rows).toHaveLength(MAX_ROWS_OF_DOMAIN + 1)
      expect(rows).toContainEqual({ ...alone, mx: "", address: "", sessions: 4 })
    })
  })
}
