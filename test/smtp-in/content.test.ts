import { describe, expect, test } from "vitest"
import { GatewayError } from "../../src/errors.ts"
import { MAX_HEADER_OCTETS } from "../../src/mime/header.ts"
import {
  type ContentRules,
  type ContentVerdict,
  inspectContent,
  MAX_RECEIVED_FIELDS,
} from "../../src/smtp-in/content.ts"

async function inspect(chunks: readonly Uint8Array[], rules: Partial<ContentRules> = {}) {
  const verdict: ContentVerdict = { complete: false, sizeOctets: 0, refusal: null }
  const out: Uint8Array[] = []
  const source = (async function* () {
    yield* chunks
  })()
  try {
    for await (const octets of inspectContent(source, { maxOctets: 10_000_000, ...rules }, verdict)) out.push(octets)
  } catch (error) {
    if (error !== verdict.refusal) throw error
  }
  return { verdict, octets: Buffer.concat(out).toString("latin1") }
}

function pieces(text: string, size: number): Uint8Array[] {
  const whole = Buffer.from(text, "latin1")
  return Array.from({ length: Math.ceil(whole.length / size) }, (_, index) =>
    whole.subarray(index * size, (index + 1) * size),
  )
}

describe("line ends, however the segments are cut", () => {
  const rows: [content: string, clean: boolean][] = [
    ["", true],
    ["\r\n", true],
    ["a\r\n\r\nb\r\n", true],
    ["a\r\n\r\nb", true],
    ["a\r", false],
    ["\n", false],
    ["\r", false],
    ["a\nb\r\n", false],
    ["a\rb\r\n", false],
    ["a\r\r\n", false],
    ["a\r\n\n", false],
    ["a\n\r", false],
    [`${"x".repeat(40)}\r\n\r\n${"\r\n".repeat(20)}y\r\n`, true],
    [`${"\r\n".repeat(20)}\r${"\r\n".repeat(20)}`, false],
  ]
  for (const [content, clean] of rows) {
    for (const size of [1, 2, 3, 7, 1000]) {
      test(`${JSON.stringify(content.slice(0, 30))} by ${size}`, async () => {
        const { verdict, octets } = await inspect(pieces(content, size))
        expect(verdict.complete).toBe(clean)
        expect(verdict.refusal?.code).toBe(clean ? undefined : "LINE_ENDINGS")
        if (clean) expect(octets).toBe(content)
      })
    }
  }
})

describe("the header section", () => {
  const header = "From: a\r\nX: b\r\n c\r\n"
  const rows: [name: string, content: string, names: string[]][] = [
    ["with a body", `${header}\r\nY: body\r\n`, ["from", "x"]],
    ["without an empty line", header, ["from", "x"]],
    ["empty", "\r\nY: body\r\n", []],
    ["of an empty message", "", []],
  ]
  for (const [name, content, names] of rows) {
    for (const size of [1, 5, 1000]) {
      test(`${name}, by ${size}: is looked at once`, async () => {
        const seen: string[][] = []
        await inspect(pieces(content, size), { checkHeader: (fields) => seen.push(fields.map((field) => field.name)) })
        expect(seen).toEqual([names])
      })
    }
  }

  test("can refuse the message", async () => {
    const refusal = new GatewayError("AUTHOR_REFUSED", "test")
    const checkHeader = () => {
      throw refusal
    }
    const { verdict } = await inspect(pieces(`${header}\r\nbody`, 5), { checkHeader })
    expect(verdict).toMatchObject({ complete: false, refusal })
  })

  test.each([0, 1])("of the largest size and %i more, octet by octet in linear time", async (more) => {
    const content = `X: ${"x".repeat(MAX_HEADER_OCTETS - 7 + more)}\r\n\r\n`
    const { verdict } = await inspect([
      ...pieces(content.slice(0, 200_000), 1),
      ...pieces(content.slice(200_000), 60_000),
    ])
    expect(verdict.refusal?.code).toBe(more === 0 ? undefined : "HEADER_TOO_LARGE")
  })

  test.each([0, 1])("with a hundred hops and %i more", async (more) => {
    const { verdict } = await inspect(pieces(`${"Received: x\r\n".repeat(MAX_RECEIVED_FIELDS + more)}\r\n`, 1000))
    expect(verdict.refusal?.code).toBe(more === 0 ? undefined : "MAIL_LOOP")
  })
})

test.each([0, 1])("a message of the largest size and %i more", async (more) => {
  const { verdict } = await inspect(pieces("x".repeat(1000 + more), 100), { maxOctets: 1000 })
  expect(verdict).toMatchObject(more === 0 ? { complete: true, sizeOctets: 1000 } : { complete: false })
  expect(verdict.refusal?.code).toBe(more === 0 ? undefined : "MESSAGE_TOO_LARGE")
})
