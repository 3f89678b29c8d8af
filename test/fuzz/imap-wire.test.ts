import fc from "fast-check"
import { expect, test } from "vitest"
import { GatewayError } from "../../src/errors.ts"
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
        if (event.kind !== "literal") continue
        if (choice === 0 && event.literal.synchronizing) reader.refuse()
        else if (choice === 1) reader.stream()
        else if (reader.collectable) reader.collect()
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
