import { describe, expect, test } from "vitest"
import { ResponseReader } from "../../../src/imap-proxy/wire/response-reader.ts"
import { latin1 } from "../../../src/imap-proxy/wire/tokens.ts"

/** One line of text for each event; data events of one literal are joined. */
function read(input: string, step: number): string[] {
  const reader = new ResponseReader()
  const octets = Buffer.from(input, "latin1")
  const seen: string[] = []
  let data = ""
  for (let at = 0; at < octets.length; at += step) {
    reader.push(octets.subarray(at, at + step))
    for (let event = reader.next(); event !== null; event = reader.next()) {
      if (event.kind === "text") seen.push(latin1(event.octets))
      else if (event.kind === "end") seen.push(latin1(event.lineEnd) === "\r\n" ? "end" : "other line end")
      else if (event.kind === "literal") seen.push(`literal ${event.size} ${latin1(event.marker)}`)
      else {
        data += latin1(event.octets)
        if (event.last) seen.push(`data ${data}`)
        if (event.last) data = ""
      }
    }
  }
  return seen
}

const rows: [name: string, input: string, events: string[]][] = [
  ["lines", "* OK x\r\na1 OK done\r\n", ["* OK x", "end", "a1 OK done", "end"]],
  [
    "literals within a line",
    "* 1 FETCH (BODY[] {3}\r\na\r\n UID 7 BODY[1] ~{2}\r\n)) X {0}\r\n)\r\n",
    [
      ...["* 1 FETCH (BODY[] ", "literal 3 {3}\r\n", "data a\r\n"],
      ...[" UID 7 BODY[1] ", "literal 2 ~{2}\r\n", "data ))"],
      ...[" X ", "literal 0 {0}\r\n", "data ", ")", "end"],
    ],
  ],
  [
    "a brace within quotes",
    '* LIST () "/" "a{5}"\r\n* LIST () "/" "b\\"{5}\r\n',
    ['* LIST () "/" "a{5}"', "end", '* LIST () "/" "b\\"{5}', "end"],
  ],
  [
    "status text that ends like a literal",
    "* OK see {5}\r\na NO no {5}\r\n+ go {5}\r\n",
    ["* OK see {5}", "end", "a NO no {5}", "end", "+ go {5}", "end"],
  ],
  ["a bare LF", "* OK x\na OK y\r\n", ["* OK x", "end", "a OK y", "end"]],
]

describe("ResponseReader", () => {
  for (const [name, input, events] of rows) {
    test(`${name}: whole, in pieces and octet by octet`, () => {
      for (const step of [input.length, 1, 2, 3, 7]) expect(read(input, step)).toEqual(events)
    })
  }

  test("what is handed out of one chunk follows one another in its memory", () => {
    const reader = new ResponseReader()
    const chunk = Buffer.from("* 1 FETCH (BODY[] {3}\r\nabc)\r\n* OK x\r\n")
    reader.push(chunk)
    let at = chunk.byteOffset
    for (let event = reader.next(); event !== null; event = reader.next()) {
      const octets = event.kind === "literal" ? event.marker : event.kind === "end" ? event.lineEnd : event.octets
      expect([octets.buffer === chunk.buffer, octets.byteOffset]).toEqual([true, at])
      at += octets.length
    }
    expect(at).toBe(chunk.byteOffset + chunk.length)
  })

  test("a literal is handed out as it comes, never gathered", () => {
    const reader = new ResponseReader()
    reader.push(Buffer.from("* 1 FETCH (BODY[] {100000000}\r\nabc"))
    expect([reader.next()?.kind, reader.next()?.kind]).toEqual(["text", "literal"])
    expect(reader.next()).toEqual({ kind: "data", octets: Buffer.from("abc"), last: false })
    expect(reader.next()).toBeNull()
    expect(reader.bufferedOctets).toBe(0)
  })

  test.each([131_071, 131_072, 131_073, 131_074, 262_144, 262_145, 400_000])(
    "a list of numbers of %i octets is handed out in pieces, whatever it comes in",
    (length) => {
      const line = "* SEARCH ".padEnd(length, "12 ")
      for (const step of [1_000_000, 65_536, 4099]) {
        const seen = read(`${line}\r\n* OK {3}\r\n`, step)
        expect(seen.slice(-3)).toEqual(["end", "* OK {3}", "end"])
        expect(seen.slice(0, -3).join("") === line).toBe(true)
        expect(seen.every((piece) => piece.length <= 2 * 131_072)).toBe(true)
      }
    },
  )

  test("a line over the limit throws, its literals not counted", () => {
    const reader = new ResponseReader(100)
    reader.push(Buffer.from(`* 1 FETCH (X {200}\r\n${"y".repeat(200)} Z ${"z".repeat(90)}`))
    expect(() => {
      for (let event = reader.next(); event !== null; event = reader.next());
    }).toThrow(/longer than/)
  })
})
