import { describe, expect, test } from "vitest"
import { sealsOf, vouchingSealer } from "../../src/smtp-in/sealer.ts"
import { type Given, verdictOf } from "./verdict-of.ts"

const PASSED = "mx.list.test; spf=pass smtp.mailfrom=author.test; dmarc=pass (p=reject) header.from=author.test"
const FAILED = "mx.list.test; dmarc=fail header.from=author.test"
/** As it comes from a list that wrote into the subject: signed by the author for another text. */
const LISTED: Given = {
  sender: "list-bounces@list.test",
  sign: [["author.test", "ed", "ed25519"]],
  alter: (message) => message.replace("hello", "[list] hello"),
  zone: { "_dmarc.author.test TXT": ["v=DMARC1; p=reject"] },
  trustedSealers: ["list.test"],
}

describe("a trusted sealer that saw the message pass (RFC 8617 §7.2.1)", () => {
  const rows: [name: string, given: Given, arc: string, decision: string][] = [
    ["is believed", { seals: [["list.test", PASSED]] }, "pass", "accept"],
    ["no seal", {}, "none", "reject"],
    [
      "a sealer that is not trusted",
      { seals: [["list.test", PASSED]], trustedSealers: ["other.test"] },
      "pass",
      "reject",
    ],
    ["nobody is trusted", { seals: [["list.test", PASSED]], trustedSealers: [] }, "pass", "reject"],
    [
      "its subdomain is another",
      { seals: [["list.test", PASSED]], trustedSealers: ["sub.list.test"] },
      "pass",
      "reject",
    ],
    ["it saw it fail", { seals: [["list.test", FAILED]] }, "pass", "reject"],
    [
      "it says nothing of DMARC",
      { seals: [["list.test", "mx.list.test; dkim=pass header.d=author.test"]] },
      "pass",
      "reject",
    ],
    [
      "it says so in a comment",
      { seals: [["list.test", `${FAILED} (; dmarc=pass header.from=author.test)`]] },
      "pass",
      "reject",
    ],
    [
      "it saw another author pass",
      { seals: [["list.test", "mx.list.test; dmarc=pass header.from=attacker.test"]] },
      "pass",
      "reject",
    ],
    [
      "altered after it was sealed",
      { seals: [["list.test", PASSED]], alterSealed: (message) => message.replace("the text", "the test") },
      "fail",
      "reject",
    ],
    [
      "its results altered",
      { seals: [["list.test", FAILED]], alterSealed: (message) => message.replace("dmarc=fail", "dmarc=pass") },
      "fail",
      "reject",
    ],
    [
      "another trusted one behind it",
      {
        seals: [
          ["list.test", PASSED],
          ["forwarder.test", FAILED],
        ],
        trustedSealers: ["list.test", "forwarder.test"],
      },
      "pass",
      "accept",
    ],
    [
      "the last one is not trusted",
      {
        seals: [
          ["list.test", PASSED],
          ["forwarder.test", PASSED],
        ],
      },
      "pass",
      "reject",
    ],
    [
      "the first one is not trusted",
      {
        seals: [
          ["list.test", PASSED],
          ["forwarder.test", FAILED],
        ],
        trustedSealers: ["forwarder.test"],
      },
      "pass",
      "reject",
    ],
    [
      "p=quarantine",
      { seals: [["list.test", PASSED]], zone: { "_dmarc.author.test TXT": ["v=DMARC1; p=quarantine"] } },
      "pass",
      "accept",
    ],
    [
      "two From fields are refused all the same",
      { seals: [["list.test", PASSED]], alter: (message) => `From: x@y.test\r\n${message}` },
      "pass",
      "reject",
    ],
    [
      "its key: no answer",
      { seals: [["list.test", PASSED]], zone: { ...LISTED.zone, "ed._domainkey.list.test TXT": "SERVFAIL" } },
      "fail",
      "defer",
    ],
    [
      "its key: there is none",
      { seals: [["list.test", PASSED]], zone: { ...LISTED.zone, "ed._domainkey.list.test TXT": [] } },
      "fail",
      "reject",
    ],
    [
      "a selector that leads node:dns to another's key",
      { seals: [["list.test", PASSED, "ed._domainkey.forwarder.test\0"]] },
      "fail",
      "reject",
    ],
  ]
  for (const [name, given, arc, decision] of rows)
    test(name, async () => {
      const { results, decision: made, field } = await verdictOf({ ...LISTED, ...given })
      expect([results.arc, made.kind]).toEqual([arc, decision])
      expect(field).toContain(`arc=${arc} `)
    })

  test("what is told: it failed, and why no policy was applied", async () => {
    const { results, decision, field } = await verdictOf({ ...LISTED, seals: [["list.test", PASSED]] })
    expect(results.dmarc).toBe("fail")
    expect(decision.because).toBe("local policy: passed dmarc at list.test")
    expect(field.replace(/\r\n[ \t]/g, " ")).toMatch(
      / dmarc=fail reason="local policy: passed dmarc at list\.test" policy\.dmarc=none header\.from=author\.test/,
    )
  })
})

describe("whose word counts", () => {
  const rows: [name: string, seals: [sealer: string, passed: string | null][], want: string | null][] = [
    ["no seals", [], null],
    [
      "the last one's",
      [
        ["t1.test", null],
        ["t2.test", "a.test"],
      ],
      "t2.test",
    ],
    [
      "an earlier one's, through trusted ones",
      [
        ["t1.test", "a.test"],
        ["t2.test", null],
      ],
      "t1.test",
    ],
    [
      "not through others",
      [
        ["t1.test", "a.test"],
        ["x.test", "a.test"],
      ],
      null,
    ],
    ["not for another author", [["t1.test", "b.test"]], null],
  ]
  for (const [name, seals, want] of rows)
    test(name, () => {
      const given = seals.map(([sealer, passed]) => ({ sealer, passed }))
      expect(vouchingSealer(given, "a.test", ["t1.test", "t2.test"])).toBe(want)
    })

  test("sets of whatever shape say nothing", () => {
    const shapes = [undefined, null, 1, "dmarc", {}, { dmarc: null }, { dmarc: { value: "pass" } }]
    const chain = shapes.map((parsed) => ({ "arc-authentication-results": { parsed } }))
    expect(sealsOf([{}, ...chain])).toEqual(Array(8).fill({ sealer: "", passed: null }))
  })
})
