import { describe, expect, test } from "vitest"
import { readEnvelope } from "../../../src/crypto/dare/envelope.ts"
import { MAX_FIELDS_OCTETS, MAX_RECIPIENTS } from "../../../src/crypto/dare/fields.ts"
import { HELD_OCTETS, openPayload } from "../../../src/crypto/dare/open.ts"
import { ReceivedEnvelope } from "../../../src/crypto/dare/receive.ts"
import { sealEnvelope } from "../../../src/crypto/dare/seal.ts"
import { GatewayError } from "../../../src/errors.ts"
import { inPieces, joined, PIECE_SIZES } from "../../harness/pieces.ts"

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const latin1 = (text: string): Uint8Array => Buffer.from(text, "latin1")
const codeOf = (error: unknown): string => (error instanceof GatewayError ? error.code : String(error))

/** The payload as text, or the code of the error, read whole and in pieces. */
async function outcomes(octets: Uint8Array): Promise<string[]> {
  const whole = (async () => Buffer.from(readEnvelope(octets).payload).toString())()
  // What is too large is not fed octet by octet: that would take a second.
  const least = octets.length > 100_000 ? 1000 : 1
  const streamed = PIECE_SIZES.map(async ([, size]) => {
    const envelope = await ReceivedEnvelope.open(inPieces(octets, Math.max(least, size)))
    return Buffer.from(await joined(envelope.payload())).toString()
  })
  const ends = await Promise.allSettled([whole, ...streamed])
  return ends.map((end) => (end.status === "fulfilled" ? end.value : codeOf(end.reason)))
}

const read: [name: string, envelope: Uint8Array, payload: string][] = [
  ["an empty envelope", utf8('[{},"",{}]'), ""],
  ["no trailer", utf8('[{},"aGVsbG8"]'), "hello"],
  ["a header alone", utf8("[{}]"), ""],
  ["null for payload and trailer", utf8("[{},null,null]"), ""],
  ["wrapped", utf8(' { "DareEnvelope" : [ {} , "aGVsbG8" , {} ] } \n'), "hello"],
  ["line breaks within the payload", utf8('[{},"aGVs\n  bG8",{}]'), "hello"],
  ["line breaks within a member", utf8('[{"Salt":"AAAA\n  AAAA"},"aGVsbG8"]'), "hello"],
  ["JSON-B, no comma behind the payload", latin1("[{},\x88\x05hello{}]"), "hello"],
  ["JSON-B, with the comma", latin1("[{},\x88\x05hello,{}]"), "hello"],
  ["JSON-B in pieces", latin1("[{},\x8c\x03hel\x8d\x00\x02lo\x88\x00{}]"), "hello"],
  ["JSON-B wrapped under a name of JSON-B", latin1('{\x80\x0cDareEnvelope[{},"aGVsbG8"]}'), "hello"],
  ["members that we do not know", utf8('[{"Debug":{"a":[1,2,{}]}},"aGVsbG8",{"x":1.5}]'), "hello"],
]
describe("reads, whole and in pieces", () => {
  test.each(read)("%s", async (_, envelope, payload) => {
    expect(await outcomes(envelope)).toEqual([payload, payload, payload, payload])
  })
})

const refused: [name: string, envelope: Uint8Array, codes: string | readonly [whole: string, streamed: string]][] = [
  ["nothing", utf8(""), ["JSONB_SYNTAX", "DARE_MALFORMED"]],
  ["an empty array", utf8("[]"), "DARE_MALFORMED"],
  ["a header that is no object", utf8('[1,"",{}]'), ["JSONB_TYPE", "DARE_MALFORMED"]],
  ["four parts", utf8('[{},"",{},{}]'), "DARE_MALFORMED"],
  ["octets behind it", utf8('[{},"",{}]x'), ["JSONB_SYNTAX", "DARE_MALFORMED"]],
  ["cut off in the header", utf8('[{"a"'), ["JSONB_SYNTAX", "DARE_MALFORMED"]],
  ["cut off in the payload", utf8('[{},"aGVs'), ["JSONB_SYNTAX", "DARE_MALFORMED"]],
  ["cut off behind the payload", utf8('[{},"aGVs"'), ["JSONB_SYNTAX", "DARE_MALFORMED"]],
  ["cut off in data", latin1("[{},\x88\x05he"), ["JSONB_SYNTAX", "DARE_MALFORMED"]],
  ["wrapped in something else", utf8('{"Enveloped":[{},""]}'), ["JSONB_TYPE", "DARE_MALFORMED"]],
  ["wrapped beside something else", utf8('{"DareEnvelope":[{},""],"a":1}'), ["JSONB_TYPE", "DARE_MALFORMED"]],
  ["wrapped without a colon", utf8('{"DareEnvelope"[{},""]}'), ["JSONB_SYNTAX", "DARE_MALFORMED"]],
  ["a comma too many", utf8('[{},"",{},]'), ["JSONB_SYNTAX", "DARE_MALFORMED"]],
  ["a comma too few", utf8('[{}"",{}]'), ["JSONB_SYNTAX", "DARE_MALFORMED"]],
  ["a comma too few behind the payload", utf8('[{},""{}]'), ["JSONB_SYNTAX", "DARE_MALFORMED"]],
  ["a payload that is a number", utf8("[{},1]"), ["JSONB_TYPE", "DARE_MALFORMED"]],
  ["a payload that is no base64url", utf8('[{},"a+b/"]'), "JSONB_TYPE"],
  ["a trailer that is text", utf8('[{},"","x"]'), "JSONB_TYPE"],
  ["data that goes on as text", latin1("[{},\x8c\x01a\x80\x01b]"), ["JSONB_SYNTAX", "DARE_MALFORMED"]],
  ["recipients that are no list", utf8('[{"recipients":{}},""]'), "JSONB_TYPE"],
  ["another digest than the payload has", utf8(`[{"PayloadDigest":"AAAA"},"aGVs"]`), "DARE_ALTERED"],
  ["a member twice", utf8('[{"enc":"none","enc":"A256CBC"},""]'), "JSONB_SYNTAX"],
  ["a header that is too large", utf8(`[{"a":"${"x".repeat(MAX_FIELDS_OCTETS)}"},""]`), "DARE_TOO_LARGE"],
  ["a trailer that is too large", utf8(`[{},"",{"a":"${"x".repeat(MAX_FIELDS_OCTETS)}"}]`), "DARE_TOO_LARGE"],
  ["too many recipients", utf8(`[{"recipients":[${"{},".repeat(MAX_RECIPIENTS)}{}]},""]`), "DARE_TOO_LARGE"],
]
describe("refuses, whole and in pieces", () => {
  test.each(refused)("%s", async (_, envelope, codes) => {
    const [whole, streamed] = typeof codes === "string" ? [codes, codes] : codes
    expect(await outcomes(envelope)).toEqual([whole, streamed, streamed, streamed])
  })
})

describe("as it passes by", () => {
  test("what is stated behind the payload is not known before", async () => {
    const envelope = await ReceivedEnvelope.open(inPieces(utf8('[{},"aGVs",{"dig":"S512"}]'), 3))
    expect(() => envelope.end).toThrow(expect.objectContaining({ code: "DARE_MALFORMED" }))
    await joined(envelope.payload())
    expect(envelope.end.trailer?.digest).toBe("S512")
  })

  test("the source is closed when nobody wants more of it, or it is no envelope", async () => {
    let closed = 0
    async function* source(text: string) {
      try {
        for (;;) yield utf8(text)
      } finally {
        closed++
      }
    }
    const envelope = await ReceivedEnvelope.open(source('[{},"aGVsbG8gaGVsbG8gaGVs'))
    for await (const _ of envelope.payload()) break
    await expect(ReceivedEnvelope.open(source("[1"))).rejects.toThrow()
    expect(closed).toBe(2)
  })

  test("content that fits is shown when all of it is verified, longer content as it comes", async () => {
    const shown = async (size: number) => {
      let [fed, first] = [0, -1]
      async function* counted() {
        for await (const piece of sealEnvelope(inPieces(new Uint8Array(size), 1000), { encryption: null }, "json-b")) {
          fed += piece.length
          yield piece
        }
      }
      const envelope = await ReceivedEnvelope.open(counted())
      for await (const _ of openPayload(envelope, null, () => {})) if (first < 0) first = fed
      return { fed, first }
    }
    const small = await shown(HELD_OCTETS)
    const large = await shown(10 * HELD_OCTETS)
    expect(small.first).toBe(small.fed)
    expect(large.first).toBeLessThan(2 * HELD_OCTETS)
  })
})
