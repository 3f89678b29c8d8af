import { p256 } from "@noble/curves/nist.js"
import { describe, expect, test } from "vitest"
import {
  isP256Point,
  P256_ORDER,
  p256Agreement,
  p256Compress,
  p256Decompress,
  p256Ephemeral,
  p256PublicPoint,
  p256ScalarFromNumber,
  p256ScalarFromSeed,
  p256SharedX,
  randomP256Scalar,
} from "../../../src/crypto/primitives/p256.ts"
import { hasCode } from "../../../src/errors.ts"

const scalar = p256ScalarFromNumber(0x1234567890abcdefn)
const point = p256PublicPoint(scalar)
const codeOf = (action: () => unknown, code: "POINT_INVALID" | "SCALAR_INVALID"): boolean => {
  try {
    action()
    return false
  } catch (error) {
    return hasCode(error, code)
  }
}

describe("P-256", () => {
  test("agrees with another implementation on points and agreements", () => {
    for (let round = 0; round < 10; round++) {
      const ours = randomP256Scalar()
      const theirs = randomP256Scalar()
      const theirPoint = p256.getPublicKey(theirs, false)
      expect(p256PublicPoint(ours)).toEqual(Buffer.from(p256.getPublicKey(ours, false)))
      const x = Buffer.from(p256.getSharedSecret(ours, theirPoint, true).subarray(1))
      expect(p256SharedX(ours, theirPoint)).toEqual(x)
      expect(p256SharedX(ours, p256Compress(theirPoint))).toEqual(x)
      expect(p256Ephemeral(ours, theirPoint)).toEqual({ ephemeralPoint: p256PublicPoint(ours), sharedX: x })
    }
  })

  test("one agreement serves many points", () => {
    const agree = p256Agreement(scalar)
    for (let round = 0; round < 3; round++) {
      const other = randomP256Scalar()
      expect(agree(p256PublicPoint(other))).toEqual(p256SharedX(other, point))
    }
  })

  test("compresses and decompresses", () => {
    expect(p256Compress(point)).toHaveLength(33)
    expect(p256Decompress(p256Compress(point))).toEqual(Buffer.from(point))
    expect(p256Decompress(point)).toEqual(Buffer.from(point))
  })

  const offCurve = Uint8Array.from(point, (octet, at) => (at === 64 ? octet ^ 1 : octet))
  const hybrid = Uint8Array.from(point, (octet, at) => (at === 0 ? 6 | ((point[64] ?? 0) & 1) : octet))
  const bad: [name: string, point: Uint8Array][] = [
    ["off the curve", offCurve],
    ["hybrid form", hybrid],
    ["infinity", Uint8Array.of(0)],
    ["empty", new Uint8Array(0)],
    ["cut off", point.subarray(0, 64)],
    ["one octet more", Buffer.concat([point, Uint8Array.of(0)])],
    ["x over the field prime", Uint8Array.from({ length: 33 }, (_, at) => (at === 0 ? 2 : 0xff))],
    ["x = 1, which has no y", Uint8Array.from({ length: 33 }, (_, at) => (at === 0 ? 2 : at === 32 ? 1 : 0))],
  ]
  for (const [name, octets] of bad)
    test(`refuses a point: ${name}`, () => {
      expect(isP256Point(octets)).toBe(false)
      expect(codeOf(() => p256SharedX(scalar, octets), "POINT_INVALID")).toBe(true)
      expect(codeOf(() => p256Ephemeral(scalar, octets), "POINT_INVALID")).toBe(true)
      expect(codeOf(() => p256Decompress(octets), "POINT_INVALID")).toBe(true)
      expect(codeOf(() => p256Compress(octets), "POINT_INVALID")).toBe(true)
    })

  const order = new Uint8Array(Buffer.from(P256_ORDER.toString(16), "hex"))
  const badScalars: [name: string, scalar: Uint8Array][] = [
    ["zero", new Uint8Array(32)],
    ["the order", order],
    ["31 octets", new Uint8Array(31).fill(1)],
    ["33 octets", new Uint8Array(33).fill(1)],
  ]
  for (const [name, octets] of badScalars)
    test(`refuses a scalar: ${name}`, () => {
      expect(codeOf(() => p256PublicPoint(octets), "SCALAR_INVALID")).toBe(true)
    })

  test("a seed gives the same scalar, and any seed a valid one", () => {
    expect(p256ScalarFromSeed(new Uint8Array(48))).toEqual(p256ScalarFromNumber(1n))
    const last = Buffer.from((P256_ORDER - 2n).toString(16).padStart(96, "0"), "hex")
    expect(p256ScalarFromSeed(last)).toEqual(p256ScalarFromNumber(P256_ORDER - 1n))
    const over = Buffer.from((P256_ORDER - 1n).toString(16).padStart(96, "0"), "hex")
    expect(p256ScalarFromSeed(over)).toEqual(p256ScalarFromNumber(1n))
    expect(codeOf(() => p256ScalarFromSeed(new Uint8Array(47)), "SCALAR_INVALID")).toBe(true)
  })
})
