import { randomBytes } from "node:crypto"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { fromBigEndian } from "../../../src/crypto/primitives/modular.ts"
import { escrowSeed, recoverSeed } from "../../../src/crypto/shamir/escrow.ts"
import { shamirPrime } from "../../../src/crypto/shamir/prime.ts"
import { recoverSecret, sharesOf, splitSecret } from "../../../src/crypto/shamir/secret.ts"
import { parseShare, printShare } from "../../../src/crypto/shamir/share.ts"
import { printSeed } from "../../../src/crypto/udf/seed.ts"
import { meshVector, meshVectors, toHex } from "../mesh-vectors.ts"

const random = (count: number) => new Uint8Array(randomBytes(count))
const invalid = expect.objectContaining({ code: "SHARES_INVALID" })

describe("published shares", () => {
  for (const { name, inputs, expected } of meshVectors("shamir").filter(({ inputs }) => inputs.shares))
    test(name, () => {
      const shares = inputs.shares.map(parseShare)
      expect(toHex(recoverSecret(shares))).toBe(expected.secret)
      expect(shares.map(printShare)).toEqual(inputs.shares)
    })

  test("a split, value by value", () => {
    const { inputs, expected } = meshVector("shamir", "shamir-split-3of5-main")
    const prime = shamirPrime(16) ?? 0n
    const shares = sharesOf(inputs.coefficients.map(BigInt), 5, prime, 16)
    expect(shares?.map(({ y }) => String(fromBigEndian(y)))).toEqual(expected.fx)
    expect(shares?.map(printShare)).toEqual(expected.shares)
    expect(String(prime - 2n ** 128n)).toBe("51")
  })

  test("the primes", () => {
    const { expected } = meshVector("shamir", "prime-table")
    const offsets = expected.offsets.map((_: number, at: number) =>
      Number((shamirPrime(at + 1) ?? 0n) - 2n ** BigInt(8 * at + 8)),
    )
    expect(offsets).toEqual(expected.offsets)
    expect([shamirPrime(0), shamirPrime(65)]).toEqual([null, null])
  })
})

describe("escrow", () => {
  const seed = { specifier: 0x102, octets: Uint8Array.from({ length: 32 }, (_, at) => at) }

  test("two of three shares bring the seed back, whichever two", () => {
    const [a = "", b = "", c = ""] = escrowSeed(seed, 2, 3, random)
    for (const shares of [
      [a, b],
      [c, a],
      [b, c],
      [a, b, c],
    ])
      expect(printSeed(recoverSeed(shares))).toBe(printSeed(seed))
    expect(() => recoverSeed([a])).toThrow(invalid)
  })

  test("what is no seed is refused", () => {
    const shares = splitSecret(new Uint8Array(35), 2, 2, random).map(printShare)
    expect(() => recoverSeed(shares)).toThrow(expect.objectContaining({ code: "SHARES_INVALID" }))
  })
})

describe("sharing", () => {
  test("any threshold of the shares recover the secret", () => {
    const secrets = fc.uint8Array({ minLength: 16, maxLength: 64 })
    fc.assert(
      fc.property(
        secrets,
        fc.integer({ min: 1, max: 15 }),
        fc.nat({ max: 15 }),
        fc.nat(),
        (secret, threshold, more, from) => {
          const count = Math.min(16, threshold + more)
          const shares = splitSecret(secret, threshold, count, random)
          const some = Array.from({ length: threshold }, (_, at) => shares[(from + at) % count]).filter(
            (share) => !!share,
          )
          expect(recoverSecret(some)).toEqual(secret)
          expect(recoverSecret(shares)).toEqual(secret)
        },
      ),
      { numRuns: 60 },
    )
  })

  const shares = splitSecret(new Uint8Array(16).fill(7), 2, 4, random)
  const [a, b, c] = shares
  if (!a || !b || !c) throw new Error("no shares")
  const altered = { ...c, y: c.y.map((octet) => octet ^ 1) }
  const rows: [name: string, recover: () => unknown][] = [
    ["none", () => recoverSecret([])],
    ["too few", () => recoverSecret([a])],
    ["the same twice", () => recoverSecret([a, a])],
    ["of other secrets", () => recoverSecret([a, { ...b, threshold: 3 }])],
    ["of another length", () => recoverSecret([a, { ...b, y: new Uint8Array(17) }])],
    ["with a place that gives the secret itself", () => recoverSecret([a, { ...b, x: 0 }])],
    ["of a threshold of none", () => recoverSecret([{ threshold: 0, x: 1, y: new Uint8Array(16) }])],
    ["that do not agree", () => recoverSecret([a, b, altered])],
    ["without a threshold", () => parseShare(printShare({ ...a, threshold: 0 }))],
    ["longer than any prime", () => parseShare(printShare({ ...a, y: new Uint8Array(65) }))],
    ["of a secret that can be guessed", () => splitSecret(new Uint8Array(15), 2, 3, random)],
    ["of a secret that is too long", () => splitSecret(new Uint8Array(65), 2, 3, random)],
    ["with a threshold that nobody meets", () => splitSecret(new Uint8Array(16), 4, 3, random)],
    ["more than can be told apart", () => splitSecret(new Uint8Array(16), 2, 17, random)],
  ]
  for (const [name, act] of rows) test(`refuses shares ${name}`, () => expect(act).toThrow(invalid))

  test("draws again where a share does not fit the secret's octets", () => {
    // 2^128 - 1 + 1*x is 2^128 at x = 1, which no 16 octets hold.
    const draws = [1, 0]
    const drawn = (count: number) =>
      Uint8Array.from({ length: count }, (_, at) => (at === count - 1 ? (draws.shift() ?? 0) : 0))
    const secret = new Uint8Array(16).fill(255)
    expect(splitSecret(secret, 2, 2, drawn).map(({ y }) => y)).toEqual([secret, secret])
    expect(draws).toEqual([])
  })
})
