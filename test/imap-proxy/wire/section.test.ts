import { expect, test } from "vitest"
import { formatSection, parsePartial, parseSectionSpec } from "../../../src/imap-proxy/wire/section.ts"
import { formatSequenceSet, parseSequenceSet, resolveSequenceSet } from "../../../src/imap-proxy/wire/sequence-set.ts"

test("sections print back as they were read", () => {
  for (const spec of ["", "1", "1.2.3", "HEADER", "TEXT", "1.TEXT", "1.2.HEADER", "1.MIME"]) {
    const section = parseSectionSpec(spec, [])
    expect(section && formatSection(section)).toBe(spec)
  }
  const fields = parseSectionSpec("2.header.fields.not", ["From", "To"])
  expect(fields && formatSection(fields)).toBe("2.HEADER.FIELDS.NOT (From To)")
})

test("what is no section", () => {
  for (const spec of [
    "0",
    "1.",
    ".1",
    "MIME",
    "1.2.FOO",
    "TEXT.1",
    "HEADER.FIELDS",
    "1..2",
    "-1",
    `${"1.".repeat(64)}1`,
  ]) {
    expect(parseSectionSpec(spec, []), spec).toBeNull()
  }
  expect(parseSectionSpec("TEXT", ["From"])).toBeNull()
})

test("partials", () => {
  expect(parsePartial("0.100")).toEqual({ offset: 0, count: 100 })
  expect(parsePartial("17")).toEqual({ offset: 17, count: null })
  for (const text of ["", "1.2.3", "-1.2", "a.b", "1."]) expect(parsePartial(text), text).toBeNull()
})

test("sequence sets print back, and resolve", () => {
  for (const text of ["1", "1:5,7,*", "*:4", "9:2", "$"]) {
    const set = parseSequenceSet(text)
    expect(set && formatSequenceSet(set)).toBe(text)
  }
  for (const text of ["", "0", "1,", "a", "1:", "1:2:3", "-1", "1 ,2"]) expect(parseSequenceSet(text), text).toBeNull()
  const set = parseSequenceSet("9:7,*:12,3")
  expect(set !== null && set !== "$" && resolveSequenceSet(set, 10)).toEqual([
    [7, 9],
    [10, 12],
    [3, 3],
  ])
})
