import { describe, expect, test } from "vitest"
import { type Certificate, readCertificate } from "../../../src/crypto/cms/certificate.ts"
import { serialNumber } from "../../../src/crypto/cms/certificate-writer.ts"
import {
  isStandInAuthority,
  issueStandIn,
  issueStandInAuthority,
  STAND_IN_PERIOD_MS,
  standInKeyIdentifier,
  standInOwner,
  standInScalar,
  standInTagKey,
} from "../../../src/crypto/cms/stand-in.ts"
import { p256PublicPoint } from "../../../src/crypto/primitives/p256.ts"
import { randomOctets } from "../../../src/crypto/primitives/random.ts"
import { readsAesGcm, revocationPlaces } from "../../../src/crypto/x509/extension-values.ts"
import { findPath } from "../../../src/crypto/x509/path.ts"
import { hasCode } from "../../../src/errors.ts"

const START = new Date(700 * STAND_IN_PERIOD_MS)
const DAY_MS = 86_400_000
const secret = new Uint8Array(32).fill(9)
const authority = { secret, certificate: authorityOf(secret, START) }
const NOTHING = new Uint8Array()
const PAIR = { account: "alice@example.test root", recipient: "bob@partner.test" }

function authorityOf(of: Uint8Array, notBefore: Date, years = 10): Certificate {
  const notAfter = new Date(notBefore.getTime() + years * 365 * DAY_MS)
  const terms = { serial: serialNumber(randomOctets(16)), notBefore, notAfter }
  const excluded = ["example.test", "second.test"]
  return readCertificate(issueStandInAuthority({ ...terms, secret: of, name: "Gateway of example.test", excluded }))
}

const later = (ms: number) => new Date(START.getTime() + ms)
const standIn = (pair = PAIR, at = START, from = authority) => readCertificate(issueStandIn(from, pair, at))

describe("a stand-in", () => {
  const others: readonly (readonly [what: string, other: () => Certificate, isSameKey: boolean])[] = [
    ["another account", () => standIn({ ...PAIR, account: "mallory@example.test root" }), false],
    [
      "an account of the same address that came later",
      () => standIn({ ...PAIR, account: "alice@example.test other" }),
      false,
    ],
    ["another recipient", () => standIn({ ...PAIR, recipient: "bob+a@partner.test" }), false],
    [
      "account and recipient divided otherwise",
      () => standIn({ account: "alice@example.test rootb", recipient: "ob@partner.test" }),
      false,
    ],
    ["another secret", () => standIn(PAIR, START, { ...authority, secret: new Uint8Array(32).fill(8) }), false],
    ["the next period", () => standIn(PAIR, later(STAND_IN_PERIOD_MS)), true],
  ]
  for (const [what, other, isSameKey] of others)
    test(`is not that of ${what}`, () => {
      expect(other().identity.serial).not.toEqual(standIn().identity.serial)
      expect(Buffer.compare(other().point ?? NOTHING, standIn().point ?? NOTHING) === 0).toBe(isSameKey)
    })

  test("is the same octets all through a period, whoever makes it", () => {
    expect(standIn(PAIR, later(STAND_IN_PERIOD_MS - 1)).der).toEqual(standIn().der)
  })

  test("has the key and the identifiers that follow from its pair", () => {
    const { point, identity } = standIn()
    expect(point).toEqual(p256PublicPoint(standInScalar(secret, PAIR)))
    expect(identity.subjectKeyIdentifier).toEqual(standInKeyIdentifier(secret, PAIR))
  })

  test("is good for the rest of its period and the next one, never longer than its authority", () => {
    expect(standIn().notAfter).toEqual(later(2 * STAND_IN_PERIOD_MS))
    expect(standIn().notBefore.getTime()).toBeLessThan(START.getTime())
    const short = { secret, certificate: authorityOf(secret, later(-364 * DAY_MS), 1) }
    expect(standIn(PAIR, START, short).notAfter).toEqual(short.certificate.notAfter)
  })

  test("says that it reads AES-GCM, and that nobody need ask whether it is revoked", () => {
    expect(readsAesGcm(standIn())).toBe(true)
    expect(revocationPlaces(standIn())).toEqual({ ocsp: [], crl: [], never: true })
  })

  test("is not made for an address that is not ASCII", () => {
    expect(() => standIn({ ...PAIR, recipient: "bjørn@partner.test" })).toThrow(
      expect.toSatisfy((error) => hasCode(error, "CERTIFICATE_UNSUPPORTED")),
    )
  })
})

describe("its authority", () => {
  const rows: readonly (readonly [recipient: string, why: RegExp | null])[] = [
    ["bob@partner.test", null],
    ["bob@example.test.partner.test", null],
    ["carol@example.test", /carol@example\.test is excluded/],
    ["carol@EXAMPLE.test", /is excluded/],
    ["carol@below.example.test", /is excluded/],
    ["carol@second.test", /is excluded/],
  ]
  for (const [recipient, why] of rows)
    test(`certifies ${recipient}: ${why === null ? "yes" : "no"}`, () => {
      const rules = { anchors: [authority.certificate], between: [], at: START, purpose: "encryption" } as const
      const found = findPath(standIn({ ...PAIR, recipient }), rules)
      expect(found).toMatchObject(
        why === null ? { kind: "path" } : { kind: "none", because: expect.stringMatching(why) },
      )
    })

  test("is known by its name, which no other has", () => {
    const other = authorityOf(new Uint8Array(32).fill(8), START)
    expect(
      [authority, { certificate: other }].map(({ certificate }) => isStandInAuthority(certificate.subject)),
    ).toEqual([true, true])
    expect(other.subject).not.toEqual(authority.certificate.subject)
    expect(isStandInAuthority(standIn().subject)).toBe(false)
  })
})

describe("whose a serial number is", () => {
  const key = standInTagKey(secret)
  const own = standIn().identity.serial
  const flipped = (at: number) => own.map((octet, index) => (index === at ? octet ^ 1 : octet))
  const rows: readonly (readonly [what: string, serial: Uint8Array, whose: string])[] = [
    ["its own", own, "pair"],
    ["of an earlier period", standIn(PAIR, later(-9 * STAND_IN_PERIOD_MS)).identity.serial, "pair"],
    ["of another recipient of the account's", standIn({ ...PAIR, recipient: "x@y.test" }).identity.serial, "account"],
    ["of another account", standIn({ ...PAIR, account: "mallory" }).identity.serial, "others"],
    ["altered in the period", flipped(2), "account"],
    ["altered in the account", flipped(4), "others"],
    ["altered in the pair", flipped(12), "account"],
    ["short", own.subarray(1), "others"],
    ["none", new Uint8Array(), "others"],
  ]
  for (const [what, serial, whose] of rows) test(what, () => expect(standInOwner(key, serial, PAIR)).toBe(whose))
})
