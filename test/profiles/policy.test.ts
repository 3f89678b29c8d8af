import { describe, expect, test } from "vitest"
import { parseConfig } from "../../src/config/load.ts"
import { parseAddress } from "../../src/message/address.ts"
import { type MessageFacts, mayRefuse, type Policy, policyFor } from "../../src/profiles/policy.ts"

const rulesOf = (policy: string) =>
  parseConfig(`domains = ["example.test"]\n[policy]\n${policy}`, "/x/postern.toml").policy.outgoing
const mistakesOf = (policy: string): string => {
  try {
    rulesOf(policy)
    return ""
  } catch (error) {
    return String(error)
  }
}

interface Given {
  readonly sender?: string | null
  readonly recipient?: string
  readonly subject?: string
  readonly fields?: Readonly<Record<string, readonly string[]>>
}

function facts({
  sender = "alice@example.test",
  recipient = "bob@elsewhere.test",
  subject = "",
  fields = {},
}: Given): MessageFacts {
  return {
    sender: sender === null ? null : parseAddress(sender),
    recipient: parseAddress(recipient),
    subject,
    fields: (name) => fields[name] ?? [],
  }
}

describe("which rule is met", () => {
  const rows: [what: string, conditions: string, given: Given, met: boolean][] = [
    ["no condition: every message", "", {}, true],
    ["the recipient's address", 'to = ["bob@elsewhere.test"]', {}, true],
    [
      "the recipient's address in another case",
      'to = ["Bob@Elsewhere.TEST"]',
      { recipient: "BOB@elsewhere.test" },
      true,
    ],
    ["another recipient", 'to = ["bob@elsewhere.test"]', { recipient: "carol@elsewhere.test" }, false],
    ["a domain", 'to = ["*@elsewhere.test"]', { recipient: "carol@elsewhere.test" }, true],
    ["a domain is not what ends like it", 'to = ["*@elsewhere.test"]', { recipient: "carol@notelsewhere.test" }, false],
    [
      "a domain is not the domains below it",
      'to = ["*@elsewhere.test"]',
      { recipient: "carol@a.elsewhere.test" },
      false,
    ],
    ["domains below", 'to = ["*@*.elsewhere.test"]', { recipient: "carol@a.b.elsewhere.test" }, true],
    ["domains below are not the domain", 'to = ["*@*.elsewhere.test"]', { recipient: "carol@elsewhere.test" }, false],
    [
      "an internationalized domain, as Unicode",
      'to = ["*@bücher.example"]',
      { recipient: "x@xn--bcher-kva.example" },
      true,
    ],
    ["the sender", 'from = ["alice@example.test"]', {}, true],
    ["a group", 'from = ["group:board"]', {}, true],
    ["a group that the sender is not in", 'from = ["group:board"]', { sender: "carol@example.test" }, false],
    ["a report of ours has no sender", 'from = ["*@example.test"]', { sender: null }, false],
    ["a tag in whatever case", 'subjectTag = "[secure]"', { subject: "Re: [SECURE] figures" }, true],
    ["no tag", 'subjectTag = "[secure]"', { subject: "secure figures" }, false],
    ["a sensitivity", 'sensitivity = ["private"]', { fields: { sensitivity: ["Private"] } }, true],
    ["another sensitivity", 'sensitivity = ["private"]', { fields: { sensitivity: ["Personal"] } }, false],
    ["a field's text", 'header = "X-Class"\ncontains = "secret"', { fields: { "x-class": ["a", "top SECRET"] } }, true],
    ["another field", 'header = "X-Class"\ncontains = "secret"', { fields: { "x-other": ["secret"] } }, false],
    ["all conditions", 'to = ["*@elsewhere.test"]\nsubjectTag = "[s]"', { subject: "[s]" }, true],
    ["one condition of two", 'to = ["*@elsewhere.test"]\nsubjectTag = "[s]"', {}, false],
  ]
  test.each(rows)("%s", (_what, conditions, given, met) => {
    const rules = rulesOf(
      `[policy.groups]\nboard = ["alice@example.test", "*@board.test"]\n[[policy.rules]]\n${conditions}\nencrypt = "off"`,
    )
    expect(policyFor(facts(given), rules).policy.encrypt).toBe(met ? "off" : "prefer")
  })
})

describe("which word holds", () => {
  test("each word is the first rule's that is met and states it; others are the base's", () => {
    const rules = rulesOf(`encrypt = "require"
otherwise = "refuse"
[[policy.rules]]
name = "one"
to = ["bob@elsewhere.test"]
sign = "require"
[[policy.rules]]
to = ["*@elsewhere.test"]
sign = "prefer"
encrypt = "prefer"
[[policy.rules]]
to = ["*@elsewhere.test"]
encrypt = "off"`)
    const { policy, statedBy } = policyFor(facts({}), rules)
    expect(policy).toMatchObject({ sign: "require", encrypt: "prefer", otherwise: "refuse" } satisfies Partial<Policy>)
    expect(statedBy).toMatchObject({ sign: "one", encrypt: "rule 2", otherwise: null })
  })

  test("encryption that is demanded is held for, unless another outcome is stated", () => {
    expect(rulesOf('encrypt = "require"').base.otherwise).toBe("hold")
    expect(rulesOf('encrypt = "prefer"').base.otherwise).toBe("send")
    const rule = rulesOf('[[policy.rules]]\nto = ["*@a.test"]\nencrypt = "require"')
    expect(policyFor(facts({ recipient: "x@a.test" }), rule).policy).toMatchObject({
      encrypt: "require",
      otherwise: "hold",
    })
  })

  test("a rule that demands encryption and a later one that would send in clear: nothing leaves in clear", () => {
    const rules = rulesOf('[[policy.rules]]\nencrypt = "require"\n[[policy.rules]]\notherwise = "send"')
    expect(policyFor(facts({}), rules).policy).toMatchObject({ encrypt: "require", otherwise: "hold" })
  })

  test("it is known where nobody is ever refused", () => {
    expect(mayRefuse(rulesOf('otherwise = "hold"'))).toBe(false)
    expect(mayRefuse(rulesOf('otherwise = "refuse"'))).toBe(true)
    expect(mayRefuse(rulesOf('[[policy.rules]]\nsubjectTag = "[s]"\notherwise = "refuse"'))).toBe(true)
  })
})

describe("what stops the start", () => {
  const rows: [what: string, policy: string, says: string][] = [
    ["a word that is none", 'encrypt = "always"', ':3: policy.encrypt: must be one of "require", "prefer", "off"'],
    ["a misspelled key", 'encript = "require"', "policy.encript: is no key of postern.toml"],
    [
      "a tag to keep where there is none",
      '[[policy.rules]]\nkeepTag = true\nencrypt = "off"',
      "policy.rules[0].keepTag: needs a subjectTag",
    ],
    [
      "a misspelled key in a rule",
      '[[policy.rules]]\nsubjecttag = "x"\nencrypt = "off"',
      "policy.rules[0].subjecttag: is no key",
    ],
    [
      "a group that is not there",
      '[[policy.rules]]\nfrom = ["group:bored"]\nencrypt = "off"',
      "policy.rules[0].from: must be a group",
    ],
    ["a rule that says nothing", '[[policy.rules]]\nto = ["*@a.test"]', "policy.rules[0]: says nothing"],
    [
      "a header without text",
      '[[policy.rules]]\nheader = "X-A"\nencrypt = "off"',
      "policy.rules[0].contains: is missing",
    ],
    ["demanded and sent in clear", 'encrypt = "require"\notherwise = "send"', 'policy.otherwise: "send" contradicts'],
    ["the same in a rule", '[[policy.rules]]\nencrypt = "require"\notherwise = "send"', "policy.rules[0].otherwise"],
    ["a method twice", 'methods = ["smime", "smime"]', "policy.methods: must be a list in which nothing stands twice"],
    ["an empty list", '[[policy.rules]]\nto = []\nencrypt = "off"', "policy.rules[0].to: must be a list"],
  ]
  test.each(rows)("%s", (_what, policy, says) => {
    expect(mistakesOf(policy)).toContain(says)
  })
})
