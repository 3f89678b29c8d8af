import { expect, test } from "vitest"
import { parseConfig } from "../../src/config/load.ts"
import { decideAgain, departureFacts } from "../../src/profiles/departure-facts.ts"
import type { UsableKey } from "../../src/profiles/key.ts"
import type { Resolution } from "../../src/profiles/resolution.ts"
import { UNKNOWN } from "./unknown.ts"

const rulesOf = (policy: string) => parseConfig(`domains = ["a.test"]\n[policy]\n${policy}`, "/x").policy.outgoing
const KEY = {
  format: "openpgp",
  trust: "keyserver",
  source: "vks",
  wish: null,
  lineage: "x",
  vouched: false,
  octets: new Uint8Array(9),
} as unknown as UsableKey
const SILENT = { ...UNKNOWN, unanswered: [{ source: "wkd", trust: "domain", because: "timed out" }] } as const
const REQUIRE = 'encrypt = "require"\notherwise = "refuse"'

const rows: readonly (readonly [what: string, policy: string, known: Resolution | null, would: string])[] = [
  ["encryption demanded of one without a key", REQUIRE, UNKNOWN, "refuse"],
  ["encryption demanded of one with a key", REQUIRE, { ...UNKNOWN, keys: [KEY] }, "encrypt"],
  ["a key that is trusted too little then", `${REQUIRE}\nminTrust = "domain"`, { ...UNKNOWN, keys: [KEY] }, "refuse"],
  ["a source that was silent", REQUIRE, SILENT, "wait"],
  ["encryption off", 'encrypt = "off"', SILENT, "send"],
  ["nobody was asked then", REQUIRE, null, "unknown"],
  ["a rule for the recipient", `[[policy.rules]]\nto = ["*@else.test"]\n${REQUIRE}`, UNKNOWN, "refuse"],
  ["a rule for others", `[[policy.rules]]\nto = ["*@other.test"]\n${REQUIRE}`, UNKNOWN, "send"],
  ["a rule about what is kept", `[[policy.rules]]\nsensitivity = ["private"]\n${REQUIRE}`, UNKNOWN, "refuse"],
  ["a rule about what is not kept", `[[policy.rules]]\nsubjectTag = "[s]"\n${REQUIRE}`, UNKNOWN, "unknown"],
  ["the same for others", `[[policy.rules]]\nsubjectTag = "[s]"\nto = ["*@other.test"]\n${REQUIRE}`, UNKNOWN, "send"],
]
test.each(rows)("%s", (_what, policy, known, would) => {
  const facts = departureFacts(["Private"], known)
  expect(decideAgain({ sender: "a@a.test", recipient: "b@else.test", facts }, rulesOf(policy))).toBe(would)
})

test("nothing of keys is kept but what sets them apart", () => {
  expect(departureFacts([], { ...UNKNOWN, keys: [KEY] })).not.toContain("octets")
})
