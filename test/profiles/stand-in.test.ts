import { describe, expect, test } from "vitest"
import { parseConfig } from "../../src/config/load.ts"
import { parseAddress } from "../../src/message/address.ts"
import { decide } from "../../src/profiles/decide.ts"
import type { UsableKey } from "../../src/profiles/key.ts"
import { meantEncrypted, policyFor } from "../../src/profiles/policy.ts"
import type { Resolution } from "../../src/profiles/resolution.ts"
import { ownCertificate, standInOffer } from "../../src/profiles/stand-in.ts"
import { UNKNOWN } from "./unknown.ts"

const KEY = { format: "openpgp", source: "wkd", trust: "domain", wish: null, lineage: "b" } as unknown as UsableKey
const SILENT = { source: "wkd", trust: "domain", because: "timed out" } as const
const LOST = { ...KEY, firstSeen: new Date(0), lastSeen: new Date(0) }

function statedBy(policy: string) {
  const rules = parseConfig(`domains = ["one.test"]\n[policy]\n${policy}`, "/x").policy.outgoing
  const [sender, recipient] = [parseAddress("a@one.test"), parseAddress("b@else.test")]
  return policyFor({ sender, recipient, subject: "", fields: () => [] }, rules)
}

describe("what its sender has encrypted for the gateway to open", () => {
  const rows: readonly (readonly [what: string, policy: string, known: Partial<Resolution>, decision: string])[] = [
    ["a key: encrypted", "", { keys: [KEY] }, "encrypt"],
    [
      "a key whose holder would rather have clear text: encrypted all the same",
      "",
      { keys: [{ ...KEY, wish: "clear" }] },
      "encrypt",
    ],
    ["a key, and encryption is off: encrypted all the same", 'encrypt = "off"', { keys: [KEY] }, "encrypt"],
    ["no key: verified TLS or not at all", "", {}, "tls"],
    ["no key, and encryption is off: the same", 'encrypt = "off"', {}, "tls"],
    ["no key, TLS is not enough: held", 'standIn = "encryption"', {}, "hold"],
    [
      "no key, TLS counts otherwise, and is not enough here",
      'standIn = "encryption"\nmethods = ["smime", "tls"]',
      {},
      "hold",
    ],
    ["no key, otherwise TLS, and that is not enough here", 'standIn = "encryption"\notherwise = "tls"', {}, "hold"],
    ["no key, and otherwise refused: refused", 'encrypt = "require"\notherwise = "refuse"', {}, "refuse"],
    ["no key, and otherwise held: held", 'encrypt = "require"', {}, "hold"],
    ["no key, and policy says that it may: in clear", 'standIn = "send"', {}, "send"],
    ["the same, where encryption is demanded: held", 'standIn = "send"\nencrypt = "require"', {}, "hold"],
    ["no answer, which is not forgiven: it waits", 'silence = "send"', { unanswered: [SILENT] }, "wait"],
    ["a key that is gone: held", "", { remembered: [LOST] }, "hold"],
    ["never: held, should somebody send the like", 'standIn = "never"', {}, "hold"],
  ]
  for (const [what, policy, known, decision] of rows)
    test(what, () => expect(decide(meantEncrypted(statedBy(policy)), { ...UNKNOWN, ...known }).kind).toBe(decision))

  test("names the rule that says so", () => {
    const stated = statedBy('[[policy.rules]]\nname = "strict"\nstandIn = "encryption"')
    expect(decide(meantEncrypted(stated), UNKNOWN).because).toContain('(rule "strict")')
  })
})

describe("a certificate of the recipient's own is given out", () => {
  const own = (source: string, trust: UsableKey["trust"], lineage = "c") =>
    ({ ...KEY, format: "smime", source, trust, lineage }) as UsableKey
  const known = { ...LOST, format: "smime" } as const
  const rows: readonly (readonly [what: string, policy: string, known: Partial<Resolution>, source: string | null])[] =
    [
      [
        "the one that mail would be encrypted to",
        "",
        { keys: [own("ldap", "harvested"), own("dane", "dnssec")] },
        "dane",
      ],
      [
        "beside an OpenPGP key that is preferred, too",
        'methods = ["openpgp"]',
        { keys: [KEY, own("dane", "dnssec")] },
        "dane",
      ],
      [
        "where encryption is off, or its holder would rather not",
        'encrypt = "off"',
        { keys: [own("dane", "dnssec")] },
        "dane",
      ],
      ["none of those that are trusted too little", 'minTrust = "domain"', { keys: [own("mail", "harvested")] }, null],
      ["not while a better source is silent", "", { keys: [own("mail", "harvested")], unanswered: [SILENT] }, null],
      [
        "not one that nobody vouches for, in place of a known one",
        "",
        { keys: [own("dane", "dnssec")], remembered: [known] },
        null,
      ],
      ["the known one", "", { keys: [own("dane", "dnssec", "b")], remembered: [known] }, "dane"],
      ["none where there is none", "", { keys: [KEY] }, null],
    ]
  for (const [what, policy, given, source] of rows)
    test(what, () => expect(ownCertificate({ ...UNKNOWN, ...given }, statedBy(policy))?.source ?? null).toBe(source))
})

describe("a stand-in is given out", () => {
  const demanding = { ...KEY, wish: "require" } as UsableKey
  const rows: readonly (readonly [what: string, policy: string, known: Partial<Resolution>, isOffered: boolean])[] = [
    ["for who has no key", "", {}, true],
    ["for who has an OpenPGP key", "", { keys: [KEY] }, true],
    ["not where policy never has one", 'standIn = "never"', {}, false],
    ["not for who asks for encryption to his own key", "", { keys: [demanding] }, false],
    [
      "not for who asked for it with a key that is not usable",
      "",
      { rejected: [{ candidate: demanding, because: "old" }] },
      false,
    ],
    ["not where it would be held", 'encrypt = "require"', {}, false],
    ["not where it would be refused", 'encrypt = "require"\notherwise = "refuse"', {}, false],
    ["not where it would wait", "", { unanswered: [SILENT] }, false],
    ["not where a key was lost", "", { remembered: [LOST] }, false],
  ]
  for (const [what, policy, known, isOffered] of rows)
    test(what, () => expect(standInOffer(statedBy(policy), { ...UNKNOWN, ...known }).isOffered).toBe(isOffered))
})
