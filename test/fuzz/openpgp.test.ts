import { readFileSync } from "node:fs"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { ArmorEncoder, armor, armoredSize, dearmor } from "../../src/crypto/openpgp/armor.ts"
import { minimalCertificate, readCertificate } from "../../src/crypto/openpgp/certificate.ts"
import { openPgpRecipient } from "../../src/crypto/openpgp/encrypt.ts"
import { readPacketHeader, readPackets, writePacket } from "../../src/crypto/openpgp/packet.ts"
import { GatewayError } from "../../src/errors.ts"

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 500)
const certificates: Uint8Array[] = JSON.parse(
  readFileSync("test/vectors/recryption/openpgp-device-keys.json", "utf8"),
).cases.flatMap((row: { accountCertificate: string; accountSecretKey: string }) =>
  [row.accountCertificate, row.accountSecretKey].map((key) => dearmor(Buffer.from(key))?.binary),
)

const packets = fc.array(fc.record({ tag: fc.nat(63), body: fc.uint8Array({ maxLength: 300 }) }), { maxLength: 12 })
const mutation = fc.record({ at: fc.nat(), octets: fc.uint8Array({ maxLength: 5 }), skip: fc.nat(5) })
const mutated = fc
  .tuple(fc.constantFrom(...certificates), fc.array(mutation, { minLength: 1, maxLength: 4 }))
  .map(([certificate, changes]) =>
    changes.reduce((octets, { at, octets: fresh, skip }) => {
      const place = at % (octets.length + 1)
      return new Uint8Array(Buffer.concat([octets.subarray(0, place), fresh, octets.subarray(place + skip)]))
    }, certificate),
  )

/** Runs a parser: a value or an error of ours, nothing else. */
function calmly<T>(parse: () => T): T | null {
  try {
    return parse()
  } catch (error) {
    if (error instanceof GatewayError) return null
    throw error
  }
}

const hex = (octets: Uint8Array): string => Buffer.from(octets).toString("hex")
const shape = (list: readonly { tag: number; body: Uint8Array }[]) => list.map(({ tag, body }) => [tag, hex(body)])

describe("packets", () => {
  test("what was written reads back", () => {
    fc.assert(
      fc.property(packets, (list) => {
        const octets = Buffer.concat(list.map(({ tag, body }) => writePacket(tag, body)))
        expect(shape(readPackets(octets))).toEqual(shape(list))
      }),
      { numRuns: RUNS },
    )
  })

  test("any octets: packets that write back to themselves, or an error of ours", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (octets, asPacket) => {
        if (asPacket && octets.length > 0) octets[0] = (octets[0] ?? 0) | 0x80
        calmly(() => readPacketHeader(octets))
        const list = calmly(() => readPackets(octets))
        if (list === null) return
        const written = Buffer.concat(list.map(({ tag, body }) => writePacket(tag, body)))
        expect(shape(readPackets(written))).toEqual(shape(list))
      }),
      { numRuns: RUNS },
    )
  })
})

describe("armor", () => {
  test("what was armored in any pieces reads back, and has the size foretold", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 150 }), { maxLength: 8 }), (pieces) => {
        const encoder = new ArmorEncoder("MESSAGE")
        const armored = Buffer.concat([...pieces.map((piece) => encoder.push(piece)), encoder.end()])
        const whole = Buffer.concat(pieces)
        expect(armored).toHaveLength(armoredSize(whole.length, "MESSAGE"))
        expect(hex(armored)).toBe(hex(armor(whole, "MESSAGE")))
        expect(hex(dearmor(armored)?.binary ?? new Uint8Array(1))).toBe(hex(whole))
      }),
      { numRuns: RUNS },
    )
  })

  test("damaged armor is the same octets, none, or an error of ours: the checksum lets nothing else through", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 150 }),
        fc.nat(),
        fc.integer({ min: 32, max: 126 }),
        (whole, at, octet) => {
          const armored = armor(whole, "MESSAGE")
          const end = armored.length - "\r\n=AAAA\r\n-----END PGP MESSAGE-----\r\n".length
          armored[at % Math.max(1, end)] = octet
          const read = calmly(() => dearmor(armored))
          if (read !== null) expect(hex(read.binary)).toBe(hex(whole))
        },
      ),
      { numRuns: RUNS },
    )
  })
})

test("damaged certificates: read, or refused with an error of ours; a minimal one is minimal", () => {
  fc.assert(
    fc.property(mutated, (octets) => {
      calmly(() => readCertificate(octets))
      calmly(() => openPgpRecipient(octets))
      const minimal = calmly(() => minimalCertificate(octets))
      if (minimal !== null) expect(hex(minimalCertificate(minimal))).toBe(hex(minimal))
    }),
    { numRuns: RUNS },
  )
})
