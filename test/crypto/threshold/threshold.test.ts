import { randomBytes } from "node:crypto"
import { readFileSync } from "node:fs"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import type { CfrgCurve } from "../../../src/crypto/mesh-keys/key.ts"
import { scalarKey, sumOfPrivateKeys, sumOfPublicKeys } from "../../../src/crypto/mesh-keys/sum.ts"
import {
  agreementOf,
  contributionOf,
  isSignatureOf,
  orderOf,
  publicKeyOf,
  scalarOf,
} from "../../../src/crypto/mesh-keys/use.ts"
import { fromLittleEndian, modulo, toLittleEndian } from "../../../src/crypto/primitives/modular.ts"
import {
  montgomeryMultiplication,
  montgomeryPublicPoint,
  readPoint,
} from "../../../src/crypto/primitives/montgomery.ts"
import { lagrange, valueAt } from "../../../src/crypto/shamir/secret.ts"
import { agreementContribution, combineAgreement } from "../../../src/crypto/threshold/agreement.ts"
import {
  combineSignature,
  isSignatureContribution,
  isThresholdSignature,
  thresholdChallenge,
} from "../../../src/crypto/threshold/signature.ts"
import { shareKey, splitKey, weighted } from "../../../src/crypto/threshold/split.ts"
import { fromHex, meshVector, meshVectors, toHex } from "../mesh-vectors.ts"

const random = (count: number) => new Uint8Array(randomBytes(count))
const SOME_NUMBER = 2n ** 251n - 2n ** 127n + 12345678901n
const CURVES: readonly CfrgCurve[] = ["X25519", "X448", "Ed25519", "Ed448"]

describe("published key generation", () => {
  for (const { name, inputs, expected } of meshVectors("threshold_agreement").filter(({ name }) =>
    name.startsWith("keygen-"),
  )) {
    const curve = name.replace("keygen-", "").replace("ED", "Ed") as CfrgCurve
    const [a, b] = [inputs.key1, inputs.key2].map(({ scalar }) => scalarKey(curve, BigInt(scalar)))
    if (!a || !b) throw new Error("no keys")

    test(`${curve}: the sum of the private keys is reduced and not clamped`, () => {
      const sum = sumOfPrivateKeys(a, b)
      expect(String(scalarOf(sum))).toBe(expected.scalarA)
      expect(toHex(sum.octets)).toBe(expected.encodedPrivateA)
      const wanted = expected.encodedPublicA ?? expected.publicA
      expect(toHex(publicKeyOf(sum).octets).slice(0, wanted.length)).toBe(wanted)
    })

    test(`${curve}: the sum of the public keys is its public key`, () => {
      const [first, second] = [inputs.key1, inputs.key2].map((key) => fromHex(key.encodedPublic ?? key.public))
      if (!first || !second) throw new Error("no keys")
      expect(contributionOf(a).octets).toEqual(first)
      const sum = sumOfPublicKeys({ curve, octets: first }, { curve, octets: second })
      expect(sum).toEqual(publicKeyOf(sumOfPrivateKeys(a, b)))
    })
  }
})

describe("published agreement", () => {
  const vectors = meshVectors("threshold_agreement").filter(({ name }) => !name.startsWith("keygen-"))
  const curveOf = (name: string) => (name.endsWith("X448") ? "X448" : "X25519")
  const pointOf = ({ u, v }: { u: string; v: string }) => ({ u: BigInt(u), v: BigInt(v) })

  test("agreement-X25519, from either side", () => {
    const { inputs, expected } = meshVector("threshold_agreement", "agreement-X25519")
    const [a, e] = [inputs.keyA, inputs.ephemeral].map(({ scalar }) => scalarKey("X25519", BigInt(scalar)))
    if (!a || !e) throw new Error("no keys")
    expect(toHex(agreementOf(a)(publicKeyOf(e).octets))).toBe(expected.agreementEncoded)
    expect(toHex(agreementOf(e)(publicKeyOf(a).octets))).toBe(expected.agreementEncoded)
  })

  for (const { name, inputs, expected } of vectors.filter(({ name }) => /^contribution1|corrected/.test(name)))
    test(`${name}: both coordinates`, () => {
      const curve = curveOf(name)
      const ephemeral = pointOf(inputs.ephemeral)
      expect(montgomeryMultiplication(curve, BigInt(inputs.key1.scalar))(ephemeral)).toEqual(pointOf(expected.D1))
      if (!expected.scalar2) return
      const order = orderOf(curve)
      expect(String(modulo(BigInt(inputs.keyA.scalar) - BigInt(inputs.key1.scalar), order))).toBe(expected.scalar2)
      expect(montgomeryMultiplication(curve, BigInt(expected.scalar2))(ephemeral)).toEqual(pointOf(expected.D2))
    })

  for (const { name, inputs, expected } of vectors.filter(({ name }) =>
    name.startsWith("threshold-agreement-corrected"),
  ))
    test(`${name}: the contributions give what the key would`, () => {
      const curve = curveOf(name)
      const point = fromHex(inputs.ephemeral.encodedPublic)
      const shares = [inputs.key1.scalar, expected.scalar2].map((scalar) => scalarKey(curve, BigInt(scalar)))
      const agreed = combineAgreement(
        curve,
        shares.map((share) => agreementContribution(share)(point)),
      )
      expect(String(fromLittleEndian(agreed))).toBe(expected.sum.u)
      expect(agreed).toEqual(new Uint8Array(agreementOf(scalarKey(curve, BigInt(inputs.keyA.scalar)))(point)))
    })

  for (const { name, inputs, expected } of vectors.filter(({ verified }) => !verified))
    test(`${name}: published wrong, the second share is A+1 and not A-1`, () => {
      const [a, one] = [BigInt(inputs.keyA.scalar), BigInt(inputs.key1.scalar)]
      const order = orderOf(curveOf(name))
      expect(BigInt(expected.scalar2)).toBe(modulo(a + one, order))
      expect(BigInt(expected.scalar2)).not.toBe(modulo(a - one, order))
    })
})

describe("shares of a key", () => {
  for (const curve of CURVES) {
    const key = scalarKey(curve, fromLittleEndian(random(56)))

    test(`${curve}: the shares of a split add up to the key`, () => {
      const shares = splitKey(key, 3, random)
      const [first, ...others] = shares
      if (!first) throw new Error("no shares")
      expect(sumOfPrivateKeys(first, ...others)).toEqual(key)
    })

    test(`${curve}: any two of three weighted shares add up to the key`, () => {
      const [a, b, c] = shareKey(key, 2, 3, random)
      if (!a || !b || !c) throw new Error("no shares")
      for (const [first, second] of [
        [a, b],
        [b, c],
        [c, a],
      ] as const) {
        const places = [first.x, second.x]
        expect(sumOfPrivateKeys(weighted(first, places), weighted(second, places))).toEqual(key)
      }
    })
  }

  const invalid = expect.objectContaining({ code: "SHARES_INVALID" })
  const key = scalarKey("X25519", SOME_NUMBER)
  const rows: [name: string, act: () => unknown][] = [
    ["a split in one", () => splitKey(key, 1, random)],
    ["a split in too many", () => splitKey(key, 17, random)],
    ["a threshold above the number", () => shareKey(key, 4, 3, random)],
    ["a threshold of none", () => shareKey(key, 0, 3, random)],
    ["a place twice", () => weighted({ x: 1, share: key }, [1, 1])],
    ["a place that is not there", () => weighted({ x: 3, share: key }, [1, 2])],
    ["one contribution", () => combineAgreement("X25519", [contributionOf(key).octets])],
    ["no contribution", () => combineSignature({ curve: "Ed25519", octets: new Uint8Array(32) }, [])],
  ]
  for (const [name, act] of rows) test(`refuses ${name}`, () => expect(act).toThrow(invalid))
})

describe("agreement by shares", () => {
  for (const curve of ["X25519", "X448"] as const) {
    const scalars = fc.noBias(fc.bigInt({ min: 2n ** 250n, max: orderOf(curve) / 2n }))

    test(`${curve}: is what the key would agree upon, and no clamping enters`, () => {
      fc.assert(
        fc.property(scalars, scalars, scalars, (a, share, ephemeral) => {
          fc.pre(modulo(a - share, orderOf(curve)) > 2n ** 240n)
          const point = contributionOf(scalarKey(curve, ephemeral)).octets
          const shares = [share, modulo(a - share, orderOf(curve))].map((scalar) => scalarKey(curve, scalar))
          const parts = shares.map((held) => agreementContribution(held)(point))
          expect(combineAgreement(curve, parts)).toEqual(new Uint8Array(agreementOf(scalarKey(curve, a))(point)))
        }),
        { numRuns: 12 },
      )
    })

    test(`${curve}: vectors of the x-only form give the same`, () => {
      const { vectors } = JSON.parse(readFileSync("test/vectors/recryption/additive-native.json", "utf8"))[
        curve.toLowerCase()
      ]
      for (const { deviceShare, serviceShare, V, combined } of vectors) {
        const parts = [deviceShare, serviceShare].map((hex: string) =>
          agreementContribution(scalarKey(curve, fromLittleEndian(fromHex(hex))))(fromHex(V)),
        )
        expect(toHex(combineAgreement(curve, parts))).toBe(combined)
      }
    })

    const octets = curve === "X448" ? 56 : 32
    const share = agreementContribution(scalarKey(curve, SOME_NUMBER))
    const good = montgomeryPublicPoint(curve, SOME_NUMBER)
    const prime = curve === "X448" ? 2n ** 448n - 2n ** 224n - 1n : 2n ** 255n - 19n
    // (0, 0) has order 2, and V + (0, 0) has the coordinate 1/u.
    const mixed = toLittleEndian(inverseOf(good.u, prime), octets)
    const twist = [...Array(40).keys()].map((u) => toLittleEndian(BigInt(u + 2), octets)).find((u) => isTwist(curve, u))
    const rows: [name: string, point: Uint8Array][] = [
      ["zero", new Uint8Array(octets)],
      ["a point of small order", toLittleEndian(1n, octets)],
      ["a sum with a point of small order", mixed],
      ["a point of the twist", twist ?? new Uint8Array(0)],
      ["a coordinate that is not reduced", toLittleEndian(prime + good.u, octets).slice(0, octets)],
      ["the prime itself", toLittleEndian(prime, octets)],
      ["a sign that is none", Uint8Array.of(...toLittleEndian(good.u, octets), 1)],
      ["a wrong length", new Uint8Array(octets - 1)],
      ["nothing", new Uint8Array(0)],
    ]
    for (const [name, point] of rows)
      test(`${curve}: ${name} gets no contribution`, () =>
        expect(() => share(point)).toThrow(expect.objectContaining({ code: "POINT_INVALID" })))

    test(`${curve}: contributions that cancel are refused`, () => {
      const part = contributionOf(scalarKey(curve, SOME_NUMBER)).octets
      const opposite = part.map((octet, at) => (at === octets ? octet ^ 0x80 : octet))
      expect(() => combineAgreement(curve, [part, opposite])).toThrow("sum is infinity")
      expect(() => combineAgreement(curve, [part, part.subarray(0, octets)])).toThrow("has no sign")
    })
  }

  test("keys that sign do not agree by shares", () => {
    expect(() => agreementContribution(scalarKey("Ed448", 5n))).toThrow(
      expect.objectContaining({ code: "MESH_KEY_UNSUPPORTED" }),
    )
  })
})

function inverseOf(number: bigint, prime: bigint): bigint {
  let [result, factor] = [1n, number]
  for (let rest = prime - 2n; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = (result * factor) % prime
    factor = (factor * factor) % prime
  }
  return result
}

function isTwist(curve: "X25519" | "X448", octets: Uint8Array): boolean {
  try {
    readPoint(curve, octets)
    return false
  } catch (error) {
    return error instanceof Error && error.message.includes("twist")
  }
}

describe("published signatures", () => {
  const broken = meshVector("threshold_signature", "shamir-2of3-Ed448-published-S-broken")
  /** What Sa and Sc had to be, where they are printed wrong. */
  const corrected = (name: string) => new RegExp(`${name}=(\\d+)`).exec(broken.note ?? "")?.[1]

  for (const { name, inputs, expected, note = "" } of meshVectors("threshold_signature").filter(
    ({ verified }) => verified,
  )) {
    const curve = name.endsWith("Ed448") ? ("Ed448" as const) : ("Ed25519" as const)
    const octets = curve === "Ed448" ? 57 : 32
    const message = Buffer.from(inputs.message_utf8)
    const number = (decimal: string) => toLittleEndian(BigInt(decimal), octets)
    const direct = name.startsWith("direct")
    const [suffixA, suffixB] = direct ? ["_a", "_b"] : ["a", "c"]
    const parts = [suffixA, suffixB].map((suffix) => ({
      point: fromHex(expected[`R${suffix}`]),
      answer: number(expected[`S${suffix}`] ?? corrected(`S${suffix}`)),
    }))
    const key = { curve, octets: fromHex(direct ? expected.aggregatePublic : inputs.key.public) }
    const summands = (direct ? [inputs.alice.scalar, inputs.bob.scalar] : [expected.sa, expected.sc]).map((scalar) =>
      scalarKey(curve, BigInt(scalar)),
    )

    test(`${name}: the summands are those of the key`, () => {
      const [a, b] = summands
      if (!a || !b) throw new Error("no summands")
      expect(publicKeyOf(sumOfPrivateKeys(a, b))).toEqual(key)
      if (direct) return
      const order = orderOf(curve)
      const coefficients = [BigInt(inputs.a0), BigInt(inputs.a1)]
      const share = { x: 1, share: scalarKey(curve, valueAt(coefficients, 1n, order)) }
      expect(String(scalarOf(share.share))).toBe(expected.ya)
      expect(String(lagrange([1n, 3n], 1n, 0n, order))).toBe(expected.la)
      expect(weighted(share, [1, 3])).toEqual(a)
    })

    test(`${name}: every contribution is looked at, the sum is the key's signature`, () => {
      const challenge = thresholdChallenge(
        key,
        parts.map(({ point }) => point),
        message,
      )
      expect(String(challenge)).toBe(expected.k)
      for (const [at, part] of parts.entries()) {
        const [share, other] = [summands[at], summands[1 - at]].map((held) => held && publicKeyOf(held))
        if (!share || !other) throw new Error("no share")
        expect(isSignatureContribution(share, part, challenge)).toBe(true)
        expect(isSignatureContribution(other, part, challenge)).toBe(false)
        expect(isSignatureContribution(share, { ...part, answer: part.answer.slice(1) }, challenge)).toBe(false)
        expect(isSignatureContribution(share, { ...part, point: new Uint8Array(octets) }, challenge)).toBe(false)
      }
      const signature = combineSignature(key, parts)
      expect(toHex(signature)).toBe(/signature=([0-9a-f]+)/.exec(note)?.[1])
      expect(isThresholdSignature(key, message, signature)).toBe(true)
      expect(isThresholdSignature(key, Buffer.from("This is a tesu"), signature)).toBe(false)
      // The context that RFC 8032 forbids is no plain Ed25519.
      expect(isSignatureOf(key, message, signature, 2024)).toBe(curve === "Ed448")
    })
  }

  test("shamir-2of3-Ed448: published wrong, reduced by the order of Ed25519", () => {
    const { expected } = broken
    const { inputs, expected: right } = meshVector("threshold_signature", "shamir-2of3-Ed448")
    const key = { curve: "Ed448" as const, octets: fromHex(inputs.key.public) }
    const points = [fromHex(right.Ra), fromHex(right.Rc)]
    const challenge = BigInt(right.k)
    const share = publicKeyOf(scalarKey("Ed448", BigInt(right.sa)))
    const [point] = points
    if (!point) throw new Error("no point")
    const answer = (decimal: string) => ({ point, answer: toLittleEndian(BigInt(decimal), 57) })
    expect(isSignatureContribution(share, answer(expected.Sa), challenge)).toBe(false)
    expect(isSignatureContribution(share, answer(corrected("Sa") ?? ""), challenge)).toBe(true)
    const printed = [expected.Sa, expected.Sc].map((decimal, at) => ({
      ...answer(decimal),
      point: points[at] ?? point,
    }))
    expect(isThresholdSignature(key, Buffer.from("This is another test"), combineSignature(key, printed))).toBe(false)
  })
})
