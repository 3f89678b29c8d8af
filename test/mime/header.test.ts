import fc from "fast-check"
import { expect, test } from "vitest"
import { findField, parseFields } from "../../src/mime/header.ts"

const row = (text: string, wanted: string | null): [string, string | null] => [text, wanted]

test.each([
  row("", null),
  row("From: a\r\nSubject: b\r\n\r\n", "Subject: b\r\n"),
  row("From: a\r\nSUBJECT \t: b\r\n\tc\r\nTo: d\r\n\r\n", "SUBJECT \t: b\r\n\tc\r\n"),
  row("Subject: b", "Subject: b"),
  row("X-Subject: b\nSubjects: c\n Subject: d\n", null),
  row("Subject\r\n : b\r\n", null),
  row("From: a\r\n\r\nSubject: b\r\n", null),
])("the first field of a name: %j", (section, wanted) => {
  const found = findField(Buffer.from(section), "subject")
  expect(found && Buffer.from(found.octets).toString()).toBe(wanted)
})

test("is found as parsing all of them finds it", () => {
  const piece = fc.constantFrom("a", "A", "\r\n", "\n", "\r", " ", "\t", ":", "a:", "\na: x")
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
      const section = Buffer.from(pieces.join(""))
      const wanted = parseFields(section).find(({ name }) => name === "a")
      expect(findField(section, "a")?.octets).toEqual(wanted?.octets)
    }),
  )
})
