import { describe, expect, test } from "vitest"
import { bitString, integer, nil, oid, sequence } from "../../../src/crypto/cms/der.ts"
import { authenticatorUdf } from "../../../src/crypto/udf/authenticator.ts"
import { morePrecise, sameUdf } from "../../../src/crypto/udf/compare.ts"
import { CONTENT_TYPE, contentUdf, listUdf, presents, type UdfHash } from "../../../src/crypto/udf/digest.ts"
import { claimAuthenticator, publicationAuthenticator, publicationId } from "../../../src/crypto/udf/publication.ts"
import { contentIdentifier, encryptionKeyUdf } from "../../../src/crypto/udf/symmetric.ts"
import { dataOfUdf, parseUdf, presentUdf } from "../../../src/crypto/udf/udf.ts"
import { KEY_CONTENT_TYPE_2016, parseUdf2016, udf2016 } from "../../../src/crypto/udf/udf-2016.ts"
import { parseUdfUri, printUdfUri } from "../../../src/crypto/udf/uri.ts"
import { fromHex, meshVector, meshVectors, toHex } from "../mesh-vectors.ts"

const octets = (text: string) => new Uint8Array(Buffer.from(text))
const DIGEST = "MDDK-7N6A-727A-JZNO-STRX-XKS7-DJAF"

describe("published digests", () => {
  const rows = [
    ...meshVectors("udf").filter(({ inputs }) => inputs.algorithm),
    ...meshVectors("unit_tests")
      .filter(({ name }) => name.startsWith("unit-digest-"))
      .flatMap(({ name, inputs, expected }) => [
        { name: `${name} SHA-2`, inputs: { ...inputs, algorithm: "SHA-2-512", bits: 140 }, expected: expected.sha2 },
        { name: `${name} SHA-3`, inputs: { ...inputs, algorithm: "SHA-3-512", bits: 140 }, expected: expected.sha3 },
      ]),
  ]
  for (const { name, inputs, expected } of rows)
    test(name, () => {
      const udf = contentUdf(octets(inputs.data_utf8), inputs.contentType, inputs.algorithm as UdfHash)
      expect(presentUdf(udf, inputs.bits)).toBe(expected)
      expect(presents(parseUdf(expected), udf)).toBe(true)
    })

  test("the digest that is typed is the second of two", () => {
    const { inputs, expected } = meshVector("udf", "content-digest-sha2-intermediate")
    expect(toHex(contentUdf(octets(inputs.data_utf8), inputs.contentType))).toBe(`60${expected.tcdv}`)
  })

  test("the type counts zero bits at the digest's end, the data begins with its first octet", () => {
    const { inputs } = meshVector("udf", "content-digest-sha2-compressed20")
    const udf = contentUdf(octets(inputs.data_utf8), inputs.contentType)
    expect(udf[0]).toBe(97)
    expect(toHex(udf.subarray(-3))).toBe("a00000")
  })
})

describe("published authenticators", () => {
  const rows = [...meshVectors("udf"), ...meshVectors("unit_tests")].filter(
    ({ inputs }) => inputs.key ?? inputs.key_utf8,
  )
  for (const { name, inputs, expected } of rows.filter(({ inputs }) => inputs.data_utf8))
    test(name, () => {
      const udf = authenticatorUdf(inputs.key ?? inputs.key_utf8, octets(inputs.data_utf8), inputs.contentType)
      expect(presentUdf(udf)).toBe(expected.udf)
      if (expected.mac) expect(toHex(udf)).toBe(`00${expected.mac}`)
    })

  test("four are looked at", () => expect(rows.filter(({ inputs }) => inputs.data_utf8)).toHaveLength(4))
})

describe("keys", () => {
  test("the nonce of the drafts has 16 octets", () => {
    const { inputs, expected } = meshVector("udf", "nonce-parse")
    expect(parseUdf(inputs.udf)).toMatchObject({ kind: "nonce", type: expected.type })
    expect(dataOfUdf(inputs.udf, "nonce")).toHaveLength(expected.bytes)
  })

  test("published wrong: the key of the drafts' example has no type octet, so it is no UDF", () => {
    const { expected } = meshVector("udf", "encryption-key-broken-example")
    expect(() => parseUdf(expected)).toThrow("type is not known")
  })

  test("the content identifier of an EARL", () => {
    const { inputs, expected } = meshVector("udf", "earl-content-identifier-new")
    expect(contentIdentifier(inputs.key_udf)).toBe(expected)
    // It has an A more than its octets need, which is part of what is hashed.
    expect(encryptionKeyUdf(dataOfUdf(inputs.key_udf, "key"))).toBe(inputs.key_udf.slice(0, -1))
    expect(parseUdf(inputs.key_udf).text).toBe(inputs.key_udf)
  })

  for (const { name, inputs, expected } of meshVectors("earl_claims").filter(({ verified }) => verified))
    test(`${name}: how it is named and claimed`, () => {
      const uri = parseUdfUri(inputs.connectUri)
      expect(uri).toMatchObject({ kind: "connect", account: "maker@example.com" })
      expect(printUdfUri(uri)).toBe(inputs.connectUri)
      const key = uri.udf.data
      expect(toHex(key)).toBe(inputs.key)
      expect(publicationId(key)).toBe(expected.publicationId)
      expect(publicationAuthenticator(key)).toBe(expected.authenticator)
      expect(claimAuthenticator(key, "service", inputs.claimant)).toBe(expected.serviceAuthenticate)
      expect(claimAuthenticator(key, "device", inputs.claimant)).toBe(expected.deviceAuthenticate)
    })

  for (const { name, expected } of meshVectors("earl_claims").filter(({ verified }) => !verified))
    test(`${name}: was drawn, not derived; it is read as any key`, () => {
      expect(parseUdf(expected.pin)).toMatchObject({ kind: "key", type: 32, text: expected.pin })
    })
})

test("the UDF of a list has its type octet twice", () => {
  // What the profile of alice@example.com in ProtocolConnectRequest.md (2024) is called.
  const root =
    "601251de34763e58dd624e6ac5b59d1d8d2b4d811a140907637326b11f33bcdd43af7dd19cb50bdd386b1bd0cc5816773fef19c86cf229a418c1e728d9952d70ac"
  expect(presentUdf(listUdf([fromHex(root)]))).toBe("MBQC-7OHA-RNBA-FRDL-R4GI-YQHA-DL36")
})

describe("fingerprints of 2016", () => {
  for (const { name, inputs, expected } of meshVectors("udf_2016"))
    test(name, () => {
      const key = sequence(integer(Buffer.from(inputs.n, "base64url")), integer(Buffer.from(inputs.e, "base64url")))
      const info = sequence(sequence(oid("1.2.840.113549.1.1.1"), nil()), bitString(key))
      expect(udf2016(info, KEY_CONTENT_TYPE_2016, 150)).toBe(expected.udf)
      expect(parseUdf2016(expected.udf.toLowerCase()).text).toBe(expected.udf)
    })

  test("groups of five are read by that reader only", () => {
    expect(() => parseUdf("MB2GK-6DUF5-YGYYL-JNY5E-RWSHZ")).toThrow("groups")
    expect(parseUdf2016("MB2GK-6DUF5-YGYYL-JNY5E-RWSHZ").digest).toHaveLength(14)
    expect(() => parseUdf2016(DIGEST)).toThrow("groups of five")
  })
})

describe("presentation", () => {
  const good: [name: string, text: string][] = [
    ["upper case in groups", DIGEST],
    ["lower case", DIGEST.toLowerCase()],
    ["without dashes", DIGEST.replaceAll("-", "")],
  ]
  for (const [name, text] of good) test(name, () => expect(parseUdf(text).text).toBe(DIGEST))

  const bad: [name: string, text: string][] = [
    ["nothing", ""],
    ["a letter that Base32 has not", "MDDK-7N6A-727A-JZNO-STRX-XKS7-DJA1"],
    ["a blank", "MDDK-7N6A-727A-JZNO-STRX-XKS7-DJA "],
    ["dashes elsewhere", "MDD-K7N6A-727A-JZNO-STRX-XKS7-DJAF"],
    ["a dash too many", "MDDK-7N6A-727A-JZNO-STRX-XKS7-DJAF-"],
    ["a digest that names next to nothing", "MDDK-7N6A-727A-JZNO"],
    ["a key that is cut off", "EAGB-5GUQ-A7VV-X4M7-5L6V-GAT6-CATI"],
    ["a key with bits left over", "EAGB-5GUQ-A7VV-X4M7-5L6V-GAT6-CATI-YB"],
    ["a type without data", "EA"],
    ["a type that there is not", "7AAA-AAAA"],
    ["a letter whose upper case is one of Base32's", "MDDK-7N6A-727A-JZNO-ſTRX-XKS7-DJAF"],
    ["more than any key has", "E".repeat(3_000)],
  ]
  for (const [name, text] of bad)
    test(`refuses ${name}`, () =>
      expect(() => parseUdf(text)).toThrow(expect.objectContaining({ code: "UDF_MALFORMED" })))

  test("the longest that is presented is read, one octet more is not presented", () => {
    const longest = Uint8Array.from({ length: 1_024 }, (_, at) => (at === 0 ? 112 : 255))
    expect(parseUdf(presentUdf(longest)).data).toHaveLength(1_023)
    expect(() => presentUdf(Uint8Array.of(...longest, 0))).toThrow("too much")
  })
})

describe("comparison", () => {
  const udf = contentUdf(octets("UDF Data Value"), "text/plain")
  const at = (bits: number) => parseUdf(presentUdf(udf, bits))

  test("a prefix is the same, the longer one is kept", () => {
    for (const bits of [100, 105, 120, 125, 128, 136, 140, 200, 260, 280, 440, 520]) {
      expect(sameUdf(at(bits), at(520))).toBe(true)
      expect(sameUdf(at(520), at(bits))).toBe(true)
      expect(morePrecise(at(bits), at(520)).text).toBe(at(520).text)
      expect(presents(at(bits), udf)).toBe(true)
    }
  })

  test("fewer bits than asked for are not enough", () => {
    expect(sameUdf(at(100), at(520), 128)).toBe(false)
    expect(sameUdf(at(128), at(520), 128)).toBe(true)
  })

  test("another digest is another, and so is one of another type", () => {
    const other = contentUdf(octets("UDF Data Valuf"), "text/plain")
    expect(sameUdf(at(140), parseUdf(presentUdf(other)))).toBe(false)
    expect(sameUdf(at(140), parseUdf(presentUdf(Uint8Array.of(97, ...udf.subarray(1)))))).toBe(false)
    expect(presents(parseUdf(presentUdf(other)), udf)).toBe(false)
  })

  test("the last character counts", () => {
    for (const last of "BCDEGZ") expect(sameUdf(parseUdf(DIGEST.slice(0, -1) + last), at(520))).toBe(false)
  })

  test("keys are the same only when they are equal", () => {
    const [short, long] = [
      parseUdf(encryptionKeyUdf(new Uint8Array(15))),
      parseUdf(encryptionKeyUdf(new Uint8Array(25))),
    ]
    expect(sameUdf(short, long)).toBe(false)
    expect(sameUdf(short, parseUdf(short.text.toLowerCase()))).toBe(true)
  })

  test("the constants are the library's names, not media types", () => {
    expect([CONTENT_TYPE.key, CONTENT_TYPE.encryptionKey, CONTENT_TYPE.list]).toEqual([
      "PKIXKey",
      "UDFEncryption",
      "UdfList",
    ])
  })
})
