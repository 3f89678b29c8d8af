import { describe, expect, test } from "vitest"
import type { Authenticator, Examination, Verdict } from "../../src/smtp-in/ports.ts"
import type { Decision } from "../../src/smtp-in/verdict.ts"
import { openGate } from "./gate.ts"
import { Wire } from "./wire.ts"

const FIELD = "Authentication-Results: mx.example.test;\r\n\tspf=pass\r\n"

function verdict(kind: Decision["kind"], author: string | null = "author.test"): Verdict {
  const results = { spf: "none", dkim: "none", arc: "none", dmarc: "fail", bimi: "skipped" }
  return { results, author, decision: { kind, because: "of the test" }, field: FIELD }
}

/** Says what it is told about each message, and keeps what it was shown. */
function saying(end: () => Promise<Verdict>, enforced = true) {
  const shown: string[] = []
  const cancelled: number[] = []
  const examination: Examination = {
    async push(octets) {
      shown.push(Buffer.from(octets).toString())
    },
    end,
    cancel: () => void cancelled.push(1),
  }
  const authenticator: Authenticator = { begin: async () => examination, enforced }
  return { authenticator, shown, cancelled }
}

async function deliver(port: number): Promise<string> {
  await using wire = await Wire.open(port)
  await wire.say("EHLO c.test")
  return await wire.send("x@y.test", ["alice@example.test"], "Subject: x\r\n\r\nbody\r\n.\r\n")
}

describe("what a verdict comes to at the final dot", () => {
  const rows: [name: string, given: Verdict | Error, enforced: boolean, reply: RegExp, accepted: unknown][] = [
    ["accept", verdict("accept"), true, /^250 /, { field: FIELD, quarantine: false, chain: "none" }],
    ["quarantine", verdict("quarantine"), true, /^250 /, { field: FIELD, quarantine: true, chain: "none" }],
    ["reject", verdict("reject"), true, /^550 5\.7\.1 .*DMARC/, undefined],
    ["reject for several From fields", verdict("reject", null), true, /^550 5\.7\.1 .*From field/, undefined],
    ["defer", verdict("defer"), true, /^451 4\.4\.3 /, undefined],
    ["reject, reported only", verdict("reject"), false, /^250 /, { field: FIELD, quarantine: false, chain: "none" }],
    ["defer, reported only", verdict("defer"), false, /^250 /, { field: FIELD, quarantine: false, chain: "none" }],
    ["a fault of ours is no pass", new Error("broken"), true, /^451 4\.3\.0 /, undefined],
  ]
  for (const [arc, chain] of [
    ["pass", "pass"],
    ["temperror", "fail"],
  ]) {
    const given = verdict("accept")
    const results = { ...given.results, arc: arc ?? "" }
    rows.push([`ARC ${arc}`, { ...given, results }, true, /^250 /, { field: FIELD, quarantine: false, chain }])
  }
  for (const [name, given, enforced, reply, accepted] of rows)
    test(name, async () => {
      const { authenticator, shown, cancelled } = saying(async () => {
        if (given instanceof Error) throw given
        return given
      }, enforced)
      await using gate = await openGate("mx", {}, { authenticator })
      expect(await deliver(gate.port)).toMatch(reply)
      expect(gate.acceptance.accepted.map(({ entry }) => entry.authentication())).toEqual(
        accepted === undefined ? [] : [accepted],
      )
      expect(shown.join("")).toBe("Subject: x\r\n\r\nbody\r\n")
      expect(cancelled).toHaveLength(1)
      if (given instanceof Error) return
      expect(gate.counted).toContain(`postern_smtp_auth_total decision,${given.decision.kind}`)
      expect(gate.counted).toContain("postern_smtp_auth_total dmarc,fail")
      expect(gate.log.filter((line) => line.includes('"smtp.judged"'))).toHaveLength(1)
    })

  test("from where nobody is asked, nothing is known", async () => {
    await using gate = await openGate("mx", {}, { authenticator: { begin: async () => null, enforced: true } })
    expect(await deliver(gate.port)).toMatch(/^250 /)
    expect(gate.acceptance.accepted[0]?.entry.authentication()).toBe(null)
  })
})
