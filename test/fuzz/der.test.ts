import { readFileSync } from "node:fs"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { readCertificate } from "../../src/crypto/cms/certificate.ts"
import { childrenOf, readElement, readWhole } from "../../src/crypto/cms/der.ts"
import { pemDecode } from "../../src/crypto/cms/pem.ts"
import { GatewayError } from "../../src/errors.ts"

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 500)
const certificates = ["rsa-2048-email-in-subject", "p384", "p256-compressed-sign-only"].flatMap((name) =>
  pemDecode("CERTIFICATE", readFileSync(`test/vectors/cms/${name}.pem`, "latin1")),
)

/** One change at a place of a certificate. */
const mutation = fc.record({
  at: fc.nat(),
  octets: fc.uint8Array({ maxLength: 6 }),
  kind: fc.constantFrom("overwrite", "insert", "remove"),
})
const mutated = fc
  .tuple(fc.constantFrom(...certificates), fc.array(mutation, { minLength: 1, maxLength: 4 }))
  .map(([certificate, changes]) => changes.reduce(change, certificate))

function change(
  octets: Uint8Array,
  { at, octets: fresh, kind }: typeof mutation extends fc.Arbitrary<infer T> ? T : never,
) {
  const place = at % (octets.length + 1)
  const skip = kind === "insert" ? 0 : fresh.length
  const middle = kind === "remove" ? new Uint8Array(0) : fresh
  return new Uint8Array(Buffer.concat([octets.subarray(0, place), middle, octets.subarray(place + skip)]))
}

/** Random octets that look like DER at first: a tag and a length that may be right. */
const derLike = fc.letrec<{ node: Uint8Array; children: Uint8Array }>((tie) => ({
  children: fc.array(tie("node"), { maxLength: 8 }).map((parts) => new Uint8Array(Buffer.concat(parts))),
  node: fc
    .tuple(
      fc.constantFrom(0x30, 0x31, 0x02, 0x03, 0x04, 0x06, 0x17, 0x18, 0xa0, 0xa3, 0x1f, 0x80),
      fc.oneof({ maxDepth: 6 }, fc.uint8Array({ maxLength: 20 }), tie("children")),
      fc.integer({ min: -1, max: 1 }),
      fc.boolean(),
    )
    .map(([tag, content, error, honest]) => {
      const length = Math.max(0, content.length + (honest ? 0 : error))
      return Uint8Array.of(tag, ...(length < 128 ? [length] : [0x82, length >> 8, length & 255]), ...content)
    }),
})).node

/** Runs a parser: a value or an error of ours, nothing else. */
function calmly<T>(parse: () => T): T | null {
  try {
    return parse()
  } catch (error) {
    if (error instanceof GatewayError) return null
    throw error
  }
}

describe("any octets at all", () => {
  const inputs = fc.oneof(fc.uint8Array({ maxLength: 300 }), derLike, mutated)

  test("a certificate is read or refused, and prints back what it parsed", () => {
    fc.assert(
      fc.property(inputs, (octets) => {
        const certificate = calmly(() => readCertificate(octets))
        if (certificate === null) return
        expect(Buffer.from(octets).includes(Buffer.from(certificate.identity.issuer))).toBe(true)
        expect(readCertificate(certificate.der)).toEqual(certificate)
      }),
      { numRuns: RUNS },
    )
  })

  test("the reader goes forward and stays inside", () => {
    fc.assert(
      fc.property(inputs, fc.nat({ max: 400 }), (octets, offset) => {
        const element = calmly(() => readElement(octets, offset))
        if (element) expect(element.contentStart).toBeGreaterThan(offset)
        if (element?.end != null) expect(element.end).toBeGreaterThanOrEqual(element.contentStart)
        const whole = calmly(() => readWhole(octets, 0, octets.length))
        const children = whole && calmly(() => childrenOf(octets, whole))
        if (whole && children?.length) {
          expect(children[0]?.start).toBe(whole.contentStart)
          expect(children.at(-1)?.end).toBe(whole.end)
        }
      }),
      { numRuns: RUNS },
    )
  })
})
