import { readFileSync } from "node:fs"
import { x448 } from "@noble/curves/ed448.js"
import { x25519 } from "@noble/curves/ed25519.js"
import { describe, expect, test } from "vitest"
import { fromLittleEndian, inverse, modulo } from "../../../src/crypto/primitives/modular.ts"
import {
  addPoints,
  montgomeryAgreement,
  montgomeryOctets,
  montgomeryOrder,
  montgomeryPublicPoint,
  printPoint,
} from "../../../src/crypto/primitives/montgomery.ts"
import { randomOctets } from "../../../src/crypto/primitives/random.ts"
import { fromHex, toHex } from "../mesh-vectors.ts"

const CURVES = [
  ["X25519", x25519],
  ["X448", x448],
] as const

describe("multiplication by any number", () => {
  test("X448: vectors of recryption", () => {
    const { vectors } = JSON.parse(readFileSync("test/vectors/recryption/x448-recryption.json", "utf8"))
    for (const { recryptionScalar, deviceScalar, V, kV, sharedSecret } of vectors) {
      const recrypted = montgomeryAgreement("X448", fromLittleEndian(fromHex(recryptionScalar)))(fromHex(V))
      expect(toHex(recrypted)).toBe(kV)
      expect(toHex(montgomeryAgreement("X448", fromLittleEndian(fromHex(deviceScalar)))(recrypted))).toBe(sharedSecret)
    }
  })

  for (const [curve, noble] of CURVES)
    test(`${curve}: k = a/b for any b recrypts, none has to be drawn again`, () => {
      const order = montgomeryOrder(curve)
      const octets = montgomeryOctets(curve)
      for (let round = 0; round < 8; round++) {
        const [a, b] = [randomOctets(octets), fromLittleEndian(randomOctets(octets)) % order]
        const point = noble.getPublicKey(randomOctets(octets))
        const scalar = fromLittleEndian(noble.getSharedSecret(a, noble.getPublicKey(randomOctets(octets)))) % order
        const k = modulo(scalar * inverse(b, order), order)
        const recrypted = montgomeryAgreement(curve, k)(point)
        expect(montgomeryAgreement(curve, b)(recrypted)).toEqual(montgomeryAgreement(curve, scalar)(point))
      }
    })

  for (const [curve] of CURVES)
    test(`${curve}: a sum of points is the point of the sum, doubling included`, () => {
      const [a, b] = [1n, 2n].map((add) => fromLittleEndian(randomOctets(40)) * 2n ** 100n + add)
      if (a === undefined || b === undefined) throw new Error("no numbers")
      const [p, q] = [montgomeryPublicPoint(curve, a), montgomeryPublicPoint(curve, b)]
      expect(addPoints(curve, p, q)).toEqual(montgomeryPublicPoint(curve, a + b))
      expect(addPoints(curve, p, p)).toEqual(montgomeryPublicPoint(curve, 2n * a))
      expect(printPoint(curve, p)).toHaveLength(montgomeryOctets(curve) + 1)
    })
})
