import { describe, expect, test } from "vitest"
import {
  MAX_PACKETS,
  packetHeader,
  packetSize,
  readPacketHeader,
  readPackets,
  writePacket,
} from "../../../src/crypto/openpgp/packet.ts"

const of = (hexadecimal: string): Uint8Array => Uint8Array.from(Buffer.from(hexadecimal.replaceAll(" ", ""), "hex"))
const hex = (octets: Uint8Array): string => Buffer.from(octets).toString("hex")

describe("readPackets", () => {
  const rows: [name: string, octets: string, want: [tag: number, body: string][] | "OPENPGP_MALFORMED"][] = [
    ["nothing", "", []],
    ["OpenPGP format", "cd 02 4142", [[13, "4142"]]],
    [
      "two packets",
      "cd 01 41 c2 00",
      [
        [13, "41"],
        [2, ""],
      ],
    ],
    ["length of five octets", "cd ff 00000001 41", [[13, "41"]]],
    ["legacy, one octet", "b4 01 41", [[13, "41"]]],
    ["legacy, two octets", "b5 0001 41", [[13, "41"]]],
    ["legacy, four octets", "b6 00000001 41", [[13, "41"]]],
    ["legacy, to the end", "b7 4142", [[13, "4142"]]],
    ["partial bodies", "cb e1 4142 e0 43 01 44", [[11, "41424344"]]], // RFC 9580 §4.2.1.4
    ["partial, then empty", "cb e0 41 00", [[11, "41"]]],
    ["no packet", "4141", "OPENPGP_MALFORMED"],
    ["tag alone", "cd", "OPENPGP_MALFORMED"],
    ["length cut off", "cd ff 0000", "OPENPGP_MALFORMED"],
    ["body cut off", "cd 02 41", "OPENPGP_MALFORMED"],
    ["partial without a last part", "cb e0 41", "OPENPGP_MALFORMED"],
    ["partial cut off", "cb e1 41", "OPENPGP_MALFORMED"],
  ]
  for (const [name, octets, want] of rows)
    test(name, () => {
      if (typeof want === "string")
        expect(() => readPackets(of(octets))).toThrow(expect.objectContaining({ code: want }))
      else expect(readPackets(of(octets)).map(({ tag, body }) => [tag, hex(body)])).toEqual(want)
    })

  test("refuses more packets than any certificate has", () => {
    const many = new Uint8Array(2 * MAX_PACKETS).map((_, at) => (at % 2 === 0 ? 0xc2 : 0))
    expect(readPackets(many)).toHaveLength(MAX_PACKETS)
    expect(() => readPackets(Uint8Array.of(...many, 0xc2, 0))).toThrow(
      expect.objectContaining({ code: "OPENPGP_MALFORMED" }),
    )
  })
})

test("writes the shortest length, and knows the size before", () => {
  const rows: [octets: number, header: string][] = [
    [0, "cb00"],
    [191, "cbbf"],
    [192, "cbc000"],
    [8383, "cbdfff"],
    [8384, "cbff000020c0"],
  ]
  for (const [octets, header] of rows) {
    expect(hex(packetHeader(11, octets))).toBe(header)
    const packet = writePacket(11, new Uint8Array(octets))
    expect(packet).toHaveLength(packetSize(octets))
    expect(readPackets(packet).map(({ tag, body }) => [tag, body.length])).toEqual([[11, octets]])
  }
  expect(() => packetHeader(11, 2 ** 32)).toThrow(expect.objectContaining({ code: "LENGTH_MISMATCH" }))
})

test("a header that is cut off is not there yet, at any place", () => {
  for (const whole of [
    packetHeader(1, 5),
    packetHeader(1, 200),
    packetHeader(1, 9000),
    of("860000005e"),
    of("855e00"),
  ]) {
    for (let have = 0; have < whole.length; have++) expect(readPacketHeader(whole.subarray(0, have))).toBeNull()
    expect(readPacketHeader(whole)).toMatchObject({ tag: 1, headerOctets: whole.length })
  }
})
