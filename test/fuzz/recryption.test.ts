import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { armor } from "../../src/crypto/openpgp/armor.ts"
import { cmsRecryptor } from "../../src/crypto/recryption/cms.ts"
import { openPgpRecryptor } from "../../src/crypto/recryption/openpgp.ts"
import { applyPatches } from "../../src/crypto/recryption/patch.ts"
import { ascii, feed, lines, text } from "../crypto/recryption/feeding.ts"
import {
  base64,
  cms,
  cmsRecryption,
  dev1,
  OPENPGP_KEY_ID,
  openpgp,
  openpgpScalar,
} from "../crypto/recryption/vectors.ts"

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 300)
const recryptors = [dev1, openPgpRecryptor({ keyId: OPENPGP_KEY_ID, scalar: openpgpScalar })]
const devices = [recryptors, [cmsRecryptor(cmsRecryption("dev2"))]]
const armored = (octets: Uint8Array): string => text(armor(octets, "MESSAGE"))

const HEADER = "From: a@example.org\r\nSubject: x\r\n\r\n"
const messages = [
  ...cms.messages.map(({ original }) => ascii(HEADER + lines(base64(original)))),
  ...cms.messages.map(({ original }) => new Uint8Array(Buffer.concat([ascii(HEADER), base64(original)]))),
  ascii(`${HEADER}text\r\n${armored(base64(openpgp.original))}`),
  ascii(HEADER + lines(ascii(armored(base64(openpgp.original))))),
  ascii(HEADER + lines(base64(openpgp.original))),
]

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

/** A message within another, in place of some of its octets or between them: what breaks off goes on into the next. */
const nested = fc
  .array(fc.tuple(fc.constantFrom(...messages), fc.nat(), fc.nat({ max: 400 }), fc.nat({ max: 40 })), {
    minLength: 2,
    maxLength: 4,
  })
  .map((parts) =>
    parts.reduceRight((inner, [message, at, removed, cut]) => {
      const place = HEADER.length - 4 + (at % 330)
      const end = message.length - (removed === 0 ? 0 : cut)
      return new Uint8Array(
        Buffer.concat([message.subarray(0, place), inner, message.subarray(place + removed, Math.max(end, place))]),
      )
    }, new Uint8Array(0)),
  )

const INPUTS = [
  ["pieces of messages", likely],
  ["damaged messages", damaged],
  ["messages in messages", nested],
  ["noise", fc.uint8Array({ maxLength: 600 })],
] as const

describe("whatever comes", () => {
  for (const [name, input] of INPUTS)
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

  for (const [name, input] of INPUTS)
    test(`${name}: the stable octets are those of the stored form, for every device`, () => {
      fc.assert(
        fc.property(input, sizes, (octets, pieces) => {
          const stored = text(feed([], octets, pieces).stable)
          for (const device of devices) {
            const shown = feed(device, octets, pieces)
            expect(text(shown.stable)).toBe(stored)
            expect(text(feed([], shown.octets, pieces).stable)).toBe(stored)
          }
        }),
        { numRuns: RUNS },
      )
    })
})
