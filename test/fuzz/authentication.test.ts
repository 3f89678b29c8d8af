import fc from "fast-check"
import { expect, test } from "vitest"
import { type Given, verdictOf } from "../smtp-in/verdict-of.ts"

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 250)
const SIGNED: Given = {
  sender: "bounce@other.test",
  sign: [["author.test", "ed", "ed25519"]],
  seals: [["list.test", "list.test; dmarc=pass header.from=author.test"]],
  trustedSealers: ["list.test"],
}
const ZONE = {
  "author.test TXT": ["v=spf1 include:_spf.author.test exists:%{i}.%{l}.x.test mx ptr redirect=other.test"],
  "_spf.author.test TXT": ["v=spf1 ip4:198.51.100.0/24 a:%{d} -all"],
  "_dmarc.author.test TXT": ["v=DMARC1; p=reject; sp=none; np=quarantine; adkim=s; rua=mailto:x@y.test"],
  "default._bimi.author.test TXT": ["v=BIMI1; l=https://a.test/x.svg; a="],
} as const

const fresh = fc.oneof(
  fc.constantFrom(
    "\0",
    "\r\n",
    "\r\n ",
    ";",
    "=",
    '"',
    "(",
    ")",
    "\\",
    "<",
    ">",
    "@",
    ",",
    ":",
    "\xff",
    "a".repeat(300),
  ),
  fc.string({ unit: "binary", maxLength: 4 }).map((text) => Buffer.from(text).toString("latin1")),
)
const change = fc.record({ place: fc.integer({ min: 0, max: 999 }), skip: fc.integer({ min: 0, max: 5 }), fresh })
const changes = fc.array(change, { maxLength: 4 })

function changed(text: string, how: readonly { place: number; skip: number; fresh: string }[]): string {
  return how.reduce((rest, { place, skip, fresh: put }) => {
    const at = Math.floor((rest.length * place) / 1000)
    return rest.slice(0, at) + put + rest.slice(at + skip)
  }, text)
}

function altered(records: readonly string[], how: readonly { place: number; skip: number; fresh: string }[]): string[] {
  return records.map((record) => changed(record, how))
}

test("whatever arrives, and whatever DNS says, there is a verdict and one field", () =>
  fc.assert(
    fc.asyncProperty(changes, changes, fc.constantFrom(...Object.keys(ZONE)), async (octets, record, name) => {
      const zone = { ...ZONE, [name]: altered(ZONE[name as keyof typeof ZONE], record) }
      const { field } = await verdictOf({ ...SIGNED, zone, alterSealed: (message) => changed(message, octets) })
      expect(field).toMatch(/^Authentication-Results: mx\.example\.test;\r\n\t(?:[ -~\t]+\r\n[ \t])*[ -~]+\r\n$/)
      expect(field.match(/[\t ]dmarc=/g)).toHaveLength(1)
    }),
    { numRuns: RUNS },
  ))

test("however it is written, nobody is believed to be an author that refuses what is not signed", () =>
  fc.assert(
    fc.asyncProperty(changes, async (octets) => {
      const { author, decision } = await verdictOf({
        sender: "x@other.test",
        zone: ZONE,
        alter: (m) => changed(m, octets),
      })
      if (author === "author.test") expect(decision.kind).not.toBe("accept")
    }),
    { numRuns: RUNS },
  ))
