import { randomBytes } from "node:crypto"
import { ed448, x448 } from "@noble/curves/ed448.js"
import { ed25519, ed25519ctx, x25519 } from "@noble/curves/ed25519.js"
import { describe, expect, test } from "vitest"
import { deriveKey } from "../../../src/crypto/mesh-keys/derive.ts"
import type { CfrgCurve, PrivateKey } from "../../../src/crypto/mesh-keys/key.ts"
import { scalarKey, sumOfPublicKeys } from "../../../src/crypto/mesh-keys/sum.ts"
import {
  agreementOf,
  contributionOf,
  ephemeralOf,
  isSignatureOf,
  orderOf,
  publicKeyOf,
  scalarOf,
  signerOf,
} from "../../../src/crypto/mesh-keys/use.ts"
import { expandSeed, scalarSigner } from "../../../src/crypto/primitives/edwards.ts"
import { fromLittleEndian } from "../../../src/crypto/primitives/modular.ts"
import { agreementContribution, combineAgreement } from "../../../src/crypto/threshold/agreement.ts"
import { splitKey } from "../../../src/crypto/threshold/split.ts"

const random = (count: number) => new Uint8Array(randomBytes(count))
const seedKey = (curve: CfrgCurve, octets: number): PrivateKey => ({ kind: "seed", curve, octets: random(octets) })
const scalar = (curve: CfrgCurve) => scalarKey(curve, fromLittleEndian(random(60)))
const MESSAGE = Buffer.from("hello")

describe("signing", () => {
  const rows: [name: string, key: PrivateKey][] = [
    ["an Ed25519 seed", seedKey("Ed25519", 32)],
    ["an Ed25519 scalar", scalar("Ed25519")],
    ["an Ed448 seed of RFC 8032", seedKey("Ed448", 57)],
    ["an Ed448 seed of the Mesh", seedKey("Ed448", 56)],
    ["an Ed448 scalar", scalar("Ed448")],
  ]
  for (const [name, key] of rows)
    test(`${name} signs what others verify, the same each time`, () => {
      const [sign, publicKey] = [signerOf(key), publicKeyOf(key)]
      const signature = sign(MESSAGE)
      const noble = key.curve === "Ed448" ? ed448 : ed25519
      expect(isSignatureOf(publicKey, MESSAGE, signature, 2024)).toBe(true)
      expect(noble.verify(signature, MESSAGE, publicKey.octets)).toBe(true)
      expect(signerOf(key)(MESSAGE)).toEqual(signature)
      expect(isSignatureOf(publicKey, Buffer.from("hellp"), signature, 2024)).toBe(false)
      expect(isSignatureOf(publicKey, MESSAGE, signature.slice(1), 2024)).toBe(false)
      expect(isSignatureOf({ ...publicKey, octets: new Uint8Array(3) }, MESSAGE, signature, 2024)).toBe(false)
    })

  for (const [curve, octets] of [
    ["Ed25519", 32],
    ["Ed448", 57],
  ] as const)
    test(`${curve}: nonces of a scalar have either sign, and no two messages have one`, () => {
      const key = expandSeed(curve, random(octets))
      const publicKey = { curve, octets: publicKeyOf(scalarKey(curve, key.scalar)).octets }
      const sign = scalarSigner(curve, key, publicKey.octets)
      const signatures = Array.from({ length: 24 }, (_, at) => [Buffer.of(at), sign(Buffer.of(at))] as const)
      expect(signatures.every(([message, signature]) => isSignatureOf(publicKey, message, signature, 2024))).toBe(true)
      const points = signatures.map(([, signature]) => Buffer.from(signature.subarray(0, octets)).toString("hex"))
      expect(new Set(points).size).toBe(24)
      // 24 of one sign come once in eight million runs.
      expect(new Set(signatures.map(([, signature]) => (signature[octets - 1] ?? 0) >> 7)).size).toBe(2)
    })

  test("generation 2022 signs with Ed25519ctx and an empty context, and with plain Ed448", () => {
    const seed = random(32)
    const signature = ed25519ctx.sign(MESSAGE, seed, { context: new Uint8Array(0) })
    const key = publicKeyOf({ kind: "seed", curve: "Ed25519", octets: seed })
    expect([2022, 2024].map((generation) => isSignatureOf(key, MESSAGE, signature, generation as 2022 | 2024))).toEqual(
      [true, false],
    )
    expect(isSignatureOf(key, MESSAGE, signature.slice(1), 2022)).toBe(false)
    const ed448Key = seedKey("Ed448", 57)
    expect(isSignatureOf(publicKeyOf(ed448Key), MESSAGE, signerOf(ed448Key)(MESSAGE), 2022)).toBe(true)
  })
})

describe("agreement", () => {
  const rows: [name: string, a: PrivateKey, b: PrivateKey][] = [
    ["X25519 seeds", seedKey("X25519", 32), seedKey("X25519", 32)],
    ["X25519, a seed and a scalar", seedKey("X25519", 32), scalar("X25519")],
    ["X448 seeds", seedKey("X448", 56), seedKey("X448", 56)],
    ["X448 scalars", scalar("X448"), scalar("X448")],
    ["Ed25519 seeds", seedKey("Ed25519", 32), seedKey("Ed25519", 32)],
    ["Ed448, a seed and a scalar", seedKey("Ed448", 56), scalar("Ed448")],
  ]
  for (const [name, a, b] of rows)
    test(`${name}: both come to the same, with the sign of v or without`, () => {
      const agreed = agreementOf(a)(publicKeyOf(b).octets)
      expect(agreementOf(b)(contributionOf(a).octets)).toEqual(agreed)
    })

  for (const [curve, octets] of [
    ["X25519", 32],
    ["X448", 56],
  ] as const)
    test(`${curve}: an ephemeral key agrees as what it writes does, whole and in shares`, () => {
      // Of sixteen keys some have an odd v: there the one that is written is -k.
      for (let count = 0; count < 16; count++) {
        const [own, other] = [seedKey(curve, octets), seedKey(curve, octets)]
        const { publicKey, agree } = ephemeralOf(curve, own.octets)
        const agreed = agree(publicKeyOf(other).octets)
        expect(publicKey.octets).toHaveLength(curve === "X448" ? 57 : 32)
        expect(publicKey.octets.slice(0, octets)).toEqual(publicKeyOf(own).octets.slice(0, octets))
        expect(agreementOf(other)(publicKey.octets)).toEqual(agreed)
        const shares = splitKey(other, 2, random).map((share) => agreementContribution(share)(publicKey.octets))
        expect(combineAgreement(curve, shares)).toEqual(new Uint8Array(agreed))
      }
    })

  test("a seed does what RFC 7748 says", () => {
    for (const [curve, octets, noble] of [
      ["X25519", 32, x25519],
      ["X448", 56, x448],
    ] as const) {
      const [key, other] = [seedKey(curve, octets), noble.getPublicKey(random(octets))]
      expect(new Uint8Array(agreementOf(key)(other))).toEqual(noble.getSharedSecret(key.octets, other))
      expect(publicKeyOf(key).octets.slice(0, octets)).toEqual(noble.getPublicKey(key.octets))
    }
  })

  const small: [curve: CfrgCurve, octets: Uint8Array][] = [
    ["X25519", new Uint8Array(32)],
    ["X448", new Uint8Array(56)],
    ["X448", new Uint8Array(57)],
    ["X25519", Uint8Array.of(1, ...new Uint8Array(31))],
    // (0, 1) and (0, -1).
    ["Ed25519", Uint8Array.of(1, ...new Uint8Array(31))],
    ["Ed448", Uint8Array.of(1, ...new Uint8Array(56))],
    ["X25519", new Uint8Array(31)],
    ["X448", new Uint8Array(58)],
    // The coordinate of the base point with the prime added to it, and with a sign that is none.
    ["X25519", Uint8Array.of(0xf6, ...new Uint8Array(30).fill(0xff), 0x7f)],
    ["X448", Uint8Array.of(5, ...new Uint8Array(55), 1)],
    ["Ed448", new Uint8Array(56)],
  ]
  for (const [curve, octets] of small)
    test(`${curve}: refuses ${Buffer.from(octets).toString("hex")}`, () => {
      const point = expect.objectContaining({ code: "POINT_INVALID" })
      expect(() => agreementOf(scalar(curve))(octets)).toThrow(point)
    })
})

describe("keys", () => {
  const rows: [name: string, key: PrivateKey][] = [
    ["an X25519 seed of another length", seedKey("X25519", 31)],
    ["an X448 seed of another length", seedKey("X448", 57)],
    ["an Ed25519 seed of another length", seedKey("Ed25519", 33)],
    ["an Ed448 seed of another length", seedKey("Ed448", 55)],
    ["a scalar that is too long", { kind: "scalar", curve: "X25519", octets: random(33) }],
    ["a scalar of nothing", { kind: "scalar", curve: "X448", octets: new Uint8Array(0) }],
    ["zero", { kind: "scalar", curve: "X448", octets: new Uint8Array(56) }],
    ["zero on an Edwards curve", { kind: "scalar", curve: "Ed25519", octets: new Uint8Array(32) }],
    // X448 has no clamped form of 2 or -2, X25519 none of 8 or -8.
    ["a number without a clamped form", scalarKey("X448", 2n)],
    ["the same on the other curve", scalarKey("X25519", 8n)],
  ]
  for (const [name, key] of rows)
    test(`refuses ${name}`, () =>
      expect(() => publicKeyOf(key)).toThrow(expect.objectContaining({ code: "SCALAR_INVALID" })))

  const unsupported = expect.objectContaining({ code: "MESH_KEY_UNSUPPORTED" })
  test("what agrees does not sign, and what it is said to have signed is not", () => {
    const key = seedKey("X448", 56)
    expect(() => signerOf(key)).toThrow(unsupported)
    expect(isSignatureOf(publicKeyOf(key), MESSAGE, new Uint8Array(114), 2024)).toBe(false)
  })

  test("keys on different curves, or without a sign, are not added", () => {
    const [a, b] = [seedKey("X25519", 32), seedKey("X448", 56)]
    expect(() => sumOfPublicKeys(contributionOf(a), contributionOf(b))).toThrow(unsupported)
    expect(() => sumOfPublicKeys(contributionOf(a), publicKeyOf(a))).toThrow(unsupported)
  })

  test("a seed's number is reduced", () => {
    for (const [curve, octets] of [
      ["X25519", 32],
      ["X448", 56],
      ["Ed25519", 32],
      ["Ed448", 56],
    ] as const)
      expect(scalarOf(seedKey(curve, octets)) < orderOf(curve)).toBe(true)
  })

  test("generations derive the same of a seed for one algorithm, and other keys of one for several", () => {
    const octets = random(32)
    const derived = (specifier: number) =>
      [2022, 2024].map(
        (generation) => deriveKey({ specifier, octets }, "X448", "BaseDeviceEncrypt", generation as 2022 | 2024).octets,
      )
    const [[a, b], [c, d]] = [derived(2), derived(0x100)]
    expect(a).toEqual(b)
    expect(c).not.toEqual(d)
  })
})
