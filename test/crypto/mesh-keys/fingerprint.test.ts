import { describe, expect, test } from "vitest"
import {
  type FingerprintedKey,
  fingerprintGeneration,
  keyFingerprint,
  keyInfo,
  keyUdf,
  oidSequenceUdf,
} from "../../../src/crypto/mesh-keys/fingerprint.ts"
import type { Generation } from "../../../src/crypto/mesh-keys/key.ts"
import { parseUdf } from "../../../src/crypto/udf/udf.ts"
import { fromHex, type MeshVector, meshVectors, toHex } from "../mesh-vectors.ts"

const base64 = (text: string) => new Uint8Array(Buffer.from(text, "base64url"))

function keyOf({ inputs }: MeshVector): FingerprintedKey {
  return inputs.kty === "RSA"
    ? { curve: "RSA", modulus: base64(inputs.n), exponent: base64(inputs.e) }
    : { curve: inputs.crv, octets: base64(inputs.public_b64u) }
}

describe("published fingerprints", () => {
  for (const vector of meshVectors("key_fingerprints"))
    test(vector.name, () => {
      const generation: Generation = /^2022|^null/.test(vector.inputs.form) ? 2022 : 2024
      expect(keyUdf(keyOf(vector), generation)).toBe(vector.expected.udf)
      expect(fingerprintGeneration(parseUdf(vector.expected.udf), keyOf(vector))).toBe(generation)
    })

  test("are nobody else's", () => {
    const [a, b] = meshVectors("key_fingerprints")
    if (!a || !b) throw new Error("vectors are missing")
    expect(fingerprintGeneration(parseUdf(a.expected.udf), keyOf(b))).toBeNull()
    // 120 bits, and 130.
    expect(fingerprintGeneration(parseUdf(a.expected.udf.slice(0, -5)), keyOf(a))).toBeNull()
    expect(fingerprintGeneration(parseUdf(a.expected.udf.slice(0, -2)), keyOf(a))).not.toBeNull()
  })
})

describe("keys as OID sequences", () => {
  for (const { name, inputs, expected } of meshVectors("udf").filter(({ name }) => name.startsWith("oid-")))
    test(name, () => {
      const generation: Generation = inputs.algorithmParametersNull ? 2022 : 2024
      const key = { curve: inputs.alg, octets: fromHex(inputs.public) }
      expect(toHex(keyInfo(key, generation))).toBe(expected.der)
      expect(oidSequenceUdf(key, generation)).toBe(expected.oidUdf)
      expect(keyUdf(key, generation)).toBe(expected.keyUdf)
    })
})

test("2024 has one OID for every curve; 2022 tells them apart", () => {
  const [x448, ed448] = (["X448", "Ed448"] as const).map((curve) => ({ curve, octets: new Uint8Array(57) }))
  if (!x448 || !ed448) throw new Error("no keys")
  expect(keyInfo(x448, 2024)).toEqual(keyInfo(ed448, 2024))
  expect(keyInfo(x448, 2022)).not.toEqual(keyInfo(ed448, 2022))
  expect(keyFingerprint(x448, 2024)).toHaveLength(65)
})
