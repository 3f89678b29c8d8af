import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { sumOfPublicKeys } from "../../src/crypto/mesh-keys/sum.ts"
import { type MontgomeryCurve, printPoint, readPoint } from "../../src/crypto/primitives/montgomery.ts"
import { recoverSecret } from "../../src/crypto/shamir/secret.ts"
import { parseShare, printShare } from "../../src/crypto/shamir/share.ts"
import { base32Decode, base32Encode } from "../../src/crypto/udf/base32.ts"
import { sameUdf } from "../../src/crypto/udf/compare.ts"
import { parseBinarySeed, parseSeed, printSeed } from "../../src/crypto/udf/seed.ts"
import { parseStrongName, printStrongName } from "../../src/crypto/udf/sin.ts"
import { isCut, parseUdf, presentUdf } from "../../src/crypto/udf/udf.ts"
import { parseUdf2016 } from "../../src/crypto/udf/udf-2016.ts"
import { parseUdfUri, printUdfUri } from "../../src/crypto/udf/uri.ts"
import { GatewayError } from "../../src/errors.ts"

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 500)

/** Runs a parser: a value or an error of ours, nothing else. */
function calmly<T>(parse: () => T): T | null {
  try {
    return parse()
  } catch (error) {
    if (error instanceof GatewayError) return null
    throw error
  }
}

/** UDFs of every type, good ones. */
const types = fc.constantFrom(0, 1, 32, 33, 80, 84, 96, 97, 100, 104, 112, 144, 200)
const binaries = fc
  .tuple(types, fc.uint8Array({ minLength: 16, maxLength: 80 }))
  .map(([type, data]) => Uint8Array.of(type, ...data))
const good = fc.tuple(binaries, fc.integer({ min: 100, max: 640 })).map(([udf, bits]) => presentUdf(udf, bits))
/** What looks like one: letters, dashes, and now and then something else. */
const like = fc.string({ unit: fc.constantFrom(..."ABEKMNOSZabz2345670189-- ſı.:/@="), maxLength: 90 })
const spoilt = fc
  .tuple(good, fc.nat(), fc.string({ unit: fc.constantFrom(..."AZ7a-.@ "), maxLength: 3 }), fc.nat({ max: 3 }))
  .map(([text, at, fresh, removed]) => {
    const place = at % (text.length + 1)
    return text.slice(0, place) + fresh + text.slice(place + removed)
  })
const texts = fc.oneof(good, spoilt, like)

describe("any text at all", () => {
  test("a UDF is read or refused, and what was read is printed back", () => {
    fc.assert(
      fc.property(texts, (text) => {
        const udf = calmly(() => parseUdf(text))
        if (udf === null) return
        expect(udf.text.replaceAll("-", "")).toBe(text.toUpperCase().replaceAll("-", ""))
        expect(parseUdf(udf.text)).toEqual(udf)
        expect(parseUdf(udf.text.toLowerCase())).toEqual(udf)
        expect(sameUdf(udf, udf)).toBe(true)
        if (!isCut(udf.kind)) expect(udf.text.startsWith(presentUdf(Uint8Array.of(udf.type, ...udf.data)))).toBe(true)
      }),
      { numRuns: RUNS },
    )
  })

  test("a good UDF is read, and a shorter one of the same is the same", () => {
    fc.assert(
      fc.property(binaries, fc.integer({ min: 100, max: 640 }), (binary, bits) => {
        const [short, long] = [parseUdf(presentUdf(binary, bits)), parseUdf(presentUdf(binary, 640))]
        expect(sameUdf(short, long)).toBe(true)
        expect(Buffer.from(long.data).subarray(0, short.data.length)).toEqual(Buffer.from(short.data))
      }),
      { numRuns: RUNS },
    )
  })

  test("seeds and shares are read or refused, and printed back", () => {
    fc.assert(
      fc.property(texts, (text) => {
        const seed = calmly(() => parseSeed(text))
        if (seed) expect(parseSeed(printSeed(seed))).toEqual(seed)
        const share = calmly(() => parseShare(text))
        if (share) expect(parseShare(printShare(share))).toEqual(share)
        calmly(() => parseUdf2016(text))
      }),
      { numRuns: RUNS },
    )
  })

  test("URIs are read or refused, and printed back", () => {
    const parts = fc.tuple(
      fc.constantFrom(
        "udf:",
        "udf://example.com/",
        "udf://a:1/",
        "mcd://a@b/",
        "MCU://a@b.example/",
        "mcd:",
        "udf://",
        "x:",
      ),
      texts,
    )
    fc.assert(
      fc.property(
        fc.oneof(
          parts.map((all) => all.join("")),
          texts,
        ),
        (text) => {
          const uri = calmly(() => parseUdfUri(text))
          if (uri) expect(parseUdfUri(printUdfUri(uri))).toEqual(uri)
        },
      ),
      { numRuns: RUNS },
    )
  })

  test("strong names are read or refused, and printed back", () => {
    const labels = fc.oneof(
      good.map((text) => `mm--${text}`),
      like,
      fc.constantFrom("example", "com", "mm--", ""),
    )
    fc.assert(
      fc.property(fc.array(labels, { maxLength: 4 }), (parts) => {
        const name = calmly(() => parseStrongName(parts.join(".")))
        if (name) expect(parseStrongName(printStrongName(name))).toEqual(name)
      }),
      { numRuns: RUNS },
    )
  })
})

describe("any octets at all", () => {
  test("Base32 brings back what it was made of", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (octets) => {
        const text = base32Encode(octets)
        expect(base32Decode(text)).toMatchObject({ octets, left: 0 })
        expect(base32Decode(text.toLowerCase())).toMatchObject({ octets })
      }),
      { numRuns: RUNS },
    )
  })

  test("seeds and shares are refused calmly", () => {
    const share = fc.record({
      threshold: fc.nat({ max: 16 }),
      x: fc.integer({ min: 1, max: 16 }),
      y: fc.uint8Array({ maxLength: 66 }),
    })
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.array(share, { maxLength: 5 }), (octets, shares) => {
        calmly(() => parseBinarySeed(octets))
        calmly(() => recoverSecret(shares))
      }),
      { numRuns: RUNS },
    )
  })

  test("a point is read or refused, and printed back", () => {
    const curves = fc.constantFrom<MontgomeryCurve>("X25519", "X448")
    fc.assert(
      fc.property(curves, fc.uint8Array({ minLength: 57, maxLength: 57 }), fc.nat({ max: 3 }), (curve, octets, cut) => {
        const length = (curve === "X448" ? 57 : 33) - (cut >> 1)
        const candidate = octets
          .map((octet, at) => (at === length - 1 && length % 2 === 1 ? octet & 0x80 : octet))
          .slice(0, length)
        const point = calmly(() => readPoint(curve, candidate))
        if (point) expect(printPoint(curve, point).slice(0, length)).toEqual(candidate)
        calmly(() => sumOfPublicKeys({ curve, octets: candidate }, { curve, octets: candidate }))
      }),
      { numRuns: Math.ceil(RUNS / 10) },
    )
  })
})
