import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { MAX_SUBJECT_OCTETS, withoutSubjectTag } from "../../src/mime/subject-tag.ts"

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 500)
const clean = (header: string): string | null => {
  const { found, header: left } = withoutSubjectTag(Buffer.from(header, "latin1"), "[secure]")
  return found ? Buffer.from(left).toString("latin1") : null
}
const base64 = (text: string): string => Buffer.from(text).toString("base64")

describe("the tag is found and taken out", () => {
  const rows: readonly (readonly [name: string, subject: string, want: string | null])[] = [
    ["in front", " [secure] plans\r\n", " plans\r\n"],
    ["at the end", " plans [secure]\r\n", " plans\r\n"],
    ["in the middle", " our [secure] plans\r\n", " our plans\r\n"],
    ["alone", " [secure]\r\n", "\r\n"],
    ["in capitals", " [SECURE] plans\r\n", " plans\r\n"],
    ["in a chain of replies, twice", " Re: [secure] AW: [Secure] plans\r\n", " Re: AW: plans\r\n"],
    ["without a blank", " [secure]plans\r\n", " plans\r\n"],
    ["folded behind", " [secure]\r\n plans\r\n", " plans\r\n"],
    ["folded before, at the end: no line is left with blanks only", " plans\r\n  [secure]\r\n", " plans\r\n"],
    ["folded, alone", "\r\n [secure]\r\n", "\r\n"],
    ["in a quoted-printable word", " =?utf-8?q?=5Bsecure=5D_Gr=C3=BC=C3=9Fe?=\r\n", " =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"],
    ["in a base64 word", ` =?UTF-8?B?${base64("[secure] Grüße")}?=\r\n`, ` =?UTF-8?B?${base64("Grüße")}?=\r\n`],
    [
      "across two words",
      " =?utf-8?q?Gr=C3=BC=C3=9Fe_[sec?=\r\n =?utf-8?q?ure]_x?=\r\n",
      " =?utf-8?q?Gr=C3=BC=C3=9Fe_?=\r\n =?utf-8?q?x?=\r\n",
    ],
    ["a word of its own", " =?us-ascii?q?[secure]?= plans\r\n", " plans\r\n"],
    [
      "a word of its own before another",
      " =?us-ascii?q?[secure]?=\r\n =?utf-8?q?=C3=BC?=\r\n",
      " =?utf-8?q?=C3=BC?=\r\n",
    ],
    [
      "a word of its own behind another",
      " =?utf-8?q?=C3=BC?=\r\n =?us-ascii?q?[secure]?=\r\n",
      " =?utf-8?q?=C3=BC?=\r\n",
    ],
    ["before 8-bit text", " [secure] gr\xfc\xdfe\r\n", " gr\xfc\xdfe\r\n"],
    ["not: another tag", " [secured] plans\r\n", null],
    ["not: torn by a blank", " [sec ure] plans\r\n", null],
    ["not: what looks like it in a shifted charset", ` =?iso-2022-jp?B?${base64("\x1b$B[secure]\x1b(B")}?=\r\n`, null],
    ["not: a broken word", " =?utf-8?q?[sec\r\n ure]?=\r\n", null],
  ]
  for (const [name, subject, want] of rows)
    test(name, () => {
      const around = (value: string) => `From: a@b.test\r\nSubject:${value}To: [secure]@b.test\r\n\r\n`
      expect(clean(around(subject))).toBe(want === null ? null : around(want))
    })

  test("nothing without a subject, and the body is not looked at", () => {
    expect(clean("To: a@b.test\r\n\r\nSubject: [secure]\r\n")).toBeNull()
  })
})

test("any subject: what is left has no tag, and is no longer", () => {
  const piece = fc.constantFrom(
    "[secure]",
    "[sec",
    "ure]",
    "=?utf-8?q?",
    "=?utf-8?b?",
    "?=",
    " ",
    "\r\n ",
    "_",
    "=5B",
    "x",
    "W3Nl",
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
      const header = `Subject: ${pieces.join("")}\r\nTo: x\r\n\r\n`
      const left = clean(header)
      if (left === null) return
      expect(left.length).toBeLessThan(header.length)
      expect(left.endsWith("\r\nTo: x\r\n\r\n")).toBe(true)
      expect(clean(left)).toBeNull()
    }),
    { numRuns: RUNS },
  )
})

test("a subject of tags only, nested and longer than is looked at", () => {
  expect(clean(`Subject: ${"[secure] x ".repeat(1_400)}\r\n\r\n`)).toBe(`Subject: ${"x ".repeat(1_400)}\r\n\r\n`)
  expect(clean(`Subject: ${"[sec".repeat(1_500)}${"ure]".repeat(1_500)}\r\n\r\n`)).toBe("Subject:\r\n\r\n")
  expect(clean(`Subject: =?utf-8?q?${"[secure]".repeat(1_500)}x?=\r\n\r\n`)).toBe("Subject: =?utf-8?q?x?=\r\n\r\n")
  expect(clean(`Subject: [secure] ${"x".repeat(MAX_SUBJECT_OCTETS)}\r\n\r\n`)).toBeNull()
})
