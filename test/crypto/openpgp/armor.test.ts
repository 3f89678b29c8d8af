import { describe, expect, test } from "vitest"
import { ArmorEncoder, armor, armoredSize, CRC24_INITIAL, crc24, dearmor } from "../../../src/crypto/openpgp/armor.ts"

const octets = (count: number): Uint8Array => Uint8Array.from({ length: count }, (_, at) => (at * 7) & 0xff)
const text = (lines: string[]): Uint8Array => Buffer.from(lines.join("\r\n"))

/** RFC 9580 §6.1.1, written as there. */
function slowCrc24(of: Uint8Array): number {
  let crc = CRC24_INITIAL
  for (const octet of of) {
    crc ^= octet << 16
    for (let bit = 0; bit < 8; bit++) {
      crc <<= 1
      if (crc & 0x1000000) crc ^= 0x1864cfb
    }
  }
  return crc & 0xffffff
}

test("the CRC-24 is the standard's, in one go and in pieces", () => {
  expect(crc24(Buffer.from("123456789"))).toBe(0x21cf02)
  for (let count = 0; count < 40; count++) {
    expect(crc24(octets(count))).toBe(slowCrc24(octets(count)))
    expect(crc24(octets(count).subarray(5), crc24(octets(count).subarray(0, 5)))).toBe(slowCrc24(octets(count)))
  }
})

test("lines of 64 characters, CRLF, checksum; read back; size known before", () => {
  for (const count of [0, 1, 2, 3, 47, 48, 49, 95, 96, 97, 1000]) {
    const armored = armor(octets(count), "MESSAGE")
    expect(armored).toHaveLength(armoredSize(count, "MESSAGE"))
    const lines = Buffer.from(armored).toString("latin1").split("\r\n")
    expect(lines.slice(0, 2)).toEqual(["-----BEGIN PGP MESSAGE-----", ""])
    expect(lines.slice(-2)).toEqual(["-----END PGP MESSAGE-----", ""])
    expect(lines.slice(2, -4).every((line) => line.length === 64)).toBe(true)
    expect(dearmor(armored)).toEqual({ label: "MESSAGE", binary: octets(count) })
  }
})

test("pieces of any size give the same octets", () => {
  const whole = armor(octets(500), "PUBLIC KEY BLOCK")
  for (const size of [1, 7, 48, 64, 499]) {
    const encoder = new ArmorEncoder("PUBLIC KEY BLOCK")
    const parts: Uint8Array[] = []
    for (let at = 0; at < 500; at += size) {
      // The caller's buffer may be used again at once.
      const piece = octets(500).subarray(at, at + size)
      parts.push(Uint8Array.from(encoder.push(piece)))
      piece.fill(0)
    }
    parts.push(encoder.end())
    expect(Buffer.concat(parts).toString()).toBe(Buffer.from(whole).toString())
  }
})

describe("dearmor", () => {
  const rows: [name: string, lines: string[], want: string | null | "OPENPGP_MALFORMED"][] = [
    [
      "headers, text around",
      ["x", "-----BEGIN PGP MESSAGE-----", "Version: 1", "", "QUJD", "-----END PGP MESSAGE-----", "y"],
      "ABC",
    ],
    [
      "checksum",
      ["-----BEGIN PGP MESSAGE-----", "", "MTIzNDU2Nzg5", "=Ic8C", "-----END PGP MESSAGE-----"],
      "123456789",
    ],
    ["blanks at line ends", ["-----BEGIN PGP MESSAGE----- ", " ", "QUJD ", "-----END PGP MESSAGE----- "], "ABC"],
    ["no armor", ["hello"], null],
    ["nothing", [""], null],
    [
      "wrong checksum",
      ["-----BEGIN PGP MESSAGE-----", "", "QUJD", "=AAAA", "-----END PGP MESSAGE-----"],
      "OPENPGP_MALFORMED",
    ],
    ["no base64", ["-----BEGIN PGP MESSAGE-----", "", "QU*D", "-----END PGP MESSAGE-----"], "OPENPGP_MALFORMED"],
    ["no end", ["-----BEGIN PGP MESSAGE-----", "", "QUJD"], "OPENPGP_MALFORMED"],
    ["another end", ["-----BEGIN PGP MESSAGE-----", "", "QUJD", "-----END PGP SIGNATURE-----"], "OPENPGP_MALFORMED"],
    ["no empty line", ["-----BEGIN PGP MESSAGE-----", "QUJD", "-----END PGP MESSAGE-----"], "OPENPGP_MALFORMED"],
  ]
  for (const [name, lines, want] of rows)
    test(name, () => {
      if (want === "OPENPGP_MALFORMED")
        expect(() => dearmor(text(lines))).toThrow(expect.objectContaining({ code: want }))
      else if (want === null) expect(dearmor(text(lines))).toBeNull()
      else expect(Buffer.from(dearmor(text(lines))?.binary ?? []).toString()).toBe(want)
    })
})
