import { p256 } from "@noble/curves/nist.js"
import { describe, expect, test } from "vitest"
import { fromBigEndian, toBigEndian, toLittleEndian } from "../../../src/crypto/primitives/modular.ts"
import { p256Compress, p256PublicPoint, randomP256Scalar } from "../../../src/crypto/primitives/p256.ts"
import { p256Multiplication } from "../../../src/crypto/primitives/p256-recrypt.ts"
import { p256EvenY } from "../../../src/crypto/primitives/p256-root.ts"
import { randomX25519Scalar, x25519PublicKey } from "../../../src/crypto/primitives/x25519.ts"
import { x25519Multiplication } from "../../../src/crypto/primitives/x25519-recrypt.ts"
import { hasCode } from "../../../src/errors.ts"
import { hex } from "./vectors.ts"

const refused = expect.toSatisfy((error) => hasCode(error, "POINT_INVALID"))
const evenY = (x: bigint): bigint | null => {
  const y = p256EvenY(toBigEndian(x))
  return y && fromBigEndian(y)
}
const hexOf = (octets: Uint8Array): string => Buffer.from(octets).toString("hex")

describe("P-256 points", () => {
  test("are multiplied as @noble/curves does, but for the sign", () => {
    for (let round = 0; round < 10; round++) {
      const scalar = randomP256Scalar()
      const point = p256PublicPoint(randomP256Scalar())
      const expected = p256.Point.fromBytes(point).multiply(fromBigEndian(scalar))
      const even = expected.y % 2n === 0n ? expected : expected.negate()
      expect(hexOf(p256Multiplication(scalar)(point))).toBe(even.toHex(false))
      expect(hexOf(p256Multiplication(scalar)(p256Compress(point)))).toBe(even.toHex(true))
    }
  })

  test("come out the same each time: a device may read a message in pieces", () => {
    const multiply = p256Multiplication(randomP256Scalar())
    const point = p256PublicPoint(randomP256Scalar())
    expect(hexOf(multiply(point))).toBe(hexOf(multiply(point)))
  })

  const good = p256PublicPoint(hex("11".repeat(32)))
  const wrongY = Uint8Array.from(good).fill(1, 64)
  const rows: [name: string, point: Uint8Array][] = [
    ["a point off the curve", wrongY],
    ["x and y of zero", Uint8Array.from([4, ...new Array<number>(64).fill(0)])],
    ["x over the prime", hex(`04${"ff".repeat(64)}`)],
    ["a compressed x without a point", hex(`02${"00".repeat(31)}01`)],
    ["infinity", hex("00")],
    ["infinity, filled up", new Uint8Array(65)],
    ["the hybrid form", Uint8Array.from([6 + ((good[64] ?? 0) & 1), ...good.subarray(1)])],
    ["64 octets", good.subarray(1)],
    ["66 octets", Uint8Array.from([...good, 0])],
    ["no octets", new Uint8Array(0)],
  ]
  test.each(rows)("%s is refused", (_, point) => {
    expect(() => p256Multiplication(hex("05".repeat(32)))(point)).toThrow(refused)
  })

  test("leaves stack traces of others on", () => {
    const limit = Error.stackTraceLimit
    expect(() => p256Multiplication(hex("05".repeat(32)))(wrongY)).toThrow()
    p256Multiplication(hex("05".repeat(32)))(good)
    expect(Error.stackTraceLimit).toBe(limit)
  })
})

describe("square roots", () => {
  test("are those of the points, and even", () => {
    for (let round = 0; round < 200; round++) {
      const point = p256.Point.BASE.multiply(fromBigEndian(randomP256Scalar()))
      expect(evenY(point.x)).toBe(point.y % 2n === 0n ? point.y : p256.Point.Fp.neg(point.y))
    }
  })

  test("exist for half of all numbers, and null says so", () => {
    const none = Array.from({ length: 400 }, (_, x) => evenY(BigInt(x))).filter((y) => y === null).length
    expect(none).toBeGreaterThan(140)
    expect(none).toBeLessThan(260)
  })

  test("hold at the edges of the field", () => {
    const prime = p256.Point.Fp.ORDER
    for (const x of [0n, 1n, 5n, prime - 1n, prime - 2n, prime - 3n, 1n << 255n]) {
      const y = evenY(x)
      const square = (((x * x * x - 3n * x + p256.Point.CURVE().b) % prime) + prime) % prime
      if (y !== null) expect((y * y) % prime).toBe(square)
    }
  })
})

describe("X25519 points", () => {
  const u = (number: bigint): Uint8Array => toLittleEndian(number)
  const prime = (1n << 255n) - 19n
  // RFC 7748 §6.1 and its non-canonical forms: everything whose multiple by the cofactor is zero.
  const small: [name: string, point: Uint8Array][] = [
    ["0", u(0n)],
    ["1", u(1n)],
    ["-1", u(prime - 1n)],
    ["p", u(prime)],
    ["p+1", u(prime + 1n)],
    ["order 8", hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")],
    ["order 8, the other", hex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157")],
  ]
  test.each(small)("%s is refused: of small order", (_, point) => {
    for (let round = 0; round < 3; round++)
      expect(() => x25519Multiplication(randomX25519Scalar())(point)).toThrow(refused)
    expect(() => x25519Multiplication(u(12345n))(point)).toThrow(refused)
  })

  test.each([0, 31, 33])("%i octets are refused", (length) => {
    expect(() => x25519Multiplication(randomX25519Scalar())(new Uint8Array(length).fill(9))).toThrow(refused)
  })

  test("a point with a small component loses it, as with X25519 itself", () => {
    const scalar = randomX25519Scalar()
    const point = x25519PublicKey(randomX25519Scalar())
    expect(x25519Multiplication(scalar)(point)).toHaveLength(32)
  })
})
