import fc from "fast-check"
import { expect, test } from "vitest"
import { matchesMx, parseStsPolicy, stsIdOf, stsPolicyLines } from "../../src/smtp-out/sts-policy.ts"
import { reportPlaces } from "../../src/smtp-out/tls-report.ts"
import { tlsaText, usableRecords } from "../../src/smtp-out/tlsa.ts"

const numRuns = Number(process.env["FUZZ_RUNS"] ?? 2_000)

/** Texts near to what is meant: words of the formats in any order, and anything. */
const near = (...words: readonly string[]) =>
  fc
    .array(fc.oneof(fc.constantFrom(...words), fc.string({ maxLength: 10 })), { maxLength: 30 })
    .map((parts) => parts.join(""))

test("whatever a policy host says, it is a policy that reads the same again, or none", () => {
  const text = near(
    "version: STSv1\n",
    "mode: enforce\r\n",
    "mode: none\n",
    "mx: a.example\n",
    "mx: *.b.example\r\n",
    "max_age: 86400\n",
    "\n",
    ":",
  )
  fc.assert(
    fc.property(text, (policy) => {
      const parsed = parseStsPolicy(policy)
      if (parsed.kind === "policy") expect(parseStsPolicy(stsPolicyLines(parsed.policy).join("\r\n"))).toEqual(parsed)
    }),
    { numRuns },
  )
})

test("a pattern with a star is for one label, whatever it is", () => {
  const label = fc.stringMatching(/^[a-z0-9]{1,5}$/)
  fc.assert(
    fc.property(
      fc.array(label, { minLength: 1, maxLength: 5 }),
      fc.array(label, { minLength: 1, maxLength: 4 }),
      (host, below) => {
        const fits = host.length === below.length + 1 && host.slice(1).join() === below.join()
        expect(matchesMx(host.join("."), [`*.${below.join(".")}`])).toBe(fits)
      },
    ),
    { numRuns },
  )
})

test("whatever DNS says, there is an answer", () => {
  const record = near(
    "v=STSv1;",
    "v=TLSRPTv1;",
    "id=1;",
    "rua=",
    "mailto:a@b.example",
    "https://b.example/",
    ",",
    ";",
    "%",
    "!",
  )
  fc.assert(
    fc.property(fc.array(record, { maxLength: 3 }), (records) => {
      expect(stsIdOf(records) ?? "a").toMatch(/^[A-Za-z0-9]{1,32}$/)
      for (const place of reportPlaces(records))
        expect(place.kind === "mailto" || place.url.protocol === "https:").toBe(true)
    }),
    { numRuns },
  )
  const octet = fc.integer({ min: 0, max: 255 })
  const tlsa = fc.record({
    usage: octet,
    selector: octet,
    matchingType: octet,
    association: fc.uint8Array({ maxLength: 70 }),
  })
  fc.assert(
    fc.property(fc.array(tlsa), (records) => {
      for (const usable of usableRecords(records))
        expect(tlsaText(usable)).toMatch(/^[23] [01] (?:0 (?:[0-9a-f]{2})+|1 [0-9a-f]{64}|2 [0-9a-f]{128})$/)
    }),
    { numRuns },
  )
})

test("64 KB cost no more than reading them", () => {
  const started = process.cpuUsage()
  const blanks = " ".repeat(65_000)
  for (const text of [
    `mx:a${blanks}b`,
    `mx: ${"-".repeat(65_000)}`,
    `mx: ${"a.".repeat(32_000)}-`,
    "mx:\n".repeat(16_000),
  ])
    expect(parseStsPolicy(`version: STSv1\nmode: enforce\nmax_age: 1\n${text}`).kind).toBe("invalid")
  expect(stsIdOf([`v=STSv1${blanks}`, `v=STSv1;${blanks}=;`.repeat(2)])).toBe(null)
  expect(reportPlaces([`v=TLSRPTv1;${blanks}rua=${blanks},${"mailto:,".repeat(8_000)}`])).toEqual([])
  expect(process.cpuUsage(started).user / 1_000).toBeLessThan(2_000)
})
