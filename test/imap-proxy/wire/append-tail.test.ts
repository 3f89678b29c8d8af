import { describe, expect, test } from "vitest"
import { readAppendTail } from "../../../src/imap-proxy/wire/append-tail.ts"

const rows: [tail: string, wrapped: boolean, literal: boolean, want: string | null][] = [
  ["", false, false, "end"],
  [")", true, false, "end"],
  ["", true, false, null],
  [")", false, false, null],
  [" ", false, false, null],
  ["x", false, false, null],
  [" ", false, true, " "],
  [") ", true, true, " "],
  [" (\\Seen $Label1) ", false, true, " (\\Seen $Label1) "],
  [" () ", false, true, " () "],
  [' "17-Jul-1996 02:44:25 -0700" ', false, true, ' "17-Jul-1996 02:44:25 -0700" '],
  [' (\\Seen) " 7-Jul-1996 02:44:25 -0700" ', false, true, ' (\\Seen) " 7-Jul-1996 02:44:25 -0700" '],
  [" UTF8 (", false, true, " wrapped"],
  [') (\\Seen) "d" utf8 (', true, true, ' (\\Seen) "d"  wrapped'],
  ["", false, true, null],
  [" (\\Seen)", false, true, null],
  ["  ", false, true, null],
  [' "d" (\\Seen) ', false, true, null],
  [" (\\Seen (x)) ", false, true, null],
  [' "d\\"" ', false, true, null],
  [" CATENATE (TEXT ", false, true, null],
  [" INBOX ", false, true, null],
]

describe("behind a message of APPEND", () => {
  test.each(rows)("%j, wrapped %s, literal %s", (tail, wrapped, literal, want) => {
    const read = readAppendTail(Buffer.from(tail, "latin1"), wrapped, literal)
    if (read === null || read.kind === "end") expect(read?.kind ?? null).toBe(want)
    else
      expect(Buffer.from(read.options).toString("latin1") + (read.wrapped ? " wrapped" : "")).toBe(
        want?.replace(/^ wrapped$/, "  wrapped"),
      )
  })
})
