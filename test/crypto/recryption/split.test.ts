import { describe, expect, test } from "vitest"
import { fromLittleEndian, inverse, X25519_ORDER } from "../../../src/crypto/primitives/modular.ts"
import { P256_ORDER, p256PublicPoint, p256SharedX, randomP256Scalar } from "../../../src/crypto/primitives/p256.ts"
import { p256Multiplication } from "../../../src/crypto/primitives/p256-recrypt.ts"
import { randomX25519Scalar, x25519PublicKey, x25519SharedKey } from "../../../src/crypto/primitives/x25519.ts"
import { x25519Multiplication } from "../../../src/crypto/primitives/x25519-recrypt.ts"
import {
  inverseScalarP256,
  inverseScalarX25519,
  recryptionScalarP256,
  recryptionScalarX25519,
  splitP256,
  splitX25519,
} from "../../../src/crypto/recryption/split.ts"
import { hasCode } from "../../../src/errors.ts"
import { cms, hex } from "./vectors.ts"

const invalid = expect.toSatisfy((error) => hasCode(error, "SCALAR_INVALID"))
const hexOf = (octets: Uint8Array): string => Buffer.from(octets).toString("hex")
const ROUNDS = 20

describe("P-256", () => {
  test.each(cms.devices)("the recryption scalar of $name is that of the vectors", ({ scalar, recryptionKey }) => {
    expect(hexOf(recryptionScalarP256(hex(cms.account.scalar), hex(scalar)))).toBe(recryptionKey)
  })

  test("the device agrees with the recrypted point as the account does with the original", () => {
    for (let round = 0; round < ROUNDS; round++) {
      const account = randomP256Scalar()
      const { device, recryption } = splitP256(account)
      const point = p256PublicPoint(randomP256Scalar())
      const recrypted = p256Multiplication(recryption)(point)
      expect(hexOf(p256SharedX(device, recrypted))).toBe(hexOf(p256SharedX(account, point)))
      const restored = p256Multiplication(inverseScalarP256(recryption))(recrypted)
      expect(hexOf(restored.subarray(0, 33))).toBe(hexOf(point.subarray(0, 33)))
    }
  })

  test("the recryption scalar alone opens nothing", () => {
    const account = randomP256Scalar()
    const { device, recryption } = splitP256(account)
    const point = p256PublicPoint(randomP256Scalar())
    expect(hexOf(p256SharedX(device, point))).not.toBe(hexOf(p256SharedX(account, point)))
    expect(hexOf(p256SharedX(recryption, point))).not.toBe(hexOf(p256SharedX(account, point)))
  })

  test.each([
    ["zero", "00".repeat(32)],
    ["the order", P256_ORDER.toString(16)],
    ["31 octets", "01".repeat(31)],
  ])("refuses %s as a scalar", (_, scalar) => {
    expect(() => recryptionScalarP256(hex(scalar), hex("01".repeat(32)))).toThrow(invalid)
    expect(() => recryptionScalarP256(hex("01".repeat(32)), hex(scalar))).toThrow(invalid)
    expect(() => inverseScalarP256(hex(scalar))).toThrow(invalid)
  })
})

describe("X25519", () => {
  test("the device agrees with the recrypted point as the account does with the original, and back", () => {
    for (let round = 0; round < ROUNDS; round++) {
      const account = randomX25519Scalar()
      const { device, recryption } = splitX25519(account)
      const point = x25519PublicKey(randomX25519Scalar())
      const recrypted = x25519Multiplication(recryption)(point)
      expect(hexOf(x25519SharedKey(device, recrypted))).toBe(hexOf(x25519SharedKey(account, point)))
      expect(hexOf(x25519Multiplication(inverseScalarX25519(recryption))(recrypted))).toBe(hexOf(point))
    }
  })

  test("a recryption scalar is clamped, so that plain X25519 multiplies by exactly k", () => {
    const { recryption } = splitX25519(randomX25519Scalar())
    expect((recryption[0] ?? 1) & 7).toBe(0)
    expect((recryption[31] ?? 0) >> 6).toBe(1)
  })

  test("half of all device scalars have none, and are drawn again", () => {
    const account = randomX25519Scalar()
    const draws = Array.from({ length: 400 }, () => recryptionScalarX25519(account, randomX25519Scalar()))
    const missing = draws.filter((scalar) => scalar === null).length
    expect(missing).toBeGreaterThan(120)
    expect(missing).toBeLessThan(280)
  })

  test("gives up on a generator that always draws the same unfit scalar", () => {
    const account = randomX25519Scalar()
    let unfit = randomX25519Scalar()
    while (recryptionScalarX25519(account, unfit) !== null) unfit = randomX25519Scalar()
    expect(() => splitX25519(account, () => unfit)).toThrow(invalid)
  })

  test("scalars without a clamped form multiply exactly too, by their negative", () => {
    let seen = 0
    for (let round = 0; seen < 5 && round < 200; round++) {
      const { recryption } = splitX25519(randomX25519Scalar())
      const back = inverseScalarX25519(recryption)
      if ((back[31] ?? 0) >> 6 === 1) continue
      seen++
      expect((fromLittleEndian(back) * fromLittleEndian(recryption)) % X25519_ORDER).toBe(1n)
      const point = x25519PublicKey(randomX25519Scalar())
      expect(hexOf(x25519Multiplication(recryption)(x25519Multiplication(back)(point)))).toBe(hexOf(point))
    }
    expect(seen).toBe(5)
  })

  test("refuses zero and other lengths", () => {
    expect(() => inverseScalarX25519(new Uint8Array(32))).toThrow(invalid)
    expect(() => x25519Multiplication(new Uint8Array(32))).toThrow(invalid)
    expect(() => x25519Multiplication(new Uint8Array(31))).toThrow(invalid)
    expect(() => recryptionScalarX25519(new Uint8Array(31), randomX25519Scalar())).toThrow(invalid)
  })
})

test("the inverse is one for every number but zero", () => {
  for (const number of [1n, 2n, 3n, P256_ORDER - 1n, 12345678901234567890n])
    expect((inverse(number, P256_ORDER) * number) % P256_ORDER).toBe(1n)
  expect(inverse(0n, P256_ORDER)).toBe(0n)
})
