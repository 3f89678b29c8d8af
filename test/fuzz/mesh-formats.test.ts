import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { readAnnotation } from "../../src/crypto/dare/annotation.ts"
import { readEnvelope } from "../../src/crypto/dare/envelope.ts"
import { openEnvelope, openPayload, seedOf } from "../../src/crypto/dare/open.ts"
import { ReceivedEnvelope } from "../../src/crypto/dare/receive.ts"
import { type EnvelopeForm, type SealOptions, sealEnvelope, sealWhole } from "../../src/crypto/dare/seal.ts"
import { appendFrame, beginSequence } from "../../src/crypto/dare/sequence/append.ts"
import type { SequenceType } from "../../src/crypto/dare/sequence/linkage.ts"
import { frameBefore, octetsAtHand } from "../../src/crypto/dare/sequence/read.ts"
import { openSequence, type Sequence } from "../../src/crypto/dare/sequence/verify.ts"
import { readJson } from "../../src/crypto/jsonb/read.ts"
import { ValueScanner } from "../../src/crypto/jsonb/scan.ts"
import type { JsonValue } from "../../src/crypto/jsonb/value.ts"
import { type Writable, writeJson, writeJsonB } from "../../src/crypto/jsonb/write.ts"
import { GatewayError } from "../../src/errors.ts"
import { encryptionTo, reader, writer } from "../crypto/dare/people.ts"
import { inPieces, joined } from "../harness/pieces.ts"

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 200)
const x25519 = reader("X25519")
const signing = [writer("Ed25519").signer]

/** One change at a place. */
const mutation = fc.record({
  at: fc.nat(),
  octets: fc.oneof(
    fc.uint8Array({ maxLength: 4 }),
    fc.constantFrom(...['"', "{", "]", ",", "\\"].map((c) => Buffer.from(c))),
  ),
  kind: fc.constantFrom("overwrite", "insert", "remove"),
})
type Mutation = typeof mutation extends fc.Arbitrary<infer T> ? T : never

const mutated = (original: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> =>
  fc
    .tuple(original, fc.array(mutation, { minLength: 1, maxLength: 3 }))
    .map(([octets, changes]) => changes.reduce(change, octets))

function change(octets: Uint8Array, { at, octets: fresh, kind }: Mutation): Uint8Array {
  const place = at % (octets.length + 1)
  const skip = kind === "insert" ? 0 : Math.max(1, fresh.length)
  const middle = kind === "remove" ? new Uint8Array(0) : fresh
  return new Uint8Array(Buffer.concat([octets.subarray(0, place), middle, octets.subarray(place + skip)]))
}

/** Any value that can be written; numbers as JavaScript has them, and wider. */
const { writable } = fc.letrec<{ writable: Writable }>((tie) => ({
  writable: fc.oneof(
    { maxDepth: 5, depthSize: "small" },
    fc.string({ unit: "grapheme" }),
    fc.uint8Array({ maxLength: 300 }),
    fc.maxSafeInteger(),
    fc.bigInt({ min: -(2n ** 200n), max: 2n ** 200n }),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie("writable"), { maxLength: 5 }),
    fc.dictionary(fc.string({ maxLength: 5 }), tie("writable"), { maxKeys: 5, noNullPrototype: true }),
  ),
}))

/** As it is read again from JSON-B. */
function again(value: JsonValue): Writable {
  switch (value.kind) {
    case "object":
      return Object.fromEntries([...value.members].map(([name, member]) => [name, again(member)]))
    case "array":
      return value.items.map(again)
    case "string":
      return value.text
    case "data":
      return new Uint8Array(value.octets)
    case "integer":
    case "real":
    case "boolean":
      return value.value
    case "null":
      return null
  }
  return value satisfies never
}

/** Integers are read as bigint, whatever wrote them. */
function widened(value: Writable): Writable {
  if (typeof value === "number") return BigInt(value)
  if (value === null || typeof value !== "object" || value instanceof Uint8Array) return value
  if (Array.isArray(value)) return value.map(widened)
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, widened(member ?? null)]))
}

/** Runs a parser: a value, or the code of an error of ours, nothing else. */
async function calmly<T>(parse: () => T | Promise<T>): Promise<T | null> {
  try {
    return await parse()
  } catch (error) {
    if (error instanceof GatewayError) return null
    throw error
  }
}

const jsonLike = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.json({ maxDepth: 4, depthSize: "small" }).map((text) => Buffer.from(text)),
  writable.map(writeJsonB),
  mutated(writable.map(writeJsonB)),
  mutated(fc.json({ maxDepth: 4, depthSize: "small" }).map((text) => Buffer.from(text))),
)

describe("JSON-B", () => {
  test("what is written is read, to the last octet", () => {
    fc.assert(
      fc.property(writable, (value) => {
        expect(again(readJson(writeJsonB(value)))).toEqual(widened(value))
        expect(readJson(writeJson(value)).kind).toBeDefined()
      }),
      { numRuns: RUNS },
    )
  })

  test("JSON is read as JSON.parse reads it", () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 4, depthSize: "small" }), (text) => {
        const parsed = JSON.stringify(JSON.parse(text))
        const own = Buffer.from(writeJson(again(readJson(Buffer.from(text))))).toString()
        expect(JSON.stringify(JSON.parse(own))).toBe(parsed)
      }),
      { numRuns: RUNS },
    )
  })

  test("any octets: a value within them or an error of ours, and the scanner finds its end in pieces", async () => {
    await fc.assert(
      fc.asyncProperty(jsonLike, fc.integer({ min: 1, max: 20 }), async (octets, size) => {
        const value = await calmly(() => readJson(octets))
        const end = await calmly(() => scanned(octets, size))
        if (value === null) return
        expect(value.start).toBeLessThan(value.end)
        expect(end).toBe(value.end)
      }),
      { numRuns: RUNS },
    )
  })
})

function scanned(octets: Uint8Array, size: number): number | null {
  const scanner = new ValueScanner()
  for (let at = 0; at < octets.length; at += size) {
    const end = scanner.push(octets.subarray(at, at + size))
    if (end !== null) return at + end
  }
  return scanner.completeAtEnd ? octets.length : null
}

const how: fc.Arbitrary<SealOptions> = fc.record({
  encryption: fc.constantFrom(null, encryptionTo(x25519)),
  signers: fc.constantFrom([], signing),
  annotations: fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 3 }),
  contentMeta: writable,
})
const form = fc.constantFrom<EnvelopeForm>("json", "json-b")
const content = fc.uint8Array({ maxLength: 100 })
const envelope = fc.tuple(content, how, form).map(([octets, options, as]) => sealWhole(octets, options, as))

describe("envelopes", () => {
  test("what is sealed is opened, whole and in pieces of any size", async () => {
    await fc.assert(
      fc.asyncProperty(content, how, form, fc.integer({ min: 1, max: 50 }), async (octets, options, as, size) => {
        const sealed = await joined(sealEnvelope(inPieces(octets, size), options, as))
        const { content: whole, annotations } = openEnvelope(readEnvelope(sealed), [x25519.key])
        expect([whole, annotations]).toEqual([octets, options.annotations])
        const received = await ReceivedEnvelope.open(inPieces(sealed, size))
        const seed = seedOf(received.header, [x25519.key])
        expect(await joined(openPayload(received, seed, () => {}))).toEqual(octets)
      }),
      { numRuns: RUNS / 2 },
    )
  })

  test("any octets: whole and in pieces give the same, or errors of ours", async () => {
    const octets = fc.oneof(mutated(envelope), mutated(envelope), jsonLike)
    await fc.assert(
      fc.asyncProperty(octets, fc.integer({ min: 1, max: 50 }), async (sealed, size) => {
        const whole = await calmly(() => openEnvelope(readEnvelope(sealed), [x25519.key]).content)
        const streamed = await calmly(async () => {
          const received = await ReceivedEnvelope.open(inPieces(sealed, size))
          const opened = await joined(openPayload(received, seedOf(received.header, [x25519.key]), () => {}))
          for (const segment of received.header.annotations)
            readAnnotation(segment, seedOf(received.header, [x25519.key]))
          return opened
        })
        expect(streamed).toEqual(whole)
      }),
      { numRuns: RUNS },
    )
  })
})

const sequence = fc
  .tuple(
    fc.constantFrom<SequenceType>("List", "Digest", "Chain", "Tree", "Merkle"),
    fc.array(content, { maxLength: 6 }),
  )
  .map(([type, contents]) => {
    const begin = beginSequence(type)
    const frames = [begin.octets]
    let { tail } = begin
    for (const octets of contents) {
      const next = appendFrame(tail, octets, { encryption: null })
      frames.push(next.octets)
      tail = next.tail
    }
    return { octets: new Uint8Array(Buffer.concat(frames)), tail, frames: frames.length }
  })

describe("sequences", () => {
  test("what is written is read, in both directions, and cut anywhere its whole frames are", async () => {
    await fc.assert(
      fc.asyncProperty(sequence, fc.nat(), async ({ octets, tail, frames }, cut) => {
        const whole = await openSequence(octetsAtHand(octets))
        expect([whole.positions.length, whole.end, whole.links]).toEqual([frames, tail.end, tail.links])
        const kept = cut % (octets.length + 1)
        const broken = await calmly(() => openSequence(octetsAtHand(octets.subarray(0, kept))))
        if (broken) expect(broken.end + broken.truncatedOctets).toBe(kept)
        if (broken) expect(whole.positions.slice(0, broken.positions.length)).toEqual(broken.positions)
      }),
      { numRuns: RUNS / 2 },
    )
  })

  test("any octets: frames that fill them, or errors of ours", async () => {
    const octets = fc.oneof(mutated(sequence.map((made) => made.octets)), fc.uint8Array({ maxLength: 60 }))
    await fc.assert(
      fc.asyncProperty(octets, async (file) => {
        const read: Sequence | null = await calmly(() => openSequence(octetsAtHand(file)))
        if (read) expect(read.end + read.truncatedOctets).toBe(file.length)
        await calmly(() => frameBefore(octetsAtHand(file), file.length))
      }),
      { numRuns: RUNS },
    )
  })
})
