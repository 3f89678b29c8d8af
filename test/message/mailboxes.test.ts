import { expect, test } from "vitest"
import { formatAddress } from "../../src/message/address.ts"
import { MAX_MAILBOXES, parseMailboxList } from "../../src/message/mailboxes.ts"

const rows: [text: string, want: string[] | "BAD"][] = [
  ["alice@example.test", ["alice@example.test"]],
  ["Alice <alice@example.test>", ["alice@example.test"]],
  ["John Q. Public <j@example.test>", ["j@example.test"]],
  ['"Bob, \\"<b@x.example>" <alice@example.test>', ["alice@example.test"]],
  ['"a b"@example.test', ['"a b"@example.test']],
  ["a@example.test, b <b@example.test>", ["a@example.test", "b@example.test"]],
  ["(c (nested) \\) b@x.example) a@example.test (d)", ["a@example.test"]],
  ["a . b @ example . test", ["a.b@example.test"]],
  ["Müller <m@bücher.example>", ["m@xn--bcher-kva.example"]],
  ["a@[192.0.2.1]", ["a@[192.0.2.1]"]],
  ["<a@example.test>", ["a@example.test"]],
  ["", "BAD"],
  [",", "BAD"],
  ["a@example.test,", "BAD"],
  ["<>", "BAD"],
  ["Alice", "BAD"],
  ["group: a@example.test;", "BAD"],
  ["a@example.test b@x.example", "BAD"],
  ["a@example.test <b@x.example>", "BAD"],
  ["<a@example.test> b@x.example", "BAD"],
  ["<<a@example.test>>", "BAD"],
  ["<@route.example:a@example.test>", "BAD"],
  ["a b@example.test", "BAD"],
  ["a@example test", "BAD"],
  ["(a@example.test", "BAD"],
  ['"a@example.test', "BAD"],
  ["a\0@example.test", "BAD"],
  ["a\r\nb@example.test", "BAD"],
  [Array.from({ length: MAX_MAILBOXES }, () => "a@b.example").join(), Array(MAX_MAILBOXES).fill("a@b.example")],
  [Array.from({ length: MAX_MAILBOXES + 1 }, () => "a@b.example").join(), "BAD"],
]
for (const [text, want] of rows) {
  test(`From: ${JSON.stringify(text.slice(0, 60))}`, () => {
    if (want === "BAD")
      expect(() => parseMailboxList(text)).toThrow(expect.objectContaining({ code: "ADDRESS_SYNTAX" }))
    else expect(parseMailboxList(text).map(formatAddress)).toEqual(want)
  })
}

test("a field of 1 MB is read in one pass", () => {
  for (const text of ["(".repeat(1_000_000), '"'.repeat(999_999), "a ".repeat(500_000), "\\".repeat(1_000_000)])
    expect(() => parseMailboxList(text)).toThrow()
})
