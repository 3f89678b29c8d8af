import { describe, expect, test } from "vitest"
import { type CommandEvent, CommandReader } from "../../../src/imap-proxy/wire/command-reader.ts"
import { formatSection } from "../../../src/imap-proxy/wire/section.ts"
import { latin1, type Token, textOf } from "../../../src/imap-proxy/wire/tokens.ts"

type Decide = (reader: CommandReader) => void
const collect: Decide = (reader) => reader.collect()

/** Reads `input` in pieces of `step` octets; every literal is dealt with by `decide`. One line of text for each event. */
function read(input: string, step: number, decide: Decide = collect): string[] {
  const reader = new CommandReader()
  const octets = Buffer.from(input, "latin1")
  const seen: string[] = []
  let data = ""
  for (let at = 0; at < octets.length; at += step) {
    reader.push(octets.subarray(at, at + step))
    for (let event = reader.next(); event !== null; event = reader.next()) {
      if (event.kind === "literal" || (event.kind === "tail" && event.literal !== null)) decide(reader)
      if (event.kind === "data") {
        data += latin1(event.octets)
        if (!event.last) continue
        seen.push(`data ${data}`)
        data = ""
      } else seen.push(shown(event))
    }
  }
  return seen
}

function shown(event: Exclude<CommandEvent, { kind: "data" }>): string {
  switch (event.kind) {
    case "literal": {
      const { size, synchronizing, binary } = event.literal
      return `literal of ${event.command.name}: ${binary ? "~" : ""}${size}${synchronizing ? "" : "+"}, ${event.command.open} open`
    }
    case "command":
      return `${event.command.tag} ${event.command.name} ${event.command.arguments.map(token).join(" ")}`.trim()
    case "tail":
      return `tail ${latin1(event.octets)}${event.literal === null ? "" : `, literal of ${event.literal.size}`}`
    case "line":
      return `line ${latin1(event.octets)}`
    case "bad":
      return `bad ${event.tag}: ${event.reason}`
  }
}

function token(of: Token): string {
  switch (of.kind) {
    case "atom":
      return of.text
    case "quoted":
      return `"${latin1(of.octets)}"`
    case "literal":
      return of.octets === null ? `{${of.size}}` : `{${latin1(of.octets)}}`
    case "list":
      return `(${of.items.map(token).join(" ")})`
    case "section":
      return `${of.name}[${formatSection(of.section)}]${of.partial === null ? "" : `<${of.partial.offset}.${of.partial.count}>`}`
  }
}

const rows: [name: string, input: string, events: string[], decide?: Decide][] = [
  ["a plain command", "a1 NOOP\r\n", ["a1 NOOP"]],
  ["a bare LF ends a line", "a1 NOOP\na2 NOOP\r\n", ["a1 NOOP", "a2 NOOP"]],
  ["quoted strings with escapes", 'a LOGIN "al\\"ice" "p\\\\w"\r\n', ['a LOGIN "al"ice" "p\\w"']],
  [
    "literals of both kinds",
    "a LOGIN {5}\r\nalice {4+}\r\n{1}x\r\nb NOOP\r\n",
    ["literal of LOGIN: 5, 0 open", "literal of LOGIN: 4+, 0 open", "a LOGIN {alice} {{1}x}", "b NOOP"],
  ],
  [
    "UID commands and sections",
    "a uid fetch 1:* (UID body.peek[1.header.fields (A B)]<0.100> RFC822.SIZE)\r\n",
    ["a UID FETCH 1:* (UID BODY.PEEK[1.HEADER.FIELDS (A B)]<0.100> RFC822.SIZE)"],
  ],
  ["mailboxes in brackets", "a SELECT [Gmail]/Sent\r\n", ["a SELECT [Gmail]/Sent"]],
  [
    "a literal in parentheses",
    "a APPEND x (\\Seen) UTF8 (~{3+}\r\nabc)\r\n",
    ["literal of APPEND: ~3+, 1 open", "data abc", "tail )"],
    (reader) => reader.stream(),
  ],
  [
    "an empty literal",
    "a APPEND x {0+}\r\n\r\n",
    ["literal of APPEND: 0+, 0 open", "data ", "tail "],
    (reader) => reader.stream(),
  ],
  [
    "several streamed literals",
    'a APPEND x {3}\r\nabc (\\Seen) "d" UTF8 (~{2+}\r\nde) {1}\r\nf\r\nb NOOP\r\n',
    [
      "literal of APPEND: 3, 0 open",
      "data abc",
      'tail  (\\Seen) "d" UTF8 (, literal of 2',
      "data de",
      "tail ) , literal of 1",
      "data f",
      "tail ",
      "b NOOP",
    ],
    (reader) => reader.stream(),
  ],
  [
    "a refused literal",
    "a APPEND x {9}\r\nb NOOP\r\n",
    ["literal of APPEND: 9, 0 open", "b NOOP"],
    (reader) => reader.refuse(),
  ],
  [
    "a discarded literal",
    "a APPEND x {9+}\r\nb NOOP\r\nX\r\n",
    ["literal of APPEND: 9+, 0 open", "a APPEND x {9}"],
    (reader) => reader.discard(),
  ],
  [
    "a literal within a section",
    "a FETCH 1 BODY[HEADER.FIELDS ({1+}\r\nA B)]\r\nb NOOP\r\n",
    ["literal of FETCH: 1+, 0 open", "a FETCH 1 BODY[HEADER.FIELDS (A B)]", "b NOOP"],
  ],
  [
    "lines that are no commands",
    "\r\n* NOOP\r\na\r\na NOOP (\r\nb NOOP\r\n",
    ["bad null: no command", "bad null: no command", "bad a: no command", "bad a: unmatched (", "b NOOP"],
  ],
  ["a brace within quotes", 'a SEARCH SUBJECT "x{5}\r\nb NOOP\r\n', ["bad a: quoted string is cut off", "b NOOP"]],
  [
    "octets of a broken line's literal are not read as commands",
    "%% X {10+}\r\n\r\nx NOOP\r\n\r\nb NOOP\r\n",
    ["bad null: no command", "b NOOP"],
  ],
  [
    "a CR or NUL within a line",
    "a NOOP\rx\r\nb LOGIN a\0 b\r\n",
    ["bad a: no command", "bad b: octet not allowed in an atom"],
  ],
]

describe("CommandReader", () => {
  for (const [name, input, events, decide] of rows) {
    test(`${name}: whole, in pieces and octet by octet`, () => {
      for (const step of [input.length, 1, 2, 3, 7]) expect(read(input, step, decide)).toEqual(events)
    })
  }

  test("quoted strings are unescaped", () => {
    const reader = new CommandReader()
    reader.push(Buffer.from('a LOGIN "al\\"ice" "p\\\\w"\r\n'))
    const event = reader.next()
    expect(event?.kind === "command" && event.command.arguments.map(textOf)).toEqual(['al"ice', "p\\w"])
  })

  test("a line longer than the limit ends the connection, also when its end never comes", () => {
    const reader = new CommandReader({ lineOctets: 100, literalOctets: 10 })
    reader.push(Buffer.from(`a SEARCH ${"x".repeat(100)}`))
    expect(() => reader.next()).toThrow(/longer than 100/)
  })

  test("the limit counts the text before and after literals together", () => {
    const reader = new CommandReader({ lineOctets: 30, literalOctets: 10 })
    reader.push(Buffer.from(`a SEARCH TEXT {1+}\r\nx TEXT {1+}\r\nx TEXT abcdefghijklmn\r\n`))
    expect(reader.next()?.kind).toBe("literal")
    reader.collect()
    expect(() => {
      for (let event = reader.next(); event !== null; event = reader.next()) reader.collect()
    }).toThrow(/longer/)
  })

  test("nesting is bounded", () => {
    const reader = new CommandReader()
    reader.push(Buffer.from(`a SEARCH ${"(".repeat(100)}\r\n`))
    expect(reader.next()).toEqual({ kind: "bad", tag: "a", reason: "nested deeper than 64" })
  })

  test("a line can be asked for, and commands go on after it", () => {
    const reader = new CommandReader()
    reader.push(Buffer.from("a AUTHENTICATE PLAIN\r\nAGEAYg==\r\nb NOOP\r\n"))
    expect(reader.next()?.kind).toBe("command")
    reader.expectLine()
    expect(reader.next()).toEqual({ kind: "line", octets: Buffer.from("AGEAYg==") })
    expect(reader.next()?.kind).toBe("command")
    expect(reader.bufferedOctets).toBe(0)
  })
})
