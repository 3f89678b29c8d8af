import { describe, expect, test } from "vitest"
import { parseAddressList } from "../../src/mime/addresses.ts"
import { formatBodyStructure, formatEnvelope } from "../../src/mime/bodystructure.ts"
import {
  type Entity,
  MAX_BOUNDARY_OCTETS,
  MAX_MIME_DEPTH,
  MAX_PARTS,
  StructureParser,
} from "../../src/mime/structure.ts"

const NESTED = `Subject: outer
Content-Type: multipart/mixed; boundary="b 1"

preamble
--b 1
Content-Type: text/plain; charset=utf-8

one
two

--b 1
Content-Type: message/rfc822

Subject: inner
Content-Type: multipart/alternative; boundary=b2

--b2

plain
--b2
Content-Type: text/html

<b>x</b>
--b2--
--b 1--
epilogue
`

describe("structure", () => {
  test("offsets name headers and bodies; the line end before a boundary belongs to the boundary", () => {
    const octets = crlf(NESTED)
    const root = parse([octets])
    const parts = partsOf(root)
    expect(parts.map((part) => text(octets, part.bodyStart, part.bodyEnd))).toEqual([
      "one\r\ntwo\r\n",
      expect.stringMatching(/^Subject: inner[\s\S]*--b2--$/),
    ])
    expect(text(octets, parts[0]?.headerStart, parts[0]?.bodyStart)).toBe(
      "Content-Type: text/plain; charset=utf-8\r\n\r\n",
    )
    expect(parts[0]?.lines).toBe(2)
    const inner = parts[1]?.content.kind === "message" ? parts[1].content.message : null
    expect(inner?.envelope?.subject).toBe("inner")
    expect(inner && partsOf(inner).map((part) => text(octets, part.bodyStart, part.bodyEnd))).toEqual([
      "plain",
      "<b>x</b>",
    ])
    expect(root.bodyEnd).toBe(octets.length)
  })

  test.each([1, 2, 3, 7, 64])("pieces of %i octets give the same structure", (size) => {
    for (const line of ["\r\n", "\n"]) {
      const octets = Buffer.from(NESTED.replaceAll("\n", line))
      expect(parse(chunks(octets, size))).toEqual(parse([octets]))
    }
  })

  const odd: readonly (readonly [name: string, message: string, want: string])[] = [
    ["empty message", "", TEXT(0, 0)],
    ["header only", "Subject: x\n", TEXT(0, 0)],
    ["body only", "\nx\n", TEXT(3, 1)],
    [
      "multipart without boundary",
      "Content-Type: multipart/mixed\n\nx\n",
      '("application" "octet-stream" NIL NIL NIL "7bit" 3)',
    ],
    ["multipart without parts", "Content-Type: multipart/mixed; boundary=b\n\nx\n", `(${TEXT(0, 0)} "mixed")`],
    ["no last boundary", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx", `(${TEXT(1, 0)} "mixed")`],
    [
      "boundary in a header section",
      "Content-Type: multipart/mixed; boundary=b\n\n--b\nA: b\n--b--\n",
      `(${TEXT(0, 0)} "mixed")`,
    ],
    [
      "boundary with blanks behind it",
      "Content-Type: multipart/mixed; boundary=b\n\n--b \t\n\nx\n--b-- \n",
      `(${TEXT(1, 0)} "mixed")`,
    ],
    [
      "boundary that begins like another",
      "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--bb\n--b--\n",
      `(${TEXT(4, 0)} "mixed")`,
    ],
    ["malformed type", "Content-Type: nonsense\n\nx\n", TEXT(3, 1)],
    [
      "quotes and 8-bit",
      'Content-Type: a/b; n="x\\"y"; m=ü\n\n',
      `("a" "b" ("n" "x\\"y" "m" {2}\r\n\u00c3\u00bc) NIL NIL "7bit" 0)`,
    ],
    [
      "empty embedded message",
      "Content-Type: message/rfc822\n\n",
      `("message" "rfc822" NIL NIL NIL "7bit" 0 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) ${TEXT(0, 0)} 0)`,
    ],
    [
      "embedded message cut off in its header",
      "Content-Type: message/rfc822\n\nSubject: s",
      `("message" "rfc822" NIL NIL NIL "7bit" 10 (NIL "s" NIL NIL NIL NIL NIL NIL NIL NIL) ${TEXT(0, 0)} 0)`,
    ],
    [
      "digest",
      "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: s\n\nx\n--b--\n",
      `(("message" "rfc822" NIL NIL NIL "7bit" 15 (NIL "s" NIL NIL NIL NIL NIL NIL NIL NIL) ${TEXT(1, 0)} 2) "digest")`,
    ],
    [
      "outer boundary ends inner parts",
      "Content-Type: multipart/a; boundary=o\n\n--o\nContent-Type: multipart/b; boundary=i\n\n--i\n\nx\n--o--\n",
      `((${TEXT(1, 0)} "b") "a")`,
    ],
  ]
  test.each(odd)("%s", (_name, message, want) => {
    expect(formatBodyStructure(parse([crlf(message)]), false)).toBe(want)
  })

  test("row 45: deeper than MAX_MIME_DEPTH is opaque", () => {
    let message = "x\n"
    for (let level = 0; level < 200; level += 1)
      message = `Content-Type: multipart/mixed; boundary=b${level}\n\n--b${level}\n${message}`
    const depth = (entity: Entity): number => 1 + Math.max(0, ...partsOf(entity).map(depth))
    expect(depth(parse([crlf(message)]))).toBe(MAX_MIME_DEPTH)
    expect(formatBodyStructure(parse([crlf(message)]), true)).toContain('"application" "octet-stream"')
  })

  test("row 45: after MAX_PARTS the last part takes the rest", () => {
    const octets = crlf(`Content-Type: multipart/mixed; boundary=b\n\n${"--b\n\nx\n".repeat(MAX_PARTS + 5)}--b--\n`)
    const parts = partsOf(parse([octets]))
    expect(parts).toHaveLength(MAX_PARTS)
    expect(parts.at(-1)?.bodyEnd).toBe(octets.length - 9)
  })

  test("a boundary longer than MAX_BOUNDARY_OCTETS is none", () => {
    const boundary = "b".repeat(MAX_BOUNDARY_OCTETS)
    const message = (text: string): string =>
      `Content-Type: multipart/mixed; boundary=${text}\n\n--${text}\n\nx\n--${text}--\n`
    expect(partsOf(parse([crlf(message(boundary))]))).toHaveLength(1)
    expect(partsOf(parse([crlf(message(`${boundary}b`))]))).toHaveLength(0)
  })

  test("a header section of 50 MB costs no memory to speak of", () => {
    const parser = new StructureParser()
    const piece = crlf(`${"X: y\n".repeat(10_000)}`)
    const before = process.memoryUsage.rss()
    for (let sent = 0; sent < 50_000_000; sent += piece.length) parser.push(piece)
    expect(parser.end().content.kind).toBe("leaf")
    expect(process.memoryUsage.rss() - before).toBeLessThan(50_000_000)
  })
})

describe("envelope", () => {
  test("sender and reply-to are the author's unless given; 8-bit texts are literals", () => {
    const { envelope } = parse([crlf('From: "A \\"B\\"" <a@b.c>\nSubject: ü\nReply-To: r@s.t\n\n')])
    expect(envelope && formatEnvelope(envelope)).toBe(
      '(NIL {2}\r\n\u00c3\u00bc (("A \\"B\\"" NIL "a" "b.c")) (("A \\"B\\"" NIL "a" "b.c")) ((NIL NIL "r" "s.t")) NIL NIL NIL NIL NIL)',
    )
  })

  const rows: readonly (readonly [text: string, want: readonly (readonly (string | null)[])[]])[] = [
    ["a@b.c", [[null, null, "a", "b.c"]]],
    [
      "Ann B. <a@b.c>, c@d.e",
      [
        ["Ann B.", null, "a", "b.c"],
        [null, null, "c", "d.e"],
      ],
    ],
    ['"x, y" <"a b"@c.d>', [["x, y", null, "a b", "c.d"]]],
    ["a@b.c (A (nested) C)", [["A (nested) C", null, "a", "b.c"]]],
    ["<@r1,@r2:u@h>", [[null, "@r1,@r2", "u", "h"]]],
    [
      "g: a@b, c@d;, e@f",
      [
        [null, null, "g", null],
        [null, null, "a", "b"],
        [null, null, "c", "d"],
        [null, null, null, null],
        [null, null, "e", "f"],
      ],
    ],
    [
      "undisclosed-recipients:;",
      [
        [null, null, "undisclosed-recipients", null],
        [null, null, null, null],
      ],
    ],
    [
      "g: a@b",
      [
        [null, null, "g", null],
        [null, null, "a", "b"],
        [null, null, null, null],
      ],
    ],
    ["no address", [[null, null, "no address", ""]]],
    ["<>", [[null, null, "", ""]]],
    [
      "a@b,,c@d",
      [
        [null, null, "a", "b"],
        [null, null, "c", "d"],
      ],
    ],
    ['"open', [[null, null, "open", ""]]],
    ["(open", []],
    ["", []],
  ]
  test.each(rows)("%s", (text, want) => {
    expect(parseAddressList(text).map(({ name, route, mailbox, host }) => [name, route, mailbox, host])).toEqual(want)
  })

  test.each([["("], ['"'], ["<"], [":"], ["\\"], ["@,"], [" "], ["a<"]])("100,000 times %s takes no time", (piece) => {
    const started = process.cpuUsage()
    parseAddressList(piece.repeat(100_000))
    expect(process.cpuUsage(started).user / 1_000).toBeLessThan(2_000)
  })
})

function parse(pieces: Iterable<Uint8Array>): Entity {
  const parser = new StructureParser()
  for (const piece of pieces) parser.push(piece)
  return parser.end()
}

function* chunks(octets: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < octets.length; at += size) yield octets.subarray(at, at + size)
}

function partsOf({ content }: Entity): readonly Entity[] {
  return content.kind === "multipart" ? content.parts : []
}

function crlf(message: string): Uint8Array {
  return Buffer.from(message.replaceAll("\n", "\r\n"))
}

function text(octets: Uint8Array, start = 0, end = 0): string {
  return Buffer.from(octets.subarray(start, end)).toString("latin1")
}

function TEXT(octets: number, lines: number): string {
  return `("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" ${octets} ${lines})`
}
