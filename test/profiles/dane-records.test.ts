import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { parseAddress } from "../../src/message/address.ts"
import { daneName, MAX_RECORDS, readSmimea } from "../../src/profiles/dane-records.ts"

describe("the name of an address", () => {
  const HUGH = "c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6"
  const rows: [name: string, address: string, want: string][] = [
    ["as RFC 7929 §3 has it", "hugh@example.com", `${HUGH}._openpgpkey.example.com`],
    ["quotes are no part of it", '"hugh"@example.com', `${HUGH}._openpgpkey.example.com`],
    ["the domain is in A-labels", "hugh@BÜCHER.example", `${HUGH}._openpgpkey.xn--bcher-kva.example`],
  ]
  for (const [name, address, want] of rows)
    test(name, () => expect(daneName(parseAddress(address), "OPENPGPKEY")).toBe(want))

  test("SMIMEA has another label (RFC 8162 §3)", () =>
    expect(daneName(parseAddress("hugh@example.com"), "SMIMEA")).toBe(`${HUGH}._smimecert.example.com`))

  test("only the domain knows whether case and tags matter (RFC 7929 §4)", () => {
    const names = ["hugh", "Hugh", "hugh+tag"].map((local) => daneName(parseAddress(`${local}@a.example`), "SMIMEA"))
    expect(new Set(names).size).toBe(3)
  })

  test("composed and decomposed are one", () =>
    expect(daneName(parseAddress("jose\u0301@a.example"), "SMIMEA")).toBe(
      daneName(parseAddress("jos\u00e9@a.example"), "SMIMEA"),
    ))
})

describe("SMIMEA records", () => {
  const own = Uint8Array.of(0x30, 1)
  const authority = Uint8Array.of(0x30, 2)
  const record = (usage: number, selector: number, matchingType: number, data: Uint8Array): Uint8Array =>
    Uint8Array.of(usage, selector, matchingType, ...data)

  const rows: [name: string, records: Uint8Array[], want: ReturnType<typeof readSmimea>][] = [
    ["none", [], { certificates: [], authorities: [], remarks: [] }],
    [
      "3 0 0 is this very certificate",
      [record(3, 0, 0, own)],
      { certificates: [{ der: own, anchors: [own] }], authorities: [], remarks: [] },
    ],
    [
      "1 0 0 needs a path to a configured root",
      [record(1, 0, 0, own)],
      { certificates: [{ der: own, anchors: [] }], authorities: [], remarks: [] },
    ],
    [
      "an authority of 2 0 0 is what paths may end in",
      [record(1, 0, 0, own), record(2, 0, 0, authority)],
      {
        certificates: [{ der: own, anchors: [authority] }],
        authorities: [authority],
        remarks: ["SMIMEA 2 0 0 holds an authority: the certificate has to come from elsewhere"],
      },
    ],
    [
      "an authority of 0 0 0 is not: it only says which",
      [record(1, 0, 0, own), record(0, 0, 0, authority)],
      {
        certificates: [{ der: own, anchors: [] }],
        authorities: [authority],
        remarks: ["SMIMEA 0 0 0 holds an authority: the certificate has to come from elsewhere"],
      },
    ],
    [
      "digests and keys are no certificates",
      [record(3, 0, 1, own), record(3, 1, 2, own), record(3, 1, 0, own)],
      {
        certificates: [],
        authorities: [],
        remarks: [
          "SMIMEA 3 0 1 holds a digest only: the certificate has to come from elsewhere",
          "SMIMEA 3 1 2 holds a digest only: the certificate has to come from elsewhere",
          "SMIMEA 3 1 0 holds a key only: the certificate has to come from elsewhere",
        ],
      },
    ],
    [
      "what is not defined, and what is cut off",
      [record(4, 0, 0, own), record(3, 2, 0, own), record(255, 255, 255, own), Uint8Array.of(3, 0, 0), Uint8Array.of()],
      {
        certificates: [],
        authorities: [],
        remarks: [
          "SMIMEA 4 0 0 is of a kind that is not defined",
          "SMIMEA 3 2 0 is of a kind that is not defined",
          "SMIMEA 255 255 255 is of a kind that is not defined",
          "a SMIMEA record holds nothing",
          "a SMIMEA record holds nothing",
        ],
      },
    ],
  ]
  for (const [name, records, want] of rows) test(name, () => expect(readSmimea(records)).toEqual(want))

  test("a flood is looked at in part, and said so", () => {
    const { certificates, remarks } = readSmimea(Array(MAX_RECORDS + 5).fill(record(3, 0, 0, own)))
    expect([certificates.length, remarks]).toEqual([
      MAX_RECORDS,
      [`only ${MAX_RECORDS} of ${MAX_RECORDS + 5} SMIMEA records are looked at`],
    ])
  })

  test("whatever stands there is read without a throw, and each record is accounted for", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 8 }), { maxLength: MAX_RECORDS }), (records) => {
        const { certificates, remarks } = readSmimea(records)
        expect(certificates.length + remarks.length).toBe(records.length)
      }),
    )
  })
})
