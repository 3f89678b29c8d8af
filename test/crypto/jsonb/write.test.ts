import { describe, expect, test } from "vitest"
import {
  Base64UrlDecoder,
  Base64UrlEncoder,
  base64UrlDecode,
  base64UrlEncode,
} from "../../../src/crypto/jsonb/base64url.ts"
import { dataHead, type Writable, writeJson, writeJsonB } from "../../../src/crypto/jsonb/write.ts"
import { fromHex, meshVectors, toHex } from "../mesh-vectors.ts"

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

const text = (octets: Uint8Array): string => Buffer.from(octets).toString()

describe("JSON-B", () => {
  const rows: [name: string, value: Writable, want: string][] = [
    ["42", 42, "a02a"],
    ["256 takes two octets", 256, "a10100"],
    ["-1", -1, "a801"],
    ["2^32", 2 ** 32, "a30000000100000000"],
    ["2^64 is a bignum", 2n ** 64n, "a70009010000000000000000"],
    ["a fraction", 0.5, "923fe0000000000000"],
    ["text", "Hello", "800548656c6c6f"],
    ["binary", Uint8Array.of(0), "880100"],
    ["true, false, null", [true, false, null], "5bb0b1b25d"],
    ["a comma only behind what is nested", [[1], { a: 2 }, 3], "5b5ba0015d2c7b800161a0027d2ca0035d"],
  ]
  test.each(rows)("%s", (_, value, want) => {
    expect(toHex(writeJsonB(value))).toBe(want)
  })

  test("lengths take as many octets as they need", () => {
    expect([255, 256, 65_536, 2 ** 32].map((size) => toHex(dataHead(size, true)))).toEqual([
      "88ff",
      "890100",
      "8a00010000",
      "8b0000000100000000",
    ])
    expect(toHex(dataHead(3, false))).toBe("8c03")
  })

  test("what the text publishes in its shortest form is written so", () => {
    const names = ["jsonb-A02A", "jsonb-800548656c6c6f", "jsonb-92400921fb54442eea", "jsonb-880100"]
    const published = meshVectors("jsonb").filter(({ name }) => names.includes(name))
    expect(published).toHaveLength(names.length)
    for (const { inputs, expected } of published) {
      const value =
        expected.string ?? expected.double ?? (expected.int ? Number(expected.int) : fromHex(expected.binary))
      expect(toHex(writeJsonB(value))).toBe(inputs.hex)
    }
  })

  test("an integer of more octets than a bignum has is refused", () => {
    expect(() => writeJsonB(2n ** (8n * 65_536n))).toThrow(expect.objectContaining({ code: "JSONB_TOO_LARGE" }))
  })
})

test("JSON: binary as base64url, no white space, members that are undefined left out", () => {
  const value = { a: Uint8Array.of(255, 254, 253), b: undefined, c: [1, 2n, "é\n"], d: null }
  expect(text(writeJson(value))).toBe('{"a":"__79","c":[1,2,"é\\n"],"d":null}')
})

describe("base64url", () => {
  const all = Uint8Array.from({ length: 200 }, (_, index) => (index * 7) & 255)

  test.each([0, 1, 2, 3, 4, 5, 199, 200])("%i octets, whole and in pieces of one", (size) => {
    const octets = all.subarray(0, size)
    const whole = base64UrlEncode(octets)
    const encoder = new Base64UrlEncoder()
    const decoder = new Base64UrlDecoder()
    const encoded = [...octets].map((octet) => encoder.update(Uint8Array.of(octet)))
    const decoded = [...utf8(whole)].map((octet) => decoder.update(Uint8Array.of(octet)))
    expect(text(Buffer.concat([...encoded, encoder.final()]))).toBe(whole)
    expect(new Uint8Array(Buffer.concat([...decoded, decoder.final()]))).toEqual(octets)
    expect(base64UrlDecode(whole)).toEqual(octets)
  })

  test("line breaks and blanks are passed over", () => {
    expect(base64UrlDecode("AQID\n  BAUG\r\n\t")).toEqual(Uint8Array.of(1, 2, 3, 4, 5, 6))
  })

  const refused = ["A", "AAAAA", "AB", "AAB", "AQ==", "+/+/", "AQ.D", "ÄQID"]
  test.each(refused)("refuses %s", (characters) => {
    expect(base64UrlDecode(characters)).toBeNull()
    const decoder = new Base64UrlDecoder()
    const decode = () => [decoder.update(utf8(characters)), decoder.final()]
    expect(decode).toThrow(expect.objectContaining({ code: "JSONB_TYPE" }))
  })
})
