import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, test } from "vitest"

/** What must be tried of finding keys (34 to 43) and of what messages are made of (44 to 61): the title of a test begins with the row, or rows, that it is about. */
const ROWS: readonly (readonly [row: number, what: string])[] = [
  [34, "Web Key Directories that answer this and that, or not at all"],
  [35, "sub-domains that exist by a wildcard"],
  [36, "a directory that is blocked, of who had a key yesterday"],
  [37, "a key on a keyserver, for somebody else's address"],
  [38, "Autocrypt fields of forged mail"],
  [39, "S/MIME certificates that came with mail"],
  [40, "flooded certificates"],
  [41, "recipients with and without keys, of one message"],
  [42, "keys that are rolled or revoked while a message is queued"],
  [43, "keys of algorithms that are not known, or weak"],
  [44, "decompression bombs"],
  [45, "MIME bombs"],
  [46, "messages that parsers differ on"],
  [47, "what the client has signed"],
  [48, "what is encrypted already, and what only looks so"],
  [49, "EFAIL, direct"],
  [50, "EFAIL, gadgets"],
  [51, "chunks that are moved, cut or missing"],
  [52, "ciphers in the wrong structure, failures that tell something"],
  [53, "signatures that are not what they seem"],
  [54, "marks of ours that others forge"],
  [55, "protected header fields"],
  [56, "Bcc"],
  [57, "tags in the subject"],
  [58, "charsets"],
  [59, "messages of nothing, or without an empty line"],
  [60, "calendars, reports, lists"],
  [61, "lines that relays change, in signed mail"],
]

/** Rows that titles name, in the test files below a folder. */
function named(folder: string): ReadonlySet<number> {
  const titles = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".test.ts"))
    .flatMap((file) => [...readFileSync(join(folder, file), "utf8").matchAll(TITLE)])
  return new Set(titles.flatMap(([, rows = ""]) => rows.split(/, | and /).map(Number)))
}

const TITLE = /["'`]rows? (\d+(?:(?:, | and )\d+)*): /g

describe("what trusted mail systems try is tried here", () => {
  const found = named(import.meta.dirname)
  test.each(ROWS)("row %i is in the title of a test: %s", (row) => expect(found).toContain(row))
})
