import { readFileSync } from "node:fs"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { readCertificate } from "../../src/crypto/cms/certificate.ts"
import { integer, octetString, oid, sequence, TAG, tagged, time } from "../../src/crypto/cms/der.ts"
import { pemDecode } from "../../src/crypto/cms/pem.ts"
import { dearmor } from "../../src/crypto/openpgp/armor.ts"
import { readCrl } from "../../src/crypto/x509/crl.ts"
import { brokenNameConstraint, nameText } from "../../src/crypto/x509/names.ts"
import { ocspRequest, readOcsp } from "../../src/crypto/x509/ocsp.ts"
import { signatureScheme } from "../../src/crypto/x509/signed-object.ts"
import { GatewayError } from "../../src/errors.ts"
import { parseAddress } from "../../src/message/address.ts"
import { namesAddress, whoseItIs } from "../../src/profiles/usable/addresses.ts"
import { candidate, judged, rules } from "../profiles/judging.ts"

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 300)
/** Of one verdict on some kilobytes; a thousand times what it takes, since the machine has other things to do. */
const MAX_MS = 5000

const x509 = ["rsa-2048-email-in-subject", "p384", "p256-compressed-sign-only"].flatMap((name) =>
  pemDecode("CERTIFICATE", readFileSync(`test/vectors/cms/${name}.pem`, "latin1")),
)
const openPgp: Uint8Array[] = JSON.parse(
  readFileSync("test/vectors/recryption/openpgp-device-keys.json", "utf8"),
).cases.flatMap((row: { accountCertificate: string }) => dearmor(Buffer.from(row.accountCertificate))?.binary ?? [])
const sample = dearmor(readFileSync("test/vectors/openpgp/rfc9580-a3.asc"))?.binary ?? new Uint8Array(0)

const mutation = fc.record({ at: fc.nat(), octets: fc.uint8Array({ maxLength: 6 }), skip: fc.nat(6) })
const mutatedOf = (originals: readonly Uint8Array[]) =>
  fc.tuple(fc.constantFrom(...originals), fc.array(mutation, { maxLength: 4 })).map(([original, changes]) =>
    changes.reduce((octets, { at, octets: fresh, skip }) => {
      const place = at % (octets.length + 1)
      return new Uint8Array(Buffer.concat([octets.subarray(0, place), fresh, octets.subarray(place + skip)]))
    }, original),
  )

function calmly(read: () => unknown): void {
  try {
    read()
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
  }
}

describe("whatever a source gives, there is a verdict, in time and with a sentence", () => {
  const trusts = fc.constantFrom("pinned", "domain", "harvested")
  const formats = [
    ["S/MIME", "smime", x509],
    ["OpenPGP", "openpgp", [...openPgp, sample]],
  ] as const
  for (const [name, format, originals] of formats)
    test(
      name,
      async () => {
        const any = fc.oneof(mutatedOf(originals), fc.uint8Array({ maxLength: 300 }))
        const property = fc.asyncProperty(
          any,
          fc.array(any, { maxLength: 3 }),
          trusts,
          async (octets, beside, trust) => {
            const started = process.cpuUsage()
            const roots = x509.map(readCertificate)
            const key = candidate(format, octets, { chain: beside, anchors: beside, trust })
            const verdict = await judged(
              key,
              "rita@example.net",
              rules({ at: new Date("2026-11-25T00:00:00Z"), roots }),
            )
            expect(verdict.because).toMatch(/^[^\n\0]{5,600}\.$/u)
            expect(process.cpuUsage(started).user / 1_000).toBeLessThan(MAX_MS)
          },
        )
        await fc.assert(property, { numRuns: RUNS })
      },
      60_000 + RUNS * 20,
    )
})

describe("lists and answers about revocation", () => {
  const [certificate, issuer] = x509.map(readCertificate)
  if (!certificate || !issuer) throw new Error("no certificates")
  const question = { certificate, issuer, at: new Date("2026-11-25T00:00:00Z") }
  const now = time(question.at)
  const algorithm = sequence(oid("1.2.840.10045.4.3.2"))
  const bits = tagged(TAG.bitString, Uint8Array.of(0, 1, 2, 3))
  const list = sequence(
    sequence(integer(1), algorithm, issuer.subject, now, now, sequence(sequence(integer(5), now))),
    algorithm,
    bits,
  )
  const id = sequence(
    sequence(oid("1.3.14.3.2.26")),
    octetString(new Uint8Array(20)),
    octetString(new Uint8Array(20)),
    integer(5),
  )
  const generalized = tagged(TAG.generalizedTime, Buffer.from("20261125000000Z"))
  const single = sequence(id, tagged(0x80), generalized, tagged(0xa0, generalized))
  const data = sequence(tagged(0xa1, issuer.subject), generalized, sequence(single))
  const basic = sequence(data, algorithm, bits, tagged(0xa0, sequence(issuer.der)))
  const answer = sequence(
    tagged(0x0a, Uint8Array.of(0)),
    tagged(0xa0, sequence(oid("1.3.6.1.5.5.7.48.1.1"), octetString(basic))),
  )

  test("any octets: an answer that is not good, or an error of ours", () => {
    const any = fc.oneof(mutatedOf([list, answer]), fc.uint8Array({ maxLength: 200 }))
    fc.assert(
      fc.property(any, (octets) => {
        calmly(() => expect(readCrl(octets, question).kind).toBe("unusable"))
        calmly(() => expect(readOcsp(octets, question).kind).toBe("unusable"))
        calmly(() => signatureScheme(octets))
      }),
      { numRuns: RUNS * 4 },
    )
  })

  test("what is asked is never more than a few hundred octets", () => {
    expect(ocspRequest(question).length).toBeLessThan(200)
  })
})

describe("names", () => {
  test("of any octets: text fit for a terminal, and no constraint that is passed over by an error of another kind", () => {
    const any = fc.oneof(mutatedOf(x509.map((der) => readCertificate(der).subject)), fc.uint8Array({ maxLength: 100 }))
    fc.assert(
      fc.property(any, (octets) => {
        expect(nameText(octets)).toMatch(/^[^\p{C}]{3,100}$/u)
        const [first] = x509.map(readCertificate)
        if (!first) return
        const extensions = new Map([["0603551d1e", { isCritical: true, value: octets }]])
        calmly(() => brokenNameConstraint({ ...first, extensions }, first))
      }),
      { numRuns: RUNS * 2 },
    )
  })

  test("only an address that reads the same is the same", () => {
    const address = parseAddress("bob@example.test")
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 30 }), fc.nat(16), (noise, at) => {
        const written = `${"bob@example.test".slice(0, at)}${noise}${"bob@example.test".slice(at)}`
        const isSame = written.toLowerCase() === "bob@example.test" && /^[\x21-\x7e]*$/.test(written)
        expect(namesAddress([written], address, false)).toBe(isSame)
        expect(whoseItIs([written])).toMatch(/^it is for [^\p{C}]*$/u)
      }),
      { numRuns: RUNS * 4 },
    )
  })
})
