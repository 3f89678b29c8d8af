import fc from "fast-check"
import { beforeAll, expect, test } from "vitest"
import { armor } from "../../src/crypto/openpgp/armor.ts"
import { PACKET, readPackets } from "../../src/crypto/openpgp/packet.ts"
import { parseAddress } from "../../src/message/address.ts"
import { MAX_CERTIFICATES, readOpenPgpAnswer } from "../../src/profiles/sources/openpgp-answer.ts"
import { profileAnswer, readPublished } from "../../src/profiles/sources/profile-answer.ts"
import { makeAlice } from "../identity/people.ts"

const numRuns = Number(process.env["FUZZ_RUNS"] ?? 400)
const ALICE = parseAddress("alice@example.test")
const PLACE = "https://example.test/"

let certificate: Buffer
let profile: string
beforeAll(async () => {
  const { person, request } = await makeAlice("smime", "openpgp")
  certificate = Buffer.from(person.openpgp?.certificate ?? [])
  const { payload } = JSON.parse(request) as { payload: string }
  profile = (JSON.parse(Buffer.from(payload, "base64url").toString()) as { profile: string }).profile
})

/** Octets of `whole` with some of them changed, taken out or put in. */
const damaged = (whole: () => Uint8Array) =>
  fc
    .array(fc.record({ at: fc.nat(), out: fc.nat({ max: 40 }), put: fc.uint8Array({ maxLength: 40 }) }), {
      maxLength: 4,
    })
    .map((cuts) =>
      cuts.reduce((octets, { at, out, put }) => {
        const from = at % (octets.length + 1)
        return Buffer.concat([octets.subarray(0, from), put, octets.subarray(from + out)])
      }, Buffer.from(whole())),
    )

test("whatever stands where certificates should, there is an answer, and what can be separated stays so", () => {
  const binary = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    damaged(() => certificate),
    damaged(() => Buffer.concat([certificate, certificate])),
  )
  const body = fc.oneof(
    binary,
    binary.map((octets) => armor(octets, "PUBLIC KEY BLOCK")),
    damaged(() => armor(certificate, "PUBLIC KEY BLOCK")),
  )
  fc.assert(
    fc.property(body, (octets) => {
      const { certificates, remarks } = readOpenPgpAnswer(octets)
      expect(certificates.length).toBeLessThanOrEqual(MAX_CERTIFICATES)
      expect(certificates.length + remarks.length).toBeGreaterThan(0)
      for (const one of certificates.filter((found) => startsLikeCertificate(found)))
        expect(readOpenPgpAnswer(one)).toEqual({ certificates: [one], isArmored: false, remarks: [] })
    }),
    { numRuns },
  )
})

test("a certificate without a user id that has the address is not one of its own", () => {
  fc.assert(
    fc.property(fc.emailAddress(), (address) => {
      const { certificates } = readOpenPgpAnswer(certificate, address)
      expect(certificates.length).toBe(Number("alice@example.test".includes(address.toLowerCase())))
    }),
    { numRuns: Math.min(numRuns, 1_000) },
  )
})

test("whatever stands where a profile should, there is an answer; of a damaged one no key is used", () => {
  const whole = profileAnswer(readPublished({ text: profile }, ALICE), PLACE)
  expect(whole.candidates).toHaveLength(2)
  const text = fc.oneof(
    fc.string({ maxLength: 300 }),
    fc.json(),
    damaged(() => Buffer.from(profile)).map((octets) => octets.toString()),
  )
  fc.assert(
    fc.property(text, (said) => {
      const answer = profileAnswer(readPublished({ text: said }, ALICE), PLACE)
      // What was changed is of no weight, such as a space between members, or all is lost.
      if (answer.candidates.length > 0) expect(answer).toEqual(whole)
      else expect(answer.remarks).toHaveLength(1)
    }),
    { numRuns },
  )
})

function startsLikeCertificate(octets: Uint8Array): boolean {
  try {
    return readPackets(octets)[0]?.tag === PACKET.publicKey
  } catch {
    return false
  }
}
