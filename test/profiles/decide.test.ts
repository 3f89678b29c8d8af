import { describe, expect, test } from "vitest"
import { parseConfig } from "../../src/config/load.ts"
import { type Decision, decide } from "../../src/profiles/decide.ts"
import type { Trust, UsableKey } from "../../src/profiles/key.ts"
import { type Policy, policyFor } from "../../src/profiles/policy.ts"
import type { RememberedKey, Resolution } from "../../src/profiles/resolution.ts"
import { UNKNOWN } from "./unknown.ts"

const AT = new Date("2026-01-02T03:04:05Z")
const { base } = parseConfig('domains = ["example.test"]', "/x/postern.toml").policy.outgoing
const { statedBy } = policyFor(
  { sender: null, recipient: { localPart: "b", domain: "x" } as never, subject: "", fields: () => [] },
  { base, rules: [] },
)

function key(trust: Trust, given: Partial<UsableKey> = {}): UsableKey {
  const { format = "openpgp", lineage = `${format} of b` } = given
  return { trust, source: `a ${trust} source`, wish: null, format, lineage, ...given } as UsableKey
}
const remembered = (trust: Trust, lineage = "openpgp of b"): RememberedKey => ({
  format: "openpgp",
  lineage,
  source: "wkd",
  trust,
  firstSeen: AT,
  lastSeen: AT,
})
const silent = (trust: Trust) => ({ source: `silent ${trust}`, trust, because: "timed out" })

interface Given extends Partial<Omit<Resolution, "address">> {
  readonly policy?: Partial<Policy>
}
function decided({ policy = {}, ...known }: Given): Decision {
  const resolution = {
    ...UNKNOWN,
    ...known,
  }
  return decide({ policy: { ...base, ...policy }, statedBy }, resolution)
}

describe("what becomes of a message", () => {
  const rows: [what: string, given: Given, kind: Decision["kind"]][] = [
    ["a key: encrypted", { keys: [key("domain")] }, "encrypt"],
    ["no key, preferred: in clear", {}, "send"],
    ["no key, demanded: held", { policy: { encrypt: "require", otherwise: "hold" } }, "hold"],
    ["no key, demanded, to be refused: refused", { policy: { encrypt: "require", otherwise: "refuse" } }, "refuse"],
    ["no key, demanded, TLS will do: over verified TLS", { policy: { encrypt: "require", otherwise: "tls" } }, "tls"],
    ["no key, TLS is a method: over verified TLS", { policy: { methods: ["smime", "tls"] } }, "tls"],
    ["a key, but encryption is off: in clear", { keys: [key("domain")], policy: { encrypt: "off" } }, "send"],
    ["the holder would rather not: in clear", { keys: [key("harvested", { wish: "clear" })] }, "send"],
    [
      "he would rather not, but it is demanded: encrypted",
      { keys: [key("harvested", { wish: "clear" })], policy: { encrypt: "require", otherwise: "hold" } },
      "encrypt",
    ],
    [
      "a key of a method that does not count: in clear",
      { keys: [key("domain")], policy: { methods: ["smime"] } },
      "send",
    ],
    [
      "row 37: a key of a source that is trusted too little: in clear",
      { keys: [key("keyserver")], policy: { minTrust: "domain" } },
      "send",
    ],
    ["no answer, no key: not now", { unanswered: [silent("domain")] }, "wait"],
    [
      "no answer, no key, encryption is off: in clear",
      { unanswered: [silent("domain")], policy: { encrypt: "off" } },
      "send",
    ],
    [
      "no answer of a source that does not count: in clear",
      { unanswered: [silent("keyserver")], policy: { minTrust: "domain" } },
      "send",
    ],
    [
      "a key, and no answer of a better source: not now",
      { keys: [key("keyserver")], unanswered: [silent("domain")] },
      "wait",
    ],
    [
      "a key, and no answer of a lesser source: encrypted",
      { keys: [key("domain")], unanswered: [silent("keyserver")] },
      "encrypt",
    ],
    [
      "no answer, to be sent then, and nothing is known of the domain: in clear",
      { unanswered: [silent("domain")], policy: { silence: "send" } },
      "send",
    ],
    [
      "the same where somebody at the domain had a key: not now",
      { unanswered: [silent("domain")], domainTrusts: ["domain"], policy: { silence: "send" } },
      "wait",
    ],
    [
      "the same where encryption is demanded: not now",
      { unanswered: [silent("domain")], policy: { silence: "send", encrypt: "require", otherwise: "hold" } },
      "wait",
    ],
    ["there was a key and is none: held", { remembered: [remembered("domain")] }, "hold"],
    [
      "there was a key, to be forgotten: in clear",
      { remembered: [remembered("domain")], policy: { lostKeys: "forget" } },
      "send",
    ],
    [
      "there was a key that never counted: in clear",
      { remembered: [remembered("keyserver")], policy: { minTrust: "domain" } },
      "send",
    ],
    ["the same key as before: encrypted", { keys: [key("domain")], remembered: [remembered("domain")] }, "encrypt"],
    ["another key than before: held", { keys: [key("domain")], remembered: [remembered("domain", "old")] }, "hold"],
    [
      "another key, to be used: encrypted",
      { keys: [key("domain")], remembered: [remembered("domain", "old")], policy: { changedKeys: "use" } },
      "encrypt",
    ],
    [
      "another key that an administrator vouches for: encrypted",
      { keys: [key("pinned")], remembered: [remembered("domain", "old")] },
      "encrypt",
    ],
    [
      "another key that an authority vouches for: encrypted",
      { keys: [key("domain", { vouched: true })], remembered: [remembered("domain", "old")] },
      "encrypt",
    ],
    [
      "a key of another format beside the one before: encrypted",
      { keys: [key("dnssec", { format: "smime" }), key("domain")], remembered: [remembered("domain")] },
      "encrypt",
    ],
    [
      "a key of another format, and the one before is gone: held",
      { keys: [key("keyserver", { format: "smime" })], remembered: [remembered("domain")] },
      "hold",
    ],
    [
      "the same where the one before never counted: encrypted",
      {
        keys: [key("domain", { format: "smime" })],
        remembered: [remembered("keyserver")],
        policy: { minTrust: "domain" },
      },
      "encrypt",
    ],
    [
      "another key, but what it follows never counted: encrypted",
      { keys: [key("domain")], remembered: [remembered("keyserver", "old")], policy: { minTrust: "domain" } },
      "encrypt",
    ],
  ]
  test.each(rows)("%s", (_what, given, kind) => {
    expect(decided(given).kind).toBe(kind)
  })
})

describe("which key", () => {
  const rows: [what: string, keys: readonly UsableKey[], chosen: number][] = [
    ["the most trusted source's", [key("keyserver"), key("dnssec"), key("domain")], 1],
    ["of equal trust, the first method's", [key("domain"), key("domain", { format: "smime" })], 1],
    ["trust comes before the method", [key("domain", { format: "smime" }), key("pinned")], 1],
    [
      "of equal trust and method, the source's first",
      [key("domain", { lineage: "x" }), key("domain", { lineage: "y" })],
      0,
    ],
  ]
  test.each(rows)("%s", (_what, keys, chosen) => {
    expect(decided({ keys, policy: { changedKeys: "use" } })).toMatchObject({ kind: "encrypt", key: keys[chosen] })
  })
})

test("the reason names who was silent, what was wrong with a key, and which rule speaks", () => {
  expect(decided({ unanswered: [silent("domain")] }).because).toBe("no answer from silent domain")
  const rejected = [{ candidate: key("domain"), because: "It expired on 2025-01-01." }]
  expect(decided({ rejected }).because).toBe(
    "b@else.test has no key that may be used: a domain source has one, but it expired on 2025-01-01",
  )
  const stated = { policy: { ...base, encrypt: "off" as const }, statedBy: { ...statedBy, encrypt: "newsletters" } }
  expect(decide(stated, UNKNOWN).because).toBe('encryption is off (rule "newsletters")')
})
