import { describe, expect, test } from "vitest"
import { crc24 } from "../../../src/crypto/openpgp/armor.ts"
import { randomOctets } from "../../../src/crypto/primitives/random.ts"
import { crc24Change } from "../../../src/crypto/recryption/crc24.ts"
import { openPgpRecryptor, openPgpRestorer } from "../../../src/crypto/recryption/openpgp.ts"
import { readOpenPgpHead } from "../../../src/crypto/recryption/openpgp-head.ts"
import { hasCode } from "../../../src/errors.ts"
import { base64, hex, OPENPGP_KEY_ID, openpgp, openpgpScalar, read } from "./vectors.ts"

const b64 = (octets: Uint8Array | null): string | null => octets && Buffer.from(octets).toString("base64")
const malformed = expect.toSatisfy((error) => hasCode(error, "OPENPGP_MALFORMED"))
const recryptor = openPgpRecryptor({ keyId: OPENPGP_KEY_ID, scalar: openpgpScalar })
const original = base64(openpgp.original)
/** 94 octets in a packet of their own, then the encrypted data. */
const pkesk = original.subarray(0, 96)
const rest = original.subarray(96)

interface DeviceKeyVectors {
  readonly cases: readonly {
    readonly name: string
    readonly recryptionKey: string
    readonly original: string
    readonly recrypted: string
  }[]
}

describe("vectors", () => {
  test("the account's message becomes the device's, and back", () => {
    expect(b64(recryptor.recrypt(original))).toBe(openpgp.recrypted)
    const restorer = openPgpRestorer({ keyId: OPENPGP_KEY_ID, scalar: openpgpScalar })
    expect(b64(restorer.recrypt(base64(openpgp.recrypted)))).toBe(openpgp.original)
  })

  test("of the device keys", () => {
    const [vector] = read<DeviceKeyVectors>("openpgp-device-keys.json").cases
    if (!vector) throw new Error("no vector")
    const message = base64(vector.original)
    const scalar = hex(vector.recryptionKey)
    const ours = openPgpRecryptor({
      keyId: message.subarray(3, 11),
      scalar: (scalar[31] ?? 0) >> 6 === 1 ? scalar : scalar.reverse(),
    })
    expect(b64(ours.recrypt(message))).toBe(vector.recrypted)
  })
})

/** The PKESK with other octets at an offset. */
function changed(offset: number, ...octets: number[]): Uint8Array {
  const copy = new Uint8Array(pkesk)
  copy.set(octets, offset)
  return copy
}

function message(...packets: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat([...packets, rest]))
}

describe("packets", () => {
  const foreign = changed(3, 1, 2, 3, 4, 5, 6, 7, 8)
  const legacy = Buffer.concat([Uint8Array.of(0x84, 94), pkesk.subarray(2)])
  const legacyTwo = Buffer.concat([Uint8Array.of(0x85, 0, 94), pkesk.subarray(2)])
  const five = Buffer.concat([Uint8Array.of(0xc1, 0xff, 0, 0, 0, 94), pkesk.subarray(2)])
  const skesk = Uint8Array.of(0xc3, 4, 4, 9, 0, 8)
  const rsa = Uint8Array.of(0xc1, 13, 3, ...OPENPGP_KEY_ID.map((octet) => octet ^ 1), 1, 0, 8, 0xff)
  const v6 = Uint8Array.of(0xc1, 5, 6, 0, 25, 1, 2)
  const rows: [name: string, octets: Uint8Array, point: number][] = [
    ["the first", message(pkesk, foreign), 15],
    ["the second", message(foreign, pkesk), 96 + 15],
    ["behind an RSA one", message(rsa, pkesk), rsa.length + 15],
    ["behind a password", message(skesk, pkesk), skesk.length + 15],
    ["behind version 6", message(v6, pkesk), v6.length + 15],
    ["in the old format", message(legacy), 15],
    ["in the old format, two octets of length", message(legacyTwo), 16],
    ["with five octets of length", message(five), 19],
  ]
  test.each(rows)("ours is %s", (_, octets, point) => {
    const recrypted = recryptor.recrypt(octets)
    if (recrypted === null) throw new Error("not recognised")
    const expected = new Uint8Array(octets)
    expected.set(base64(openpgp.recrypted).subarray(15, 47), point)
    expect(b64(recrypted)).toBe(b64(expected))
  })

  test.each([
    ["another key id", message(foreign)],
    ["a hidden recipient", message(changed(3, 0, 0, 0, 0, 0, 0, 0, 0))],
    ["only a password", message(skesk)],
    ["only version 6", message(v6)],
  ])("%s is not ours", (_, octets) => {
    expect(recryptor.recrypt(octets)).toBeNull()
  })

  test.each([
    ["the point without its 40", changed(14, 0x41)],
    ["a point of 255 bits", changed(12, 0, 255)],
    ["a point of another curve", changed(12, 2, 3)],
    ["no wrapped key", Uint8Array.of(0xc1, 45, ...pkesk.subarray(2, 47))],
  ])("ours with %s is malformed", (_, packet) => {
    expect(() => recryptor.recrypt(message(packet))).toThrow(malformed)
  })

  test("ours with a point of small order is refused", () => {
    const zero = changed(15, ...new Array<number>(32).fill(0))
    expect(() => recryptor.recrypt(message(zero))).toThrow(expect.toSatisfy((error) => hasCode(error, "POINT_INVALID")))
  })

  test.each([
    ["no packet behind it", message(pkesk, Uint8Array.of(5))],
    ["a partial length", message(pkesk, Uint8Array.of(0xc1, 0xe5, 3))],
    ["an indeterminate length", message(pkesk, Uint8Array.of(0x87, 3))],
    ["a packet of another version", message(pkesk, Uint8Array.of(0xc1, 60, 9))],
    ["a packet over 16 KiB", message(pkesk, Uint8Array.of(0xc1, 0xff, 0, 0, 0x40, 1, 3))],
  ])("%s: malformed", (_, octets) => {
    expect(() => readOpenPgpHead(octets)).toThrow(malformed)
  })

  test("session key packets over 256 KiB: malformed", () => {
    const long = Buffer.concat([Uint8Array.of(0xc1, 0xff, 0, 0, 0x40, 0, 3), new Uint8Array(16_383)])
    expect(readOpenPgpHead(message(...new Array(15).fill(long))).kind).toBe("head")
    expect(() => readOpenPgpHead(message(...new Array(16).fill(long)))).toThrow(malformed)
  })

  test.each([
    ["a literal packet", Uint8Array.of(0xcb, 5, 98, 0, 0, 0, 0)],
    ["encrypted data without a session key", rest],
    ["a key", Uint8Array.of(0xc6, 5, 4)],
    ["text", new TextEncoder().encode("hello")],
    ["a packet of an unknown version", Uint8Array.of(0xc1, 94, 7)],
  ])("%s is no block", (_, octets) => {
    expect(readOpenPgpHead(octets)).toEqual({ kind: "none" })
  })

  test("every shorter piece asks for more", () => {
    for (let length = 0; length <= pkesk.length; length++) {
      const reading = readOpenPgpHead(original.subarray(0, length))
      expect(reading.kind).toBe("more")
      if (reading.kind === "more") expect(reading.octets).toBeGreaterThan(length)
    }
    expect(readOpenPgpHead(original.subarray(0, pkesk.length + 1)).kind).toBe("head")
  })
})

test("the CRC-24 of a message with a changed head follows from the change alone", () => {
  for (const [headOctets, following] of [
    [1, 0],
    [41, 1],
    [96, 1000],
    [300, 70_001],
  ] as const) {
    const old = randomOctets(headOctets + following)
    const delta = randomOctets(headOctets)
    const fresh = old.map((octet, at) => octet ^ (delta[at] ?? 0))
    expect(crc24(old) ^ crc24Change(delta, following)).toBe(crc24(fresh))
  }
})
