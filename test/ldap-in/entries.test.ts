import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { GatewayError } from "../../src/errors.ts"
import { addressesIn, entryOf, MAX_ADDRESSES, matches, sameDn, writeEntry } from "../../src/ldap-in/entries.ts"
import { readRequest } from "../../src/ldap-in/requests.ts"
import { formatAddress, parseAddress } from "../../src/message/address.ts"
import { parseFilter } from "../../src/net/ldap-filter.ts"
import { piecesOf, readMessage } from "../../src/net/ldap-message.ts"

const BASE = "o=example.test"
const RUNS = Number(process.env["FUZZ_RUNS"] ?? 500)
const certificate = Uint8Array.of(0x30, 0)
const anna = entryOf(
  parseAddress("anna@a.test"),
  { name: "Anna Example", certificates: [certificate], chain: [] },
  BASE,
)

describe("addresses that a filter is about", () => {
  const rows: [filter: string, want: string[]][] = [
    ["(mail=anna@a.test)", ["anna@a.test"]],
    ["(MAIL=anna@a.test)", ["anna@a.test"]],
    ["(|(mail=anna@a.test)(mail=ANNA@a.test)(mail=bert@a.test))", ["anna@a.test", "bert@a.test"]],
    ["(mail=anna@a.test*)", ["anna@a.test"]],
    ["(mail=ann*)", []],
    ["(mail=*anna@a.test*)", ["anna@a.test"]],
    ["(mail=*a.test)", []],
    ["(!(mail=anna@a.test))", []],
    ["(cn=anna@a.test)", []],
    ["(mail=no address)", []],
  ]
  for (const [filter, want] of rows)
    test(filter, () => {
      const found = addressesIn(parseFilter(filter)).map((address) => formatAddress(address).toLowerCase())
      expect(found).toEqual(want)
    })

  test("a hundred are twenty: each is looked for in every source", () => {
    const terms = Array.from({ length: 100 }, (_, at) => `(mail=p${at}@a.test)`).join("")
    expect(addressesIn(parseFilter(`(|${terms})`))).toHaveLength(MAX_ADDRESSES)
  })
})

describe("an entry and a filter", () => {
  const rows: [filter: string, want: boolean | null][] = [
    ["(mail=ANNA@A.test)", true],
    ["(objectClass=person)", true],
    ["(&)", true],
    ["(|)", false],
    ["(cn=An*mp*e)", true],
    ["(cn=Anna Example*Example)", false],
    ["(cn=*aa*)", false],
    ["(userCertificate=*)", true],
    ["(usercertificate;binary=*)", true],
    ["(colour=red)", null],
    ["(!(colour=red))", null],
    ["(&(colour=red)(cn=Bert))", false],
    ["(|(colour=red)(cn=Anna Example))", true],
    ["(&(colour=red)(cn=Anna Example))", null],
  ]
  for (const [filter, want] of rows) test(filter, () => expect(matches(parseFilter(filter), anna)).toBe(want))
})

test("a name with signs of its own is one value of a distinguished name", () => {
  const odd = entryOf(parseAddress('"a,b+c= "@a.test'), { name: null, certificates: [certificate], chain: [] }, BASE)
  expect(odd.dn).toBe(String.raw`mail=\"a\,b\+c\= \"@a.test,o=example.test`)
  expect([sameDn("O=Example.test ", BASE), sameDn("o = example.test", BASE), sameDn("o=other", BASE)]).toEqual([
    true,
    true,
    false,
  ])
})

test("types only, nothing, and everything", () => {
  const written = (attributes: readonly string[], typesOnly = false): number => {
    const request = {
      kind: "search",
      base: BASE,
      scope: "sub",
      maxEntries: 0,
      maxSeconds: 0,
      filter: parseFilter("(cn=*)"),
    } as const
    const [entry] = piecesOf(writeEntry(anna, { ...request, attributes, typesOnly }))
    const [, list] = piecesOf(entry?.content ?? new Uint8Array())
    return piecesOf(list?.content ?? new Uint8Array()).length
  }
  expect([written([]), written(["*"]), written(["1.1"]), written(["mail", "cn"]), written(["mail"], true)]).toEqual([
    7, 7, 0, 2, 1,
  ])
})

test("whatever a client sends is a request or refused", () =>
  fc.assert(
    fc.property(
      fc.constantFrom(0x60, 0x63, 0x77, 0x42, 0x50, 0x66, 0x4a, 0x61, 0x30),
      fc.array(
        fc.tuple(fc.constantFrom(0x02, 0x04, 0x0a, 0x01, 0x30, 0x80, 0xa3, 0x87), fc.uint8Array({ maxLength: 6 })),
        { maxLength: 9 },
      ),
      (tag, parts) => {
        const content = Buffer.concat(parts.map(([part, octets]) => Uint8Array.of(part, octets.length, ...octets)))
        const octets = Uint8Array.of(0x30, content.length + 5, 2, 1, 1, tag, content.length, ...content)
        try {
          expect(readRequest(readMessage(octets).operation).kind).toMatch(/^[a-z]+$/)
        } catch (error) {
          if (!(error instanceof GatewayError)) throw error
        }
      },
    ),
    { numRuns: RUNS },
  ))
