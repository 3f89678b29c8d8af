import { describe, expect, test } from "vitest"
import { hasCode } from "../../src/errors.ts"
import { addressKey, formatAddress, parseAddress, parseDomain, withoutTag } from "../../src/message/address.ts"

const refused = expect.toSatisfy((error) => hasCode(error, "ADDRESS_SYNTAX"))

describe("addresses are read strictly", () => {
  const rows: [written: string, local: string, domain: string, printed?: string][] = [
    ["alice@example.org", "alice", "example.org"],
    ["Alice.B+tag@Example.ORG", "Alice.B+tag", "example.org", "Alice.B+tag@example.org"],
    ['"a b"@example.org', "a b", "example.org"],
    ['"a@b"@example.org', "a@b", "example.org"],
    ['"a\\"b"@example.org', 'a"b', "example.org"],
    ['"plain"@example.org', "plain", "example.org", "plain@example.org"],
    ["post@[192.0.2.1]", "post", "[192.0.2.1]"],
    ["post@[IPv6:2001:db8::1]", "post", "[IPv6:2001:db8::1]"],
    ["grüße@bücher.example", "grüße", "xn--bcher-kva.example", "grüße@xn--bcher-kva.example"],
  ]
  for (const [written, local, domain, printed = written] of rows)
    test(written, () => {
      const address = parseAddress(written)
      expect(address.localPart).toBe(local)
      expect(address.domain).toBe(domain)
      expect(formatAddress(address)).toBe(printed)
      expect(parseAddress(formatAddress(address))).toEqual(address)
    })

  const bad = [
    "",
    "alice",
    "@example.org",
    "a b@example.org",
    "a..b@example.org",
    ".a@example.org",
    "a@",
    "a@-x.org",
    "a@x..org",
    "a@x.org.",
    "a\0@x.org",
    "a@x.org\r\n",
    `${"l".repeat(65)}@x.org`,
    `a@${"d".repeat(64)}.org`,
    "a@[300]",
    "a@x:25",
    "a@x%2eorg",
    "@relay,@other:a@x.org",
  ]
  for (const written of bad)
    test(`refuses ${JSON.stringify(written).slice(0, 40)}`, () => expect(() => parseAddress(written)).toThrow(refused))
})

test("our people are told apart without case, and with their tag taken off", () => {
  expect(addressKey(parseAddress("ALICE@Example.org"))).toBe("alice@example.org")
  expect(withoutTag(parseAddress("alice+news+more@example.org"))?.localPart).toBe("alice")
  expect(withoutTag(parseAddress("alice@example.org"))).toBeNull()
  expect(withoutTag(parseAddress("+x@example.org"))).toBeNull()
})

test.each([
  ["soft hyphen", "\u00ad"],
  ["zero width space", "\u200b"],
  ["word joiner", "\u2060"],
  ["variation selector", "\ufe0f"],
  ["variation selector of the supplement", "\u{e0100}"],
  ["byte order mark", "\ufeff"],
])("a domain with what nobody sees, a %s, is none, and so not the one without", (_, invisible) => {
  for (const domain of [`${invisible}example.test`, `exam${invisible}ple.test`, `example${invisible}.test`])
    expect(() => parseAddress(`bob@${domain}`)).toThrow(expect.objectContaining({ code: "ADDRESS_SYNTAX" }))
})

test("a joiner, which means something, makes another domain", () => {
  expect(parseAddress("bob@\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.test").domain).toMatch(/^xn--/)
})

test("a U-label and its A-label are one domain", () => {
  expect(parseDomain("BÜCHER.example")).toBe(parseDomain("xn--bcher-kva.example"))
})
