import { describe, expect, test } from "vitest"
import { type Circumstances, decide, type Evaluation, percentOf } from "../../src/smtp-in/verdict.ts"

const PLAIN: Circumstances = { undecided: false, sealer: null, sample: 0 }
const failing = (policy: string, percent = 100): Evaluation => ({ kind: "evaluated", result: "fail", policy, percent })
const resulting = (result: string): Evaluation => ({ kind: "evaluated", result, policy: "reject", percent: 100 })
const nobody = (fromFields: number): Evaluation => ({ kind: "no-author", reason: "x", fromFields })

describe("the decision", () => {
  const rows: [name: string, evaluation: Evaluation, circumstances: Partial<Circumstances>, want: string][] = [
    ["pass", resulting("pass"), {}, "accept"],
    ["no policy", resulting("none"), {}, "accept"],
    ["no answer about the policy", resulting("temperror"), {}, "defer"],
    ["no answer about the policy, whoever vouches", resulting("temperror"), { sealer: "list.test" }, "defer"],
    ["reject", failing("reject"), {}, "reject"],
    ["quarantine", failing("quarantine"), {}, "quarantine"],
    ["none", failing("none"), {}, "accept"],
    ["what might pass is not known", failing("quarantine"), { undecided: true }, "defer"],
    ["what might pass is not known, and does not matter", failing("none"), { undecided: true }, "accept"],
    ["a trusted sealer vouches", failing("reject"), { sealer: "list.test" }, "accept"],
    ["the same, whatever is not known", failing("reject"), { sealer: "list.test", undecided: true }, "accept"],
    ["the last of the sample", failing("reject", 25), { sample: 24 }, "reject"],
    ["the first out of it", failing("reject", 25), { sample: 25 }, "quarantine"],
    ["out of the sample of quarantine", failing("quarantine", 25), { sample: 25 }, "accept"],
    ["no author", nobody(0), {}, "quarantine"],
    ["two From fields", nobody(2), {}, "reject"],
    ["two From fields, whoever vouches", nobody(2), { sealer: "list.test" }, "reject"],
  ]
  for (const [name, evaluation, circumstances, want] of rows)
    test(name, () => expect(decide(evaluation, { ...PLAIN, ...circumstances }).kind).toBe(want))
})

describe("pct (RFC 7489 §6.3)", () => {
  const rows: [record: string, want: number][] = [
    ["v=DMARC1; p=reject", 100],
    ["v=DMARC1; p=reject; pct=25", 25],
    ["v=DMARC1; pct = 0 ;p=reject", 0],
    ["v=DMARC1; PCT=5", 5],
    ["v=DMARC1; pct=999", 100],
    ["v=DMARC1; pct=x", 100],
    ["v=DMARC1; pct=-1", 100],
    ["v=DMARC1; rua=mailto:a@b.test?pct=1", 100],
  ]
  for (const [record, want] of rows) test(record, () => expect(percentOf(record)).toBe(want))
})
