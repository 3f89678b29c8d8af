import { describe, expect, test } from "vitest"
import { deriveKey, deriveNistKey } from "../../../src/crypto/mesh-keys/derive.ts"
import { keyUdf } from "../../../src/crypto/mesh-keys/fingerprint.ts"
import type { CfrgCurve, Generation, NistCurve } from "../../../src/crypto/mesh-keys/key.ts"
import { profileKeyCurve, profileKeyName } from "../../../src/crypto/mesh-keys/key-name.ts"
import { sumOfPrivateKeys, sumOfPublicKeys } from "../../../src/crypto/mesh-keys/sum.ts"
import { contributionOf, publicKeyOf } from "../../../src/crypto/mesh-keys/use.ts"
import { nistOrder, nistPublicPoint } from "../../../src/crypto/primitives/ec.ts"
import { expandSeed } from "../../../src/crypto/primitives/edwards.ts"
import { hkdfSha512 } from "../../../src/crypto/primitives/hash.ts"
import { fromBigEndian } from "../../../src/crypto/primitives/modular.ts"
import { decodeScalar } from "../../../src/crypto/primitives/montgomery.ts"
import { clampX25519 } from "../../../src/crypto/primitives/x25519.ts"
import { parseSeed, printSeed, SEED_SPECIFIER, type Seed } from "../../../src/crypto/udf/seed.ts"
import { fromHex, meshVector, meshVectors, toHex } from "../mesh-vectors.ts"

/** From the keying material of a seed for one algorithm: `specifier || seed`. Labels that testers wrote are too short to be read as seeds. */
function seedOf(ikm: string): Seed {
  const octets = fromHex(ikm)
  return { specifier: (octets[0] ?? 0) * 256 + (octets[1] ?? 0), octets: octets.subarray(2) }
}

const generationOf = (text: string): Generation => (/main|2022|unit-22/.test(text) ? 2022 : 2024)

describe("a seed for one algorithm", () => {
  const published = meshVectors("key_derivation")

  for (const { name, inputs, expected } of published.filter(({ name }) => name.startsWith("derive-2024")))
    test(name, () => {
      const curve = name.replace("derive-2024-", "") as CfrgCurve
      const seed = parseSeed(inputs.udf)
      expect(printSeed(seed)).toBe(inputs.udf)
      for (const generation of [2022, 2024] as const)
        expect(toHex(deriveKey(seed, curve, "", generation).octets)).toBe(expected.okm)
      const key = deriveKey(seed, curve, "", 2024)
      if (curve === "X25519") expect(toHex(clampX25519(key.octets))).toBe(expected.privateKey)
      expect(keyUdf(publicKeyOf(key), 2024)).toBe(expected.keyUdf)
    })

  for (const { name, inputs, expected } of published.filter(({ name }) => name.startsWith("testkey-")))
    test(name, () => {
      const key = deriveKey(seedOf(inputs.ikm), inputs.alg, "", 2024)
      const isMontgomery = inputs.alg === "X25519" || inputs.alg === "X448"
      // The numbers are printed clamped, and not reduced.
      const scalar = isMontgomery ? decodeScalar(inputs.alg, key.octets) : expandSeed(inputs.alg, key.octets).scalar
      expect(String(scalar)).toBe(expected.scalar)
      expect(toHex(contributionOf(key).octets).slice(0, expected.public.length)).toBe(expected.public)
    })

  for (const { name, inputs, expected } of published.filter(({ name }) => name.startsWith("derive-draft13")))
    test(`${name}: superseded, and not what is derived here`, () => {
      const curve = name.replace("derive-draft13-salt-form-", "") as CfrgCurve
      const key = deriveKey(parseSeed(inputs.udf), curve, "", 2022)
      expect(toHex(hkdfSha512(fromHex(inputs.ikm), fromHex(inputs.salt), "", key.octets.length))).toBe(expected.okm)
      expect(toHex(key.octets)).not.toBe(expected.okm)
    })

  for (const { name, inputs, expected } of published.filter(({ name }) => name.startsWith("derive-nist")))
    test(`${name}: published wrong, by the field's prime and without the specifier`, () => {
      const curve = name.replace("derive-nist-P", "P-") as NistCurve
      const okm = fromBigEndian(hkdfSha512(fromHex(inputs.ikm), "", "", inputs.L / 8))
      expect(String((okm % (FIELD[curve] - 1n)) + 1n)).toBe(expected.d)
      const scalar = deriveNistKey(parseSeed(inputs.udf), curve, "", 2024)
      const ours = fromBigEndian(hkdfSha512(fromHex(inputs.ikm), "", fromHex(inputs.ikm.slice(0, 4)), inputs.L / 8))
      expect(fromBigEndian(scalar)).toBe((ours % (nistOrder(curve) - 1n)) + 1n)
      expect(nistPublicPoint(curve, scalar)[0]).toBe(4)
    })

  test("is refused for another", () => {
    const { inputs } = meshVector("key_derivation", "derive-2024-X448")
    expect(() => deriveKey(parseSeed(inputs.udf), "X25519", "", 2024)).toThrow("seed is not for X25519")
  })

  test("is refused when it is too short to be a secret", () => {
    expect(() => parseSeed("ZAAA-CTKG-X255-XXKE-Y")).toThrow(expect.objectContaining({ code: "UDF_MALFORMED" }))
  })
})

describe("a profile's keys", () => {
  for (const { name, inputs, expected } of meshVectors("profile_keys"))
    test(name, () => {
      const keyName = /UTF8\("(\w+)"\)/.exec(inputs.info)?.[1] ?? ""
      const generation = generationOf(name)
      const seed = inputs.seedUdf
        ? parseSeed(inputs.seedUdf)
        : { specifier: SEED_SPECIFIER.profileAccount, octets: fromHex(inputs.ikm).subarray(2) }
      const key = deriveKey(seed, inputs.alg, keyName, generation)
      expect(toHex(publicKeyOf(key).octets).slice(0, expected.public.length)).toBe(expected.public)
    })

  test("have names without underscores, and curves by what they are for", () => {
    expect(profileKeyName("Base", "Device", "Encrypt")).toBe("BaseDeviceEncrypt")
    expect(profileKeyName("Complete", "Account", "AdminSign")).toBe("CompleteAccountAdminSign")
    expect([profileKeyCurve("AdminSign"), profileKeyCurve("Escrow")]).toEqual(["Ed448", "X448"])
  })
})

describe("unit tests of both generations", () => {
  for (const { name, inputs, expected } of meshVectors("unit_tests").filter(({ inputs }) => inputs.seed_utf8))
    test(name, () => {
      const generation = generationOf(name)
      const derive = (seed: string, specifier: number, keyName: string) =>
        deriveKey({ specifier, octets: Buffer.from(seed) }, inputs.alg, keyName, generation)
      if (!inputs.keyNames) {
        const key = publicKeyOf(derive(inputs.seed_utf8, SPECIFIERS[inputs.alg as CfrgCurve], ""))
        expect(toHex(key.octets).slice(0, inputs.public.length)).toBe(inputs.public)
        return expect(keyUdf({ curve: key.curve, octets: fromHex(inputs.public) }, generation)).toBe(expected.udf)
      }
      const [baseName, activationName] = inputs.keyNames
      const base = derive(inputs.seed_utf8, inputs.specifier, baseName)
      const activation = derive(inputs.activationSeed_utf8, inputs.specifier, activationName)
      const sum = publicKeyOf(sumOfPrivateKeys(base, activation))
      expect(keyUdf(sum, generation)).toBe(expected.udf)
      expect(sumOfPublicKeys(contributionOf(base), contributionOf(activation))).toEqual(sum)
    })
})

describe("activation", () => {
  for (const { name, inputs, expected } of meshVectors("activation"))
    test(name, () => {
      const keyName = /UTF8\((\w+)\)/.exec(inputs.info)?.[1] ?? ""
      const activation = deriveKey(parseSeed(inputs.activationKey), inputs.crv, keyName, generationOf(name))
      const base = { curve: inputs.crv, octets: fromHex(inputs.basePublic) }
      expect(toHex(sumOfPublicKeys(base, contributionOf(activation)).octets)).toBe(expected.devicePublic)
    })
})

const SPECIFIERS: Record<CfrgCurve, number> = { X25519: 1, X448: 2, Ed25519: 3, Ed448: 4 }

/** The primes of the fields (SEC 2), where the printed examples should have the orders of the groups. */
const FIELD: Record<NistCurve, bigint> = {
  "P-256": 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n,
  "P-384": 2n ** 384n - 2n ** 128n - 2n ** 96n + 2n ** 32n - 1n,
  "P-521": 2n ** 521n - 1n,
}
