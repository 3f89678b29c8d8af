import { describe, expect, test } from "vitest"
import {
  bmpString,
  childrenOf,
  elementSize,
  header,
  integer,
  isEndOfContents,
  namedBits,
  oid,
  readElement,
  readWhole,
  sequence,
  setOf,
  time,
} from "../../../src/crypto/cms/der.ts"

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"))
const text = (octets: Uint8Array): string => Buffer.from(octets).toString("hex")
const syntax = expect.objectContaining({ code: "DER_SYNTAX" })

describe("writing", () => {
  const rows: [name: string, written: Uint8Array, want: string][] = [
    ["zero", integer(0), "020100"],
    ["an integer with its top bit set", integer(128), "02020080"],
    ["no leading zeros", integer(hex("00000102")), "02020102"],
    ["an empty integer is zero", integer(new Uint8Array(0)), "020100"],
    ["arcs over 127", oid("1.2.840.113549.1.7.3"), "06092a864886f70d010703"],
    ["first arc 2", oid("2.5.29.19"), "0603551d13"],
    ["SET OF in order", setOf(integer(3), integer(1)), "3106020101020103"],
    ["named bits without trailing zeros", namedBits([5, 6]), "03020106"],
    ["keyAgreement", namedBits([4]), "03020308"],
    ["UTCTime", time(new Date("2026-11-21T06:07:08.900Z")), "170d3236313132313036303730385a"],
    ["GeneralizedTime from 2050 on", time(new Date("2050-01-01T00:00:00Z")), "180f32303530303130313030303030305a"],
    ["UTF-16, big-endian", bmpString("ä😀"), "1e0600e4d83dde00"],
    ["length 127", header(4, 127), "047f"],
    ["length 128", header(4, 128), "048180"],
    ["length 65536", header(4, 65_536), "0483010000"],
    ["length over 32 bits", header(4, 2 ** 32), "04850100000000"],
  ]
  for (const [name, written, want] of rows) test(name, () => expect(text(written)).toBe(want))

  test("sizes are those of what is written", () => {
    for (const size of [0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32])
      expect(elementSize(size)).toBe(header(4, size).length + size)
  })
})

describe("reading", () => {
  test("prints back what it parsed", () => {
    const octets = sequence(integer(1), sequence(oid("1.2.3")), new Uint8Array(0))
    const whole = readWhole(octets, 0, octets.length, 0x30)
    expect(childrenOf(octets, whole).map((child) => text(octets.subarray(child.start, child.end)))).toEqual([
      "020101",
      "300406022a03",
    ])
  })

  test("a header that is not there yet is null, at every cut", () => {
    const octets = header(0x30, 65_536)
    for (let cut = 0; cut < octets.length; cut++) expect(readElement(octets.subarray(0, cut), 0)).toBeNull()
    expect(readElement(octets, 0)).toEqual({ tag: 0x30, start: 0, headerLength: 5, contentStart: 5, end: 65_541 })
  })

  test("BER: indefinite and non-minimal lengths", () => {
    expect(readElement(hex("3080"), 0)).toEqual({ tag: 0x30, start: 0, headerLength: 2, contentStart: 2, end: null })
    expect(readElement(hex("04820001ff"), 0)?.end).toBe(5)
    expect(isEndOfContents(hex("30800000"), 2)).toBe(true)
    expect(isEndOfContents(hex("308000"), 2)).toBe(false)
  })

  const bad: [name: string, octets: string][] = [
    ["high tag number", "1f810100"],
    ["indefinite length on a primitive element", "0480"],
    ["length of six octets", "3086010000000000"],
    ["reserved length", "30ff"],
  ]
  for (const [name, octets] of bad)
    test(`refuses: ${name}`, () => expect(() => readElement(hex(octets), 0)).toThrow(syntax))

  test("a whole element ends within its limit, is definite and has its tag", () => {
    for (const octets of ["3003020101", "30050201", "3080", "30", ""].map(hex))
      expect(() => readWhole(octets, 0, Math.min(octets.length, 4), 0x30)).toThrow(syntax)
    expect(() => readWhole(hex("0400"), 0, 2, 0x30)).toThrow(syntax)
  })

  test("children fill their parent exactly", () => {
    const octets = hex("3004 020101 02")
    expect(() => childrenOf(octets, readWhole(octets, 0, octets.length))).toThrow(syntax)
  })
})
