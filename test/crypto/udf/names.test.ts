import { describe, expect, test } from "vitest"
import { parseStrongName, printStrongName } from "../../../src/crypto/udf/sin.ts"
import { parseUdf } from "../../../src/crypto/udf/udf.ts"
import { parseUdfUri, printUdfUri } from "../../../src/crypto/udf/uri.ts"
import { meshVector } from "../mesh-vectors.ts"

const malformed = expect.objectContaining({ code: "UDF_MALFORMED" })
const DIGEST = "MBQC-7OHA-RNBA-FRDL-R4GI-YQHA-DL36"

describe("strong names", () => {
  test("both forms of the drafts", () => {
    const { inputs, expected } = meshVector("udf", "sin")
    for (const [at, address] of expected.entries()) {
      const [local, name] = address.split("@")
      const strong = parseStrongName(name)
      expect(strong).toEqual({
        domain: "example.com",
        policy: parseUdf(inputs.udf),
        place: at === 0 ? "first" : "last",
      })
      if (strong) expect(`${local}@${printStrongName(strong)}`).toBe(address)
    }
  })

  test("a plain name is none", () => expect(parseStrongName("mail.example.com")).toBeNull())
  test("case does not count", () => expect(parseStrongName(`MM--${DIGEST}.Example.COM`)?.domain).toBe("example.com"))

  const rows: [name: string, text: string][] = [
    ["a label that is no UDF", "mm--hello.example.com"],
    ["a label with nothing behind it", "mm--.example.com"],
    ["a label of a key", "mm--eagb-5guq-a7vv-x4m7-5l6v-gat6-cati-ya.example.com"],
    ["a label in the middle", `mail.mm--${DIGEST}.example.com`],
    ["two labels", `mm--${DIGEST}.mm--${DIGEST}`],
    ["nothing but the label", `mm--${DIGEST}`],
    ["a label above 63 octets", `mm--${DIGEST}-${DIGEST}.example.com`],
    ["a thousand labels", `mm--${DIGEST}.${"a.".repeat(1_000)}com`],
  ]
  for (const [name, text] of rows) test(`refuses ${name}`, () => expect(() => parseStrongName(text)).toThrow(malformed))

  test("a policy of 240 bits fits, one of 280 does not", () => {
    const named = (bits: number) =>
      printStrongName({ domain: "a", policy: parseUdf("M".repeat(bits / 5)), place: "first" })
    expect(named(240)).toHaveLength(65)
    expect(() => named(280)).toThrow(malformed)
  })
})

describe("URIs", () => {
  const rows: [uri: string, want: object][] = [
    [`udf:${DIGEST}`, { kind: "name" }],
    ["udf://example.com/EAGB-5GUQ-A7VV-X4M7-5L6V-GAT6-CATI-YA", { kind: "locator", domain: "example.com" }],
    [`udf://example.com:8443/${DIGEST}`, { kind: "locator", domain: "example.com:8443" }],
    [
      "mcd://maker@example.com/EBH3-DT6M-G2WA-EF7E-DA42-DN55-7E",
      { kind: "connect", purpose: "device", account: "maker@example.com" },
    ],
    ["mcu://alice@example.com/ADE7-U5DR-2YNJ-XKVX-4RUE-SVL5-5I", { kind: "connect", purpose: "contact" }],
  ]
  for (const [uri, want] of rows)
    test(uri, () => {
      expect(parseUdfUri(uri)).toMatchObject(want)
      expect(printUdfUri(parseUdfUri(uri))).toBe(uri)
    })

  const bad = [
    "",
    DIGEST,
    `udf:/${DIGEST}`,
    `udf:///${DIGEST}`,
    `udf://exa mple/${DIGEST}`,
    `udf://user@example.com/${DIGEST}`,
    `udf:${DIGEST}?x`,
    `udf:${DIGEST}#x`,
    `udf://example.com/a/${DIGEST}`,
    `mcd:${DIGEST}`,
    `mcd://example.com/${DIGEST}`,
    `https://example.com/${DIGEST}`,
    `udf:${"A".repeat(5_000)}`,
  ]
  for (const uri of bad) test(`refuses "${uri.slice(0, 60)}"`, () => expect(() => parseUdfUri(uri)).toThrow(malformed))
})
