import fc from "fast-check"
import { expect, test } from "vitest"
import { GatewayError } from "../../src/errors.ts"
import { readAppendTail } from "../../src/imap-proxy/wire/append-tail.ts"
import { CommandReader } from "../../src/imap-proxy/wire/command-reader.ts"
import { FetchScanner } from "../../src/imap-proxy/wire/fetch-scanner.ts"
import { ResponseReader } from "../../src/imap-proxy/wire/response-reader.ts"
import { latin1 } from "../../src/imap-proxy/wire/tokens.ts"

const numRuns = Number(process.env["FUZZ_RUNS"] ?? 2000)

/** Pieces of protocol glued together in any way: far more paths than random octets reach. */
const glue = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        ...[
          "a1 ",
          "FETCH ",
          "UID ",
          "APPEND x ",
          " UTF8 (",
          "* 1 FETCH (",
          "BODY[",
          "BODY.PEEK[",
          "]",
          "<0.10>",
          "HEADER.FIELDS (",
          "TEXT",
          "1.2",
          "(",
          ")",
          " ",
          '"',
          "\\",
        ],
        ...[
          "\r\n",
          "\n",
          "\r",
          "{5}",
          "{3+}",
          "~{4}",
          "~{2+}",
          "{0}",
          "{99999999999999999999}",
          "hello",
          "NIL",
          "+ ",
          "a OK ",
          "\0",
          "é",
          "$",
          "*",
        ],
      ),
      fc.string({ maxLength: 5, unit: "binary-ascii" }),
    ),
    { maxLength: 60 },
  )
  .map((pieces) => Buffer.from(pieces.join(""), "latin1"))
const steps = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 })

function pieces(octets: Uint8Array, lengths: readonly number[]): Uint8Array[] {
  const cut: Uint8Array[] = []
  for (let at = 0, n = 0; at < octets.length; n += 1) {
    const length = lengths[n % lengths.length] ?? 1
    cut.push(octets.subarray(at, at + length))
    at += length
  }
  return cut
}

/** Everything a reader makes of the octets, with data joined; a refusal is its last word. */
function commands(parts: readonly Uint8Array[], choice: number): string[] {
  const reader = new CommandReader({ lineOctets: 200, literalOctets: 20 })
  const seen: string[] = []
  try {
    for (const part of parts) {
      reader.push(part)
      for (let event = reader.next(); event !== null; event = reader.next()) {
        seen.push(event.kind === "data" ? `data ${event.last}` : JSON.stringify(event))
        if ((event.kind !== "literal" && event.kind !== "tail") || event.literal === null) continue
        if (choice === 0 && event.literal.synchronizing) reader.refuse()
        else if (choice === 1) reader.stream()
        else if (reader.collectable && event.kind === "literal") reader.collect()
        else reader.discard()
      }
    }
  } catch (error) {
    expect(error).toBeInstanceOf(GatewayError)
    seen.push(String(error))
  }
  return seen.filter((line) => line !== "data false")
}

function responses(parts: readonly Uint8Array[]): { events: string[]; octets: string } {
  const reader = new ResponseReader(200)
  const events: string[] = []
  let octets = ""
  try {
    for (const part of parts) {
      reader.push(part)
      for (let event = reader.next(); event !== null; event = reader.next()) {
        if (event.kind !== "data" || event.last) events.push(event.kind)
        if (event.kind === "text" || event.kind === "data") octets += latin1(event.octets)
        else octets += latin1(event.kind === "literal" ? event.marker : event.lineEnd)
      }
    }
  } catch (error) {
    expect(error).toBeInstanceOf(GatewayError)
    events.push(String(error))
  }
  return { events, octets }
}

test("commands: whole and in any pieces are the same, and nothing but a refusal is thrown", () => {
  fc.assert(
    fc.property(glue, steps, fc.nat(2), (octets, lengths, choice) => {
      expect(commands(pieces(octets, lengths), choice)).toEqual(commands([octets], choice))
    }),
    { numRuns },
  )
})

const messages = fc.array(
  fc.record({
    octets: fc.uint8Array({ maxLength: 40 }),
    options: fc.constantFrom("", " (\\Seen $x)", ' "17-Jul-1996 02:44:25 -0700"', ' () "d"'),
    sign: fc.constantFrom("", "+"),
    form: fc.constantFrom("plain", "literal8", "utf8"),
  }),
  { minLength: 1, maxLength: 6 },
)

test("messages of an APPEND come out as they went in, each with its options, in any pieces", () => {
  fc.assert(
    fc.property(messages, steps, (sent, lengths) => {
      const parts = sent.map(({ octets, options, sign, form }) => {
        const head = `${options} ${form === "utf8" ? "UTF8 (" : ""}${form === "plain" ? "" : "~"}{${octets.length}${sign}}\r\n`
        return Buffer.concat([Buffer.from(head), octets, Buffer.from(form === "utf8" ? ")" : "")])
      })
      const input = Buffer.concat([Buffer.from("a APPEND x"), ...parts, Buffer.from("\r\nb NOOP\r\n")])
      expect(appended(pieces(input, lengths))).toEqual([
        ...sent.map(({ octets, options }, index) => `${index === 0 ? "a APPEND x" : ""}${options} : ${latin1(octets)}`),
        "b",
      ])
    }),
    { numRuns },
  )
})

/** What stands before each message and the message, then the tag of the next command. */
function appended(parts: readonly Uint8Array[]): string[] {
  const reader = new CommandReader()
  const seen: string[] = []
  let [before, message, wrapped] = ["", "", false]
  for (const part of parts) {
    reader.push(part)
    for (let event = reader.next(); event !== null; event = reader.next()) {
      if (event.kind === "command") seen.push(event.command.tag)
      else if (event.kind === "literal") {
        const [first] = event.command.segments
        before = first?.kind === "text" ? latin1(first.octets).replace(/UTF8 \($/, "") : ""
        wrapped = event.command.open > 0
        reader.stream()
      } else if (event.kind === "data") {
        message += latin1(event.octets)
        if (!event.last) continue
        seen.push(`${before}: ${message}`)
        message = ""
      } else if (event.kind === "tail") {
        const tail = readAppendTail(event.octets, wrapped, event.literal !== null)
        if (tail?.kind !== "message") continue
        before = latin1(tail.options)
        wrapped = tail.wrapped
        reader.stream()
      }
    }
  }
  return seen
}

test("responses: whole and in any pieces are the same, and come out as they went in", () => {
  fc.assert(
    fc.property(glue, steps, (octets, lengths) => {
      const whole = responses([octets])
      expect(responses(pieces(octets, lengths))).toEqual(whole)
      // Line ends are made CRLF, also where data ends in CR and LF follows; everything else is the input's.
      const plain = (text: string): string => text.replaceAll(/\r+\n/g, "\n")
      expect(plain(latin1(octets)).startsWith(plain(whole.octets).replace(/\n$/, ""))).toBe(true)
    }),
    { numRuns },
  )
})

test("the FETCH scanner reads any text to its end", () => {
  fc.assert(
    fc.property(fc.array(glue, { maxLength: 4 }), (texts) => {
      const scanner = new FetchScanner()
      for (const text of texts) {
        for (const value of scanner.text(latin1(text))) {
          if (value.kind !== "atom") expect(value.end).toBeLessThanOrEqual(text.length)
        }
        scanner.literal()
      }
    }),
    { numRuns },
  )
})
