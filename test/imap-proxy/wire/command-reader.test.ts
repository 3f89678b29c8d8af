import { describe, expect, test } from "vitest"
import { type CommandEvent, CommandReader } from "../../../src/imap-proxy/wire/command-reader.ts"
import { latin1, textOf } from "../../../src/imap-proxy/wire/tokens.ts"

/** Reads `input` in pieces of `step` octets; every literal is dealt with by `decide`; data events are joined. */
function read(
  input: string,
  step: number,
  decide: (reader: CommandReader, event: CommandEvent & { kind: "literal" }) => void = (reader) => reader.collect(),
): unknown[] {
  const reader = new CommandReader()
  const octets = Buffer.from(input, "latin1")
  const seen: unknown[] = []
  let data = ""
  for (let at = 0; at < octets.length; at += step) {
    reader.push(octets.subarray(at, at + step))
    for (let event = reader.next(); event !== null; event = reader.next()) {
      if (event.kind === "literal") {
        decide(reader, event)
        seen.push(["literal", event.literal, event.command.name, event.command.open])
      } else if (event.kind === "data") {
        data += latin1(event.octets)
        if (event.last) seen.push(["data", data])
        if (event.last) data = ""
      } else if (event.kind === "command") {
        const { tag, name } = event.command
        seen.push([tag, name, JSON.parse(JSON.stringify(event.command.arguments, shown))])
      } else seen.push(event.kind === "line" ? ["line", latin1(event.octets)] : event)
    }
  }
  return seen
}

function shown(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ||
    (typeof value === "object" && value !== null && "type" in value && value.type === "Buffer")
    ? "octets"
    : value
}

const rows: [name: string, input: string, decide?: Parameters<typeof read>[2]][] = [
  ["a plain command", "a1 NOOP\r\n"],
  ["quoted strings with escapes", 'a LOGIN "al\\"ice" "p\\\\w"\r\n'],
  ["literals of both kinds", "a LOGIN {5}\r\nalice {4+}\r\n{1}x\r\nb NOOP\r\n"],
  ["UID commands and sections", "a uid fetch 1:* (UID BODY.PEEK[1.HEADER.FIELDS (A B)]<0.100> RFC822.SIZE)\r\n"],
  ["a literal in parentheses", "a APPEND x (\\Seen) UTF8 (~{3+}\r\nabc)\r\n", (reader) => reader.stream()],
  ["an empty literal", "a APPEND x {0+}\r\n\r\n", (reader) => reader.stream()],
  ["a refused literal", "a APPEND x {9}\r\nb NOOP\r\n", (reader) => reader.refuse()],
  ["a discarded literal", "a APPEND x {9+}\r\nb NOOP\r\nX\r\n", (reader) => reader.discard()],
  ["a literal within a section", "a FETCH 1 BODY[HEADER.FIELDS ({1+}\r\nA B)]\r\nb NOOP\r\n"],
  ["lines that are no commands", "\r\n* NOOP\r\na\r\na NOOP (\r\nb NOOP\r\n"],
  ["a brace within quotes", 'a SEARCH SUBJECT "x{5}\r\nb NOOP\r\n'],
  ["octets of a broken line's literal are not read as commands", "%% X {10+}\r\n\r\nx NOOP\r\n\r\nb NOOP\r\n"],
]

describe("CommandReader", () => {
  for (const [name, input, decide] of rows) {
    test(`${name}: whole and octet by octet are the same`, () => {
      const whole = read(input, input.length, decide)
      expect(whole).toMatchSnapshot()
      for (const step of [1, 2, 3, 7]) expect(read(input, step, decide)).toEqual(whole)
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
