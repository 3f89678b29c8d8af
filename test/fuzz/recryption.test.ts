import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { armor } from "../../src/crypto/openpgp/armor.ts"
import { openPgpRecryptor } from "../../src/crypto/recryption/openpgp.ts"
import { applyPatches } from "../../src/crypto/recryption/patch.ts"
import { ascii, feed, lines, text } from "../crypto/recryption/feeding.ts"
import { base64, cms, dev1, OPENPGP_KEY_ID, openpgp, openpgpScalar } from "../crypto/recryption/vectors.ts"

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 300)
const recryptors = [dev1, openPgpRecryptor({ keyId: OPENPGP_KEY_ID, scalar: openpgpScalar })]
const armored = (octets: Uint8Array): string => text(armor(octets, "MESSAGE"))

const HEADER = "From: a@example.org\r\nSubject: x\r\n\r\n"
const messages = [
  ...cms.messages.map(({ original }) => ascii(HEADER + lines(base64(original)))),
  ...cms.messages.map(({ original }) => new Uint8Array(Buffer.concat([ascii(HEADER), base64(original)]))),
  ascii(`${HEADER}text\r\n${armored(base64(openpgp.original))}`),
  ascii(HEADER + lines(ascii(armored(base64(openpgp.original))))),
  ascii(HEADER + lines(base64(openpgp.original))),
]

/** Found by this fuzz: binary CMS, cut off, goes on into armor, and is whole by chance once that is patched. */
const CUT_OFF_BEFORE_ARMOR =
  "RnJvbTogYUBleGFtcGxlLm9yZw0KU3ViamVjdDogeA0KDQowgAYJKoZIhvcNAQcDoIAwgAIBAjGB0qGBzwIBA6BRoU8wCQYHKoZI" +
  "zj0CAQNCAAT/HxyLnJ8dtv4umUgm9Vmb+2RvRnJvbTogYUBleGFtcGxlLm9yZw0KU3ViamVjdDogeA0KDQp0ZXh0DQotLS0tLUJF" +
  "R0lOIFBHUCBNRVNTQUdFLS0tLS0NCg0Kd1Y0REtPRHY4NGJGR0tjU0FRZEEvMGU2eXlvcUxqdTVYb1BCNGlNanQ4Y05NcitRM0Ju" +
  "ckxpdWpMNTdJekhZdw0KQzRNY2VVMGFhNngrYUtEdjc1RFJPU1VnemltTVJuZ2YzQ0NUbHdGZjBibWEwVWwrMzBxckZaTzBhbHRF" +
  "VThOKw0KMGs="

const sizes = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 6 })

/** Pieces that mean something to the search, in any order. */
const likely = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        "\r\n",
        "\n",
        "\n\n",
        "\r\n\r\n",
        "-----BEGIN PGP MESSAGE-----",
        "=abcd",
        "MII",
        "LS0tLS1CRUdJTiBQR1AgTUVTU0FHRS0tLS0t",
        "\x30\x82",
        "\xc1",
      ),
      fc.constantFrom(...messages.map(text)),
      fc.nat({ max: messages.length - 1 }).chain((index) => {
        const whole = text(messages[index] ?? new Uint8Array(0))
        return fc.nat({ max: whole.length }).map((end) => whole.slice(0, end))
      }),
      fc.string({ maxLength: 40 }),
    ),
    { maxLength: 8 },
  )
  .map((parts) => new Uint8Array(Buffer.from(parts.join(""), "latin1")))

/** A good message with some octets overwritten, taken out or put in. */
const damaged = fc
  .tuple(
    fc.constantFrom(...messages),
    fc.array(fc.tuple(fc.nat(), fc.uint8Array({ maxLength: 4 }), fc.nat({ max: 4 })), { minLength: 1, maxLength: 4 }),
  )
  .map(([message, changes]) =>
    changes.reduce((octets, [at, fresh, removed]) => {
      const place = at % (octets.length + 1)
      return new Uint8Array(Buffer.concat([octets.subarray(0, place), fresh, octets.subarray(place + removed)]))
    }, message),
  )

describe("whatever comes", () => {
  for (const [name, input] of [
    ["pieces of messages", likely],
    ["damaged messages", damaged],
    ["noise", fc.uint8Array({ maxLength: 600 })],
  ] as const)
    test(`${name}: same length, same octets outside the record, the same in any pieces`, () => {
      fc.assert(
        fc.property(input, sizes, (octets, pieces) => {
          const whole = feed(recryptors, octets, [octets.length + 1])
          expect(text(whole.octets)).toBe(text(applyPatches(whole.patches, 0, octets)))
          const pieced = feed(recryptors, octets, pieces)
          expect(text(pieced.octets)).toBe(text(whole.octets))
          expect(text(pieced.stable)).toBe(text(whole.stable))
          expect(pieced.counts).toEqual(whole.counts)
          if (whole.counts.patched === 0) expect(text(whole.octets)).toBe(text(octets))
        }),
        { numRuns: RUNS },
      )
    })

  test("patched messages: the stable octets are those of the stored form", () => {
    fc.assert(
      fc.property(likely, sizes, (octets, pieces) => {
        const stored = feed(recryptors, octets, pieces)
        expect(text(feed([], stored.octets, pieces).stable)).toBe(text(stored.stable))
      }),
      { numRuns: RUNS, examples: [[base64(CUT_OFF_BEFORE_ARMOR), [1]]] },
    )
  })
})
