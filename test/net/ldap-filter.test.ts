import { describe, expect, test } from "vitest"
import { type Filter, mapValues, parseFilter, readFilter, writeFilter } from "../../src/net/ldap-filter.ts"
import { piecesOf } from "../../src/net/ldap-message.ts"

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const equal = (attribute: string, value: string): Filter => ({ kind: "equal", attribute, value: utf8(value) })

const rows: [text: string, want: Filter][] = [
  ["(mail=a@b.example)", equal("mail", "a@b.example")],
  ["(userCertificate;binary=*)", { kind: "present", attribute: "userCertificate;binary" }],
  ["(cn=)", equal("cn", "")],
  // RFC 4515 §4.
  [
    String.raw`(o=Parens R Us \28for all your parenthetical needs\29)`,
    equal("o", "Parens R Us (for all your parenthetical needs)"),
  ],
  [String.raw`(cn=*\2A*)`, { kind: "substrings", attribute: "cn", initial: null, any: [utf8("*")], final: null }],
  [String.raw`(sn=Lu\c4\8di\c4\87)`, equal("sn", "Lučić")],
  ["(sn=Lučić)", equal("sn", "Lučić")],
  ["(cn=An*a*B)", { kind: "substrings", attribute: "cn", initial: utf8("An"), any: [utf8("a")], final: utf8("B") }],
  ["(&(mail=a)(!(cn=b)))", { kind: "and", filters: [equal("mail", "a"), { kind: "not", filter: equal("cn", "b") }] }],
  ["(|)", { kind: "or", filters: [] }],
]
describe("a filter", () => {
  for (const [text, want] of rows)
    test(text, () => {
      expect(parseFilter(text)).toEqual(want)
      expect(readFilter(piecesOf(new Uint8Array(writeFilter(want)))[0])).toEqual(want)
    })
})

const wrong = [
  ...["", "mail=a", "(mail)", "(mail=a", "(mail=a))", "(=a)", "(!(a=b)(c=d))", "(!)", "(&(a=b)", "(a=b)(c=d)"],
  ...["(mail=a(b)", String.raw`(mail=\2)`, String.raw`(mail=\zz)`, "(cn=a**b)", "(ma il=a)", "(cn>=a)", "(cn:dn:=a)"],
  "(!".repeat(20),
  `${"(&".repeat(17)}(a=b)${")".repeat(17)}`,
]
for (const text of wrong) test(`no filter: ${text}`, () => expect(() => parseFilter(text)).toThrow(/^ldap: filter: /))

test("what is put into values is never syntax", () => {
  const filter = parseFilter("(|(mail={address})(cn=*{address}))")
  const hostile = utf8(")(mail=*\\2a\0")
  const filled = mapValues(filter, () => hostile)
  expect(readFilter(piecesOf(new Uint8Array(writeFilter(filled)))[0])).toEqual({
    kind: "or",
    filters: [
      { kind: "equal", attribute: "mail", value: hostile },
      { kind: "substrings", attribute: "cn", initial: null, any: [], final: hostile },
    ],
  })
})
