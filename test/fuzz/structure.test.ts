import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { formatBodyStructure, formatEnvelope } from "../../src/mime/bodystructure.ts"
import { type Entity, StructureParser } from "../../src/mime/structure.ts"
import { readArrived } from "../../src/pipeline/arriving/arrived.ts"
import { preparedOf } from "../../src/pipeline/prepared.ts"

const numRuns = Number(process.env["FUZZ_RUNS"] ?? 500)

/** Pieces that mean something to the parser, and noise. */
const piece = fc.oneof(
  fc.constantFrom(
    ...[
      "\r\n",
      "\n",
      "\r",
      "\r\n\r\n",
      "--",
      "--b\r\n",
      "--b--\r\n",
      "--c\r\n",
      "\0",
      '"',
      "(",
      ";",
      "=",
      ":",
      ",",
      "<",
      " ",
    ],
    "Content-Type: multipart/mixed; boundary=b\r\n",
    'Content-Type: multipart/alternative; boundary="c"\r\n',
    "Content-Type: message/rfc822\r\n",
    "Content-Type: multipart/digest;\r\n boundary=c\r\n",
    "Subject: x\r\n",
    "From: a@b.c, g: <d@e>;\r\n",
  ),
  fc.string({ unit: "binary", maxLength: 20 }),
)
const message = fc.array(piece, { maxLength: 60 }).map((pieces) => Buffer.from(pieces.join("")))

describe("structure of anything", () => {
  test("is the same however it is cut, lies within the message, and can be printed", () => {
    fc.assert(
      fc.property(message, fc.array(fc.nat(300), { maxLength: 10 }), (octets, cuts) => {
        const whole = parse(octets, [])
        expect(parse(octets, cuts)).toEqual(whole)
        expect(
          parse(
            octets,
            Array.from(octets, (_, at) => at),
          ),
        ).toEqual(whole)
        checkRanges(whole, 0, octets.length)
        expect(balanced(formatBodyStructure(whole, true))).toBe(true)
        if (whole.envelope) expect(balanced(formatEnvelope(whole.envelope))).toBe(true)
      }),
      { numRuns },
    )
  })

  test("of arriving mail is the same, though the body of one that has no parts is not read", async () => {
    await fc.assert(
      fc.asyncProperty(message, async (octets) => {
        const { root } = await readArrived(preparedOf(octets))
        const whole = parse(octets, [])
        expect({ ...root, lines: 0 }).toEqual({ ...whole, lines: 0 })
      }),
      { numRuns },
    )
  })
})

function parse(octets: Uint8Array, cuts: readonly number[]): Entity {
  const parser = new StructureParser()
  let from = 0
  for (const cut of [...cuts].sort((a, b) => a - b)) {
    parser.push(octets.subarray(from, cut))
    from = Math.max(from, Math.min(cut, octets.length))
  }
  parser.push(octets.subarray(from))
  return parser.end()
}

function checkRanges(entity: Entity, start: number, end: number): void {
  expect(start).toBeLessThanOrEqual(entity.headerStart)
  expect(entity.headerStart).toBeLessThanOrEqual(entity.bodyStart)
  expect(entity.bodyStart).toBeLessThanOrEqual(entity.bodyEnd)
  expect(entity.bodyEnd).toBeLessThanOrEqual(end)
  const { content } = entity
  const inside = content.kind === "multipart" ? content.parts : content.kind === "message" ? [content.message] : []
  let at = entity.bodyStart
  for (const part of inside) {
    checkRanges(part, at, entity.bodyEnd)
    at = part.bodyEnd
  }
}

/** Parentheses match outside strings and literals. */
function balanced(text: string): boolean {
  let depth = 0
  for (let at = 0; at < text.length; at += 1) {
    const literal = text[at] === "{" ? /^\{(\d+)\}\r\n/.exec(text.slice(at, at + 20)) : null
    const quoted = text[at] === '"' ? /^"(?:[^"\\]|\\.)*"/s.exec(text.slice(at)) : null
    if (literal) at += literal[0].length + Number(literal[1]) - 1
    else if (quoted) at += quoted[0].length - 1
    else if (text[at] === "(") depth += 1
    else if (text[at] === ")" && --depth < 0) return false
  }
  return depth === 0
}
