import { expect, test } from "vitest"
import { DotReader } from "../../src/smtp-in/parser.ts"

const rows: [octets: string, content: string, rest: string | null][] = [
  [".\r\n", "", ""],
  [".\r\nQUIT\r\n", "", "QUIT\r\n"],
  ["a\r\n.\r\nQUIT\r\n", "a\r\n", "QUIT\r\n"],
  ["\r\n.\r\n", "\r\n", ""],
  ["..\r\n.\r\n", ".\r\n", ""],
  ["...\r\n..a\r\n.\r\n", "..\r\n.a\r\n", ""],
  ["a..\r\n.\r\n", "a..\r\n", ""],
  [".a\r\n.\r\n", "a\r\n", ""],
  ["a\n.\n.\r\nb\r\n.\r\n", "a\n.\n.\r\nb\r\n", ""],
  ["a\r.\r\r\n.\r\n", "a\r.\r\r\n", ""],
  ["a\r\n.\rb\r\n.\r\n", "a\r\n\rb\r\n", ""],
  ["a\r\n.\nb\r\n.\r\n", "a\r\n\nb\r\n", ""],
  ["a\r\n..\r\n", "a\r\n.\r\n", null],
  ["a\r\n", "a\r\n", null],
]
for (const [octets, content, rest] of rows) {
  for (const size of [1, 2, 3, 100]) {
    test(`${JSON.stringify(octets)} by ${size}`, () => {
      const reader = new DotReader()
      const whole = Buffer.from(octets)
      let got = ""
      let after: string | null = null
      for (let at = 0; at < whole.length; at += size) {
        if (after !== null) {
          after += whole.subarray(at, at + size).toString()
          continue
        }
        const pushed = reader.push(whole.subarray(at, at + size))
        got += pushed.content.toString()
        after = pushed.rest?.toString() ?? null
      }
      expect([got, after]).toEqual([content, rest])
    })
  }
}
