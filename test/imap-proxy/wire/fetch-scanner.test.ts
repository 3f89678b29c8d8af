import { describe, expect, test } from "vitest"
import { FetchScanner, mayHoldMessageData, messageDataOf } from "../../../src/imap-proxy/wire/fetch-scanner.ts"

/** Pieces are divided by literals; each literal shows as the item it is the value of. */
function scan(...pieces: string[]): string[] {
  const scanner = new FetchScanner()
  return pieces.flatMap((piece, index) => {
    const found = scanner.text(piece).map((value) => {
      return `${value.item}=${value.kind === "atom" ? value.text : piece.slice(value.start, value.end)}`
    })
    return index === pieces.length - 1 ? found : [...found, `${scanner.literal()}={}`]
  })
}

describe("FetchScanner", () => {
  const rows: [name: string, pieces: string[], values: string[]][] = [
    [
      "atoms, lists and quoted strings",
      ['(UID 7 FLAGS (\\Seen x) BODY[1] "a b" MODSEQ (5))'],
      ["UID=7", "FLAGS=(\\Seen x)", 'BODY[1]="a b"', "MODSEQ=(5)"],
    ],
    [
      "literals by item, whatever is around",
      ["(BODY[] ", " UID 7 body[text]<0> ", ")"],
      ["BODY[]={}", "UID=7", "BODY[TEXT]<0>={}"],
    ],
    [
      "literals and parentheses within lists are nobody's value",
      ['(ENVELOPE ("(" ', " (NIL)) BODY[] ", ")"],
      ["null={}", "BODY[]={}"],
    ],
    [
      "a section with a list, quotes and a literal",
      ['(BODY[HEADER.FIELDS ("A]" ', ")] ", ' RFC822 "x")'],
      ["null={}", 'BODY[HEADER.FIELDS ("A]" )]={}', 'RFC822="x"'],
    ],
    ["escaped quotes", ['(BODY[] "a\\")\\\\" UID 3)'], ['BODY[]="a\\")\\\\"', "UID=3"]],
    ["NIL and double blanks", ["(BODY[]  NIL  UID 3)"], ["BODY[]=NIL", "UID=3"]],
  ]
  for (const [name, pieces, values] of rows) test(name, () => expect(scan(...pieces)).toEqual(values))
})

test("which items carry message data", () => {
  const rows: [item: string, data: unknown][] = [
    ["BODY[]", { section: "", origin: null }],
    ["BODY[]<10>", { section: "", origin: 10 }],
    ["BODY[1.2]", { section: "1.2", origin: null }],
    ["BODY[TEXT]<0>", { section: "TEXT", origin: 0 }],
    ["BODY[1.TEXT]", { section: "1.TEXT", origin: null }],
    ["RFC822", { section: "", origin: null }],
    ["RFC822.TEXT", { section: "TEXT", origin: null }],
    ["RFC822.HEADER", null],
    ["RFC822.SIZE", null],
    ["BODY[HEADER]", null],
    ["BODY[1.MIME]", null],
    ["BODY[HEADER.FIELDS (A)]", null],
    ["BODY", null],
    ["BODYSTRUCTURE", null],
  ]
  for (const [item, data] of rows) expect(messageDataOf(item), item).toEqual(data)
  expect(mayHoldMessageData("(FLAGS () RFC822.SIZE 5 BODYSTRUCTURE (x))")).toBe(false)
  expect(mayHoldMessageData("(RFC822 NIL)")).toBe(true)
})
