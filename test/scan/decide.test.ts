import { describe, expect, test } from "vitest"
import { decide, type ScanPolicy } from "../../src/scan/decide.ts"
import type { Outcome } from "../../src/scan/finding.ts"

const CLOSED: ScanPolicy = { whenAway: "defer", whenTooLarge: "reject" }
const OPEN: ScanPolicy = { whenAway: "accept", whenTooLarge: "accept" }

function decided(outcomes: readonly Outcome[], policy: ScanPolicy): string {
  const findings = outcomes.map((outcome, n) => ({ scanner: `s${n}`, outcome, because: outcome }))
  const decision = decide(findings, policy)
  return `${decision.kind} ${"code" in decision ? `${decision.code} ` : ""}${decision.because}`
}

describe("decisions", () => {
  const rows: [outcomes: Outcome[], policy: ScanPolicy, want: string][] = [
    [[], CLOSED, "accept nobody was asked"],
    [["clean"], CLOSED, "accept s0: clean"],
    [["quarantine"], CLOSED, "quarantine s0: quarantine"],
    [["virus"], OPEN, "reject VIRUS_FOUND s0: virus"],
    [["reject"], OPEN, "reject CONTENT_REFUSED s0: reject"],
    [["defer"], OPEN, "defer CONTENT_DEFERRED s0: defer"],
    [["away"], CLOSED, "defer SCANNER_AWAY s0: away"],
    [["away"], OPEN, "accept s0: away"],
    [["tooLarge"], CLOSED, "reject SCAN_TOO_LARGE s0: tooLarge"],
    [["tooLarge"], { ...CLOSED, whenTooLarge: "defer" }, "defer SCANNER_AWAY s0: tooLarge"],
    [["tooLarge"], OPEN, "accept s0: tooLarge"],
    // Of several.
    [["clean", "virus"], CLOSED, "reject VIRUS_FOUND s1: virus"],
    [["away", "virus"], CLOSED, "reject VIRUS_FOUND s1: virus"],
    [["reject", "virus"], CLOSED, "reject CONTENT_REFUSED s0: reject"],
    [["quarantine", "away"], CLOSED, "defer SCANNER_AWAY s1: away"],
    [["away", "quarantine"], OPEN, "quarantine s1: quarantine"],
    [["clean", "away"], CLOSED, "defer SCANNER_AWAY s1: away"],
    [["defer", "away"], CLOSED, "defer CONTENT_DEFERRED s0: defer"],
  ]
  test.each(rows)("%j with %j: %s", (outcomes, policy, want) => expect(decided(outcomes, policy)).toBe(want))
})
