import { describe, expect, test } from "vitest"
import { Base64LineEncoder, base64Lines, base64LinesSize } from "../../src/mime/base64-lines.ts"

const octets = (count: number): Uint8Array => Uint8Array.from({ length: count }, (_, at) => (at * 7 + (at >> 8)) & 0xff)
const wanted = (content: Uint8Array): string =>
  (
    Buffer.from(content)
      .toString("base64")
      .match(/.{1,76}/g) ?? []
  )
    .map((line) => `${line}\r\n`)
    .join("")

async function* pieces(content: Uint8Array, step: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < content.length; at += step) yield content.subarray(at, at + step)
}

async function text(content: AsyncIterable<Uint8Array>): Promise<{ text: string; pieces: number }> {
  const parts: Uint8Array[] = []
  for await (const part of content) parts.push(part)
  return { text: Buffer.concat(parts).toString("latin1"), pieces: parts.length }
}

describe("base64 in lines", () => {
  for (const count of [0, 1, 2, 3, 56, 57, 58, 113, 114, 115, 171, 1000])
    test(`${count} octets: whole, chunked and octet by octet are the same, and as long as foretold`, async () => {
      const content = octets(count)
      for (const step of [1, 5, 57, 58, 2000])
        expect((await text(base64Lines(pieces(content, step)))).text).toBe(wanted(content))
      expect(base64LinesSize(count)).toBe(wanted(content).length)
    })

  test("a message in one piece comes out in one piece", async () => {
    expect((await text(base64Lines(pieces(octets(10_000), 10_000)))).pieces).toBe(1)
  })

  test("lines are put where there is room for them, and nowhere where there is too little", () => {
    const [encoder, room] = [new Base64LineEncoder(), Buffer.alloc(200, "x")]
    expect(encoder.pushInto(octets(115), room).length).toBe(2 * 78)
    expect(room.toString("latin1")).toBe(`${wanted(octets(114))}${"x".repeat(200 - 2 * 78)}`)
    expect(() => new Base64LineEncoder().pushInto(octets(115), room.subarray(0, 155))).toThrow(RangeError)
  })

  test("an encoder keeps what its caller overwrites", () => {
    const encoder = new Base64LineEncoder()
    const buffer = octets(60)
    const parts = [encoder.push(buffer)]
    buffer.fill(0)
    parts.push(encoder.end())
    expect(Buffer.concat(parts).toString("latin1")).toBe(wanted(octets(60)))
  })
})
