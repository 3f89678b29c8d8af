import { createHash } from "node:crypto"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { RelaxedBody, relaxedField } from "../../src/mime/dkim-relaxed.ts"

/** Keeps what it is given. */
class Kept {
  readonly parts: Uint8Array[] = []
  update(octets: Uint8Array): this {
    this.parts.push(Uint8Array.from(octets))
    return this
  }
  digest(): Uint8Array {
    return Buffer.concat(this.parts)
  }
}

function canonical(body: string, cut = body.length): string {
  const relaxed = new RelaxedBody(new Kept())
  const octets = Buffer.from(body, "latin1")
  for (let at = 0; at < octets.length; at += cut) relaxed.push(octets.subarray(at, at + cut))
  return Buffer.from(relaxed.end()).toString("latin1")
}

/** RFC 6376 §3.4.4, a step a line. */
function reference(body: string): string {
  const lines = body.split("\r\n").map((line) => line.replace(/[ \t]+$/, "").replace(/[ \t]+/g, " "))
  const text = lines.join("\r\n").replace(/(?:\r\n)+$/, "")
  return text === "" ? "" : `${text}\r\n`
}

const rows: [name: string, body: string, want: string][] = [
  ["RFC 6376 §3.4.5", " C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"],
  ["nothing", "", ""],
  ["empty lines only", "\r\n\r\n\r\n", ""],
  ["blanks only", " \t", ""],
  ["lines of blanks only", " \r\n\t\r\n", ""],
  ["no line end at the end", "a", "a\r\n"],
  ["blanks and no line end at the end", "a \t", "a\r\n"],
  ["empty lines within", "a\r\n\r\n\r\nb\r\n", "a\r\n\r\n\r\nb\r\n"],
  ["a line of blanks within", "a\r\n  \r\nb\r\n", "a\r\n\r\nb\r\n"],
  ["octets above 127, and NUL", "\xa0\xc3\x84\x00 \xa0 \r\n", "\xa0\xc3\x84\x00 \xa0\r\n"],
  ["dots", ".\r\n..\r\n", ".\r\n..\r\n"],
]

describe("the relaxed body", () => {
  for (const [name, body, want] of rows)
    test(name, () => {
      for (const cut of [body.length || 1, 1, 2, 3]) expect(canonical(body, cut)).toBe(want)
    })

  test("whatever comes, in whatever pieces, is as the RFC says", () => {
    const piece = fc.constantFrom(" ", "\t", "\r\n", "\r\n\r\n", "a", "b c", "\xff", "  ", "=", "x".repeat(30))
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), fc.integer({ min: 1, max: 9 }), (pieces, cut) => {
        expect(canonical(pieces.join(""), cut)).toBe(reference(pieces.join("")))
      }),
      { numRuns: 2_000 },
    )
  })

  test("a line of 50 MB and 10 million empty lines are neither held nor gone through again", () => {
    const relaxed = new RelaxedBody(createHash("sha256"))
    const before = process.memoryUsage.rss()
    const [long, empty] = [Buffer.alloc(65_536, "x y"), Buffer.from("\r\n".repeat(32_768))]
    for (let count = 0; count < 800; count++) relaxed.push(long)
    for (let count = 0; count < 320; count++) relaxed.push(empty)
    relaxed.push(Buffer.from("end"))
    expect(relaxed.end()).toHaveLength(32)
    expect(process.memoryUsage.rss() - before).toBeLessThan(40_000_000)
  })
})

test("the relaxed field: RFC 6376 §3.4.5, folding, blanks, octets above 127", () => {
  const fields: readonly (readonly [string, string])[] = [
    ["A: X\r\n", "a:X\r\n"],
    ["B : Y\t\r\n\tZ  \r\n", "b:Y Z\r\n"],
    ["Subject:\r\n one\r\n \t two\r\n", "subject:one two\r\n"],
    ["SUBJECT:\xa0\xc3\x84 : b\r\n", "subject:\xa0\xc3\x84 : b\r\n"],
    ["Empty:\r\n", "empty:\r\n"],
  ]
  for (const [field, want] of fields)
    expect(Buffer.from(relaxedField(Buffer.from(field, "latin1"), "\r\n")).toString("latin1")).toBe(want)
})
