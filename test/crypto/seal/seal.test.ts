import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { randomOctets } from "../../../src/crypto/primitives/random.ts"
import { x25519Decapsulator, x25519Encapsulator } from "../../../src/crypto/primitives/seal-key.ts"
import { randomX25519Scalar, x25519PublicKey } from "../../../src/crypto/primitives/x25519.ts"
import {
  CHUNK_OCTETS,
  END_OCTETS,
  HEAD_OCTETS,
  keyIdOf,
  layoutOf,
  MAX_TRAILER_OCTETS,
  Opener,
  SEALED_CHUNK_OCTETS,
  Sealer,
} from "../../../src/crypto/seal/seal.ts"

const scalar = randomX25519Scalar()
const key = { id: randomOctets(16), encapsulate: x25519Encapsulator(x25519PublicKey(scalar)) }
const text = new TextEncoder()

function seal(content: Uint8Array, trailer = text.encode("trailer"), label = "file"): Buffer {
  const sealer = new Sealer(key, label)
  const chunks: Uint8Array[] = []
  let at = 0
  for (; content.length - at > CHUNK_OCTETS; at += CHUNK_OCTETS)
    chunks.push(sealer.chunk(content.subarray(at, at + CHUNK_OCTETS), false))
  chunks.push(sealer.chunk(content.subarray(at), true))
  return Buffer.concat([sealer.head, ...chunks, sealer.trailer(trailer)])
}

function open(file: Uint8Array, label = "file", withScalar = scalar): { content: Buffer; trailer: Uint8Array } | null {
  const layout = layoutOf(file.length, file.subarray(-END_OCTETS))
  if (layout === null) return null
  try {
    const opener = new Opener(file, x25519Decapsulator(withScalar), label)
    const trailer = opener.trailer(
      file.subarray(layout.trailerOffset, layout.trailerOffset + layout.trailerOctets),
      layout.chunks,
    )
    const chunks = Array.from({ length: layout.chunks }, (_, index) => {
      const start = HEAD_OCTETS + index * SEALED_CHUNK_OCTETS
      const end = Math.min(start + SEALED_CHUNK_OCTETS, layout.trailerOffset)
      return opener.chunk(file.subarray(start, end), index, index === layout.chunks - 1)
    })
    return { content: Buffer.concat(chunks), trailer }
  } catch {
    return null
  }
}

describe("a sealed file", () => {
  for (const size of [
    0,
    1,
    1_000,
    CHUNK_OCTETS - 1,
    CHUNK_OCTETS,
    CHUNK_OCTETS + 1,
    2 * CHUNK_OCTETS,
    3 * CHUNK_OCTETS + 7,
  ])
    test(`of ${size} octets opens to what was sealed`, () => {
      const content = Buffer.from(randomOctets(size))
      const file = seal(content)
      expect(layoutOf(file.length, file.subarray(-END_OCTETS))?.sizeOctets).toBe(size)
      expect(open(file)?.content.equals(content)).toBe(true)
      expect(Buffer.from(open(file)?.trailer ?? []).toString()).toBe("trailer")
    })

  test("names its key, shows neither content nor trailer, and is never the same twice", () => {
    const content = text.encode("plaintext of a message")
    const file = seal(content)
    expect(keyIdOf(file)).toEqual(key.id)
    expect(file.includes("plaintext")).toBe(false)
    expect(file.includes("trailer")).toBe(false)
    expect(seal(content).subarray(HEAD_OCTETS).equals(file.subarray(HEAD_OCTETS))).toBe(false)
    expect(keyIdOf(Buffer.alloc(HEAD_OCTETS))).toBeNull()
    expect(keyIdOf(file.subarray(0, HEAD_OCTETS - 1))).toBeNull()
  })

  test("does not open with another key or under another name", () => {
    expect(open(seal(randomOctets(10)), "other")).toBeNull()
    expect(open(seal(randomOctets(10)), "file", randomX25519Scalar())).toBeNull()
  })

  test("does not open when one octet is changed, wherever", () => {
    const file = seal(randomOctets(300))
    for (let at = 0; at < file.length; at++) {
      const changed = Buffer.from(file)
      changed[at] = (changed[at] ?? 0) ^ 1
      expect(open(changed), `octet ${at}`).toBeNull()
    }
  })

  test("does not open when cut or lengthened, wherever", () => {
    const file = seal(randomOctets(300))
    for (let octets = 0; octets < file.length; octets++)
      expect(open(file.subarray(0, octets)), `${octets} octets`).toBeNull()
    expect(open(Buffer.concat([file, Buffer.of(0)]))).toBeNull()
  })

  test("row 51: does not open when chunks are swapped, doubled or left out", () => {
    const file = seal(randomOctets(4 * CHUNK_OCTETS))
    const pieces = [0, 1, 2, 3].map((n) =>
      file.subarray(HEAD_OCTETS + n * SEALED_CHUNK_OCTETS, HEAD_OCTETS + (n + 1) * SEALED_CHUNK_OCTETS),
    )
    const rest = file.subarray(HEAD_OCTETS + 4 * SEALED_CHUNK_OCTETS)
    const order = (...ns: number[]) =>
      Buffer.concat([file.subarray(0, HEAD_OCTETS), ...ns.map((n) => pieces[n] ?? Buffer.alloc(0)), rest])
    expect(open(order(0, 1, 2, 3))).not.toBeNull()
    for (const wrong of [[1, 0, 2, 3], [0, 1, 1, 3], [0, 2, 3], [0, 1, 2], [3], [0, 1, 2, 2, 3]])
      expect(open(order(...wrong)), wrong.join()).toBeNull()
  })

  test("keys that are none are refused, those of small order too", () => {
    expect(() => x25519Encapsulator(new Uint8Array(31))).toThrow(expect.objectContaining({ code: "POINT_INVALID" }))
    expect(() => x25519Encapsulator(new Uint8Array(32))()).toThrow(expect.objectContaining({ code: "POINT_INVALID" }))
    expect(() => x25519Decapsulator(new Uint8Array(33))).toThrow(expect.objectContaining({ code: "SCALAR_INVALID" }))
    expect(() => x25519Decapsulator(scalar)(new Uint8Array(32))).toThrow(
      expect.objectContaining({ code: "POINT_INVALID" }),
    )
  })

  test("refuses a trailer that does not fit in memory", () => {
    expect(() => seal(Buffer.alloc(0), Buffer.alloc(MAX_TRAILER_OCTETS + 1))).toThrow(
      expect.objectContaining({ code: "LENGTH_MISMATCH" }),
    )
    expect(open(seal(Buffer.alloc(0), Buffer.alloc(MAX_TRAILER_OCTETS)))).not.toBeNull()
  })

  test("junk never opens and never crashes", () => {
    const runs = Number(process.env["FUZZ_RUNS"] ?? 200)
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.integer({ min: 0, max: 200 }), (junk, trailerOctets) => {
        const end = Buffer.alloc(4)
        end.writeUInt32BE(trailerOctets)
        expect(open(Buffer.concat([junk, end]))).toBeNull()
      }),
      { numRuns: runs },
    )
  })
})
