import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { MAX_LINE_OCTETS, WholeLines } from "../../src/smtp-in/whole-lines.ts"

async function handed(pieces: readonly Uint8Array[]): Promise<{ parts: string[]; overlong: boolean }> {
  const parts: string[] = []
  const lines = new WholeLines(async (octets) => void parts.push(Buffer.from(octets).toString()))
  for (const piece of pieces) await lines.push(piece)
  await lines.end()
  return { parts, overlong: lines.overlong }
}

const octets = (...texts: readonly string[]) => texts.map((text) => Buffer.from(text))

describe("a body in whole lines", () => {
  const rows: [name: string, pieces: string[], want: string[]][] = [
    ["nothing", [""], []],
    ["lines", ["a\r\nb\r\n"], ["a\r\nb\r\n"]],
    ["a line in three pieces", ["a", "b", "c\r\n"], ["abc\r\n"]],
    ["a line end in two pieces", ["a\r", "\nb\r\n"], ["a\r\n", "b\r\n"]],
    ["no line end behind the last", ["a\r\nb"], ["a\r\n", "b"]],
  ]
  for (const [name, pieces, want] of rows)
    test(name, async () => expect((await handed(octets(...pieces))).parts).toEqual(want))

  test("however it comes: all of it, and a part ends with a line", () =>
    fc.assert(
      fc.asyncProperty(fc.array(fc.stringMatching(/^[ab\n]{0,5}$/)), async (pieces) => {
        const { parts } = await handed(octets(...pieces))
        expect(parts.join("")).toBe(pieces.join(""))
        for (const part of parts.slice(0, -1)) expect(part.endsWith("\n")).toBe(true)
      }),
    ))

  test("the longest line passes; a longer one, and what is behind it, is not handed on", async () => {
    const longest = Buffer.alloc(MAX_LINE_OCTETS - 1, "a")
    expect((await handed([longest, ...octets("\n")])).parts.map((part) => part.length)).toEqual([MAX_LINE_OCTETS])
    const { parts, overlong } = await handed([...octets("a\n"), longest, ...octets("b\n", "c\n")])
    expect([parts, overlong]).toEqual([["a\n"], true])
  })
})
