import { describe, expect, test } from "vitest"
import { MAX_DEPTH, MAX_NUMBER_CHARACTERS, MAX_VALUES, readJson, readJsonAt } from "../../../src/crypto/jsonb/read.ts"
import { ValueScanner } from "../../../src/crypto/jsonb/scan.ts"
import { countOf, type JsonValue, memberOf, objectOf, octetsOf, textOf } from "../../../src/crypto/jsonb/value.ts"
import { PIECE_SIZES } from "../../harness/pieces.ts"
import { fromHex, meshVector, meshVectors, toHex } from "../mesh-vectors.ts"

/** Octets from hexadecimal that is grouped. */
const unhex = (text: string): Uint8Array => fromHex(text.replaceAll(" ", ""))
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

const code = (name: string) => expect.objectContaining({ code: name })
const syntax = code("JSONB_SYNTAX")

/** A value without its places; numbers as text, data in hexadecimal. */
function plain(value: JsonValue): unknown {
  switch (value.kind) {
    case "object":
      return Object.fromEntries([...value.members].map(([name, member]) => [name, plain(member)]))
    case "array":
      return value.items.map(plain)
    case "string":
      return value.text
    case "data":
      return { binary: toHex(value.octets) }
    case "integer":
      return { int: value.value.toString() }
    case "real":
      return { double: value.value }
    case "boolean":
      return value.value
    case "null":
      return null
  }
  return value satisfies never
}

/** Where the scanner finds the end, fed in pieces; null when it finds none. */
function scanned(octets: Uint8Array, size: number): number | null {
  const scanner = new ValueScanner()
  for (let at = 0; at < octets.length; at += size) {
    const end = scanner.push(octets.subarray(at, Math.min(octets.length, at + size)))
    if (end !== null) return at + end
  }
  return scanner.completeAtEnd ? octets.length : null
}

describe("published encodings (draft-hallambaker-jsonbcd-21 §4.1)", () => {
  const confirmed = meshVectors("jsonb").filter(({ verified }) => verified)

  test.each(confirmed)("$name", ({ inputs, expected }) => {
    const octets = unhex(inputs.hex)
    const value = readJson(octets)
    const want =
      "string" in expected ? expected.string : "bool" in expected ? expected.bool : "null" in expected ? null : expected
    expect(plain(value)).toEqual(want)
    expect([value.start, value.end]).toEqual([0, octets.length])
    for (const [, size] of PIECE_SIZES) expect(scanned(octets, size)).toBe(octets.length)
  })

  test("published wrong: A5 is a tag of JSON-D, and 42 would be 66; the bignum 42 is A7 00 01 2A", () => {
    expect(() => readJson(unhex(meshVector("jsonb", "jsonb-bignum-broken").inputs.hex))).toThrow(syntax)
    expect(plain(readJson(unhex("a700012a")))).toEqual({ int: "42" })
    expect(plain(readJson(unhex("af0001 2a")))).toEqual({ int: "-42" })
  })

  test("JSON-C, which the Mesh does not use, is refused", () => {
    expect(() => readJson(unhex(meshVector("jsonb", "jsonc-def-and-ref").inputs.hex))).toThrow(syntax)
  })
})

describe("reading", () => {
  const rows: [name: string, octets: Uint8Array, want: unknown][] = [
    [
      "JSON",
      utf8(' {"a":[1,-2.5,true,null,"x\\n\\u00e9"]} '),
      { a: [{ int: "1" }, { double: -2.5 }, true, null, "x\né"] },
    ],
    ["raw line breaks in a string", utf8('"abc\n  def"'), "abc\n  def"],
    ["empty object and array", utf8('{"a":{},"b":[]}'), { a: {}, b: [] }],
    ["no comma behind values of JSON-B", unhex("5b a001 a002 5d"), [{ int: "1" }, { int: "2" }]],
    ["a comma there is taken", unhex("5b a001 2c a002 5d"), [{ int: "1" }, { int: "2" }]],
    ["names of JSON-B need no colon", unhex("7b 800161 b0 800162 b1 7d"), { a: true, b: false }],
    ["a colon there is taken", unhex("7b 800161 3a b0 7d"), { a: true }],
    ["names of JSON before values of JSON-B", Buffer.from('{"a":\xb0"b":\xb2}', "latin1"), { a: true, b: null }],
    [
      "names as the reference code writes them, with no comma before",
      unhex("7b b40161 7b7d b40162 5b 800178 5d b40163 b0 7d"),
      { a: {}, b: ["x"], c: true },
    ],
    ["data in pieces, one of them empty", unhex("8c02 0102 8c00 8801 03"), { binary: "010203" }],
    ["characters divided among pieces", unhex("8401 c3 8001 a9"), "é"],
    [
      "lengths of 2, 4 and 8 octets",
      unhex("5b 890001 aa 8a00000001 bb 8b0000000000000001 cc 5d"),
      [{ binary: "aa" }, { binary: "bb" }, { binary: "cc" }],
    ],
    ["the least integer of 64 bits and below", unhex("ab ffffffffffffffff"), { int: "-18446744073709551615" }],
    [
      "names that objects have by themselves",
      utf8('{"__proto__":1,"constructor":2}'),
      JSON.parse('{"__proto__":{"int":"1"},"constructor":{"int":"2"}}'),
    ],
  ]
  test.each(rows)("%s", (_, octets, want) => {
    expect(plain(readJson(octets))).toEqual(want)
    for (const [, size] of PIECE_SIZES) expect(scanned(octets, size)).toBe(octets.length - trailingBlanks(octets))
  })

  const refused: [name: string, octets: Uint8Array][] = [
    ["nothing", utf8("")],
    ["octets behind the value", utf8("{} x")],
    ["a member twice", utf8('{"a":1,"a":2}')],
    ["a member twice, once in JSON-B", unhex("7b 800161 b0 2261223ab1 7d")],
    ["comma missing", utf8('["a" "b"]')],
    ["comma at the end", utf8("[1,]")],
    ["comma at the beginning", utf8("[,1]")],
    ["colon missing", utf8('{"a" 1}')],
    ["name that is a number", utf8("{1:2}")],
    ["control character in a string", utf8('"\u0001"')],
    ["escape that is none", utf8('"\\x"')],
    ["half of a surrogate pair", utf8('"\\ud800"')],
    ["no UTF-8", unhex("22ff22")],
    ["no UTF-8 in JSON-B", unhex("8001ff")],
    ["a number with a leading zero", utf8("01")],
    ["a word that is none", utf8("nul")],
    ["a string that is cut off", utf8('"abc')],
    ["data that is cut off", unhex("8805 00")],
    ["a length that is cut off", unhex("8b 00000000")],
    ["a length of 2^64-1", unhex("8b ffffffffffffffff")],
    ["pieces of two kinds", unhex("8401 61 8800")],
    ["tag of JSON-D", unhex("90 0000")],
    ["a name that is no member's", unhex("b40161")],
    ["a name among items", unhex("5b b0 b40161 5d")],
    ["a name as a member's value", unhex("7b b40161 b40162 7d")],
    ["a name in pieces", unhex("7b b40161 800162 b0 7d")],
  ]
  test.each(refused)("refuses: %s", (_, octets) => {
    expect(() => readJson(octets)).toThrow(syntax)
  })

  test("places of values are those of the octets received", () => {
    const octets = utf8('{"a": [1, {"b":  "c"} ] }')
    const a = readJson(octets)
    const items = a.kind === "object" ? a.members.get("a") : undefined
    const inner = items?.kind === "array" ? items.items[1] : undefined
    expect(inner && Buffer.from(octets.subarray(inner.start, inner.end)).toString()).toBe('{"b":  "c"}')
  })

  test("one value of several behind one another", () => {
    const octets = unhex("880100 8802aabb")
    const first = readJsonAt(octets, 0)
    expect(plain(readJsonAt(octets, first.end))).toEqual({ binary: "aabb" })
  })
})

describe("limits", () => {
  const tooLarge = code("JSONB_TOO_LARGE")

  test("levels", () => {
    const nested = (levels: number) => utf8("[".repeat(levels) + "]".repeat(levels))
    expect(() => readJson(nested(MAX_DEPTH + 1))).not.toThrow()
    expect(() => readJson(nested(MAX_DEPTH + 2))).toThrow(tooLarge)
    expect(() => scanned(nested(MAX_DEPTH + 2), 1)).toThrow(tooLarge)
  })

  test("values, and pieces of one value", () => {
    expect(() => readJson(utf8(`[${"1,".repeat(MAX_VALUES)}1]`))).toThrow(tooLarge)
    expect(() => readJson(unhex(`${"8c00".repeat(MAX_VALUES)}8800`))).toThrow(tooLarge)
  })

  test("characters of a number", () => {
    expect(() => readJson(utf8("1".repeat(MAX_NUMBER_CHARACTERS)))).not.toThrow()
    expect(() => readJson(utf8("1".repeat(MAX_NUMBER_CHARACTERS + 1)))).toThrow(tooLarge)
  })
})

describe("members", () => {
  const object = objectOf(
    readJson(utf8('{"text":"x","count":7,"none":null,"binary":"AQ\\n  ID","less":-1,"wide":9007199254740992}')),
    "test",
  )

  test("are read as what they are to be", () => {
    expect(memberOf(object, "text", textOf)).toBe("x")
    expect(memberOf(object, "count", countOf)).toBe(7)
    expect(memberOf(object, "none", textOf)).toBeNull()
    expect(memberOf(object, "absent", textOf)).toBeNull()
    expect(memberOf(object, "binary", octetsOf)).toEqual(Uint8Array.of(1, 2, 3))
  })

  const wrong: [name: string, read: (value: JsonValue, what: string) => unknown][] = [
    ["count", textOf],
    ["text", countOf],
    ["less", countOf],
    ["wide", countOf],
    ["text", octetsOf],
    ["count", octetsOf],
    ["text", objectOf],
  ]
  test.each(wrong)("%s as something else", (name, read) => {
    expect(() => memberOf(object, name, read)).toThrow(code("JSONB_TYPE"))
  })
})

function trailingBlanks(octets: Uint8Array): number {
  const text = Buffer.from(octets).toString("latin1")
  return text.length - text.trimEnd().length
}
