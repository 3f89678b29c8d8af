import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { parseAllDocuments } from "yaml"
import { type Address, parseAddress } from "../../src/message/address.ts"
import { authenticate } from "../../src/smtp-in/authenticate.ts"
import { KnownKeys } from "../../src/smtp-in/known-keys.ts"
import type { Lookup } from "../../src/smtp-in/lookups.ts"

/** The public test suites (test/vectors/spf, test/vectors/arc, each with its licence), through the verdict function. */
interface SpfScenario {
  readonly description: string
  readonly tests: Readonly<Record<string, SpfCase>>
  readonly zonedata: Readonly<Record<string, readonly ZoneEntry[]>>
}

interface SpfCase {
  readonly helo: string
  readonly host: string
  readonly mailfrom: string
  readonly result: string | readonly string[]
}

type ZoneEntry = "TIMEOUT" | Readonly<Record<string, string | readonly unknown[]>>

interface ArcScenario {
  readonly description: string
  readonly tests: Readonly<Record<string, { readonly message: string; readonly cv: string | null }>>
  readonly "txt-records"?: Readonly<Record<string, string>> | ""
}

describe("RFC 7208 test suite (openspf.org, 2014.04)", () => {
  const scenarios = documents<SpfScenario>("test/vectors/spf/rfc7208-tests.yml")

  test("is there (203 cases, three of them under a name that another has too)", () => {
    expect(scenarios.flatMap(({ tests }) => Object.keys(tests))).toHaveLength(200)
  })

  for (const { description, tests, zonedata } of scenarios)
    test(description, async () => {
      const lookup = spfZone(zonedata)
      const wrong: string[] = []
      for (const [name, { helo, host, mailfrom, result }] of Object.entries(tests)) {
        const sender = senderOf(mailfrom)
        if (sender === "refused") continue
        const { results } = await authenticate(
          { sender, remote: host, helo },
          once("Subject: x\r\n\r\n"),
          means(lookup),
        )
        const wanted = [result].flat()
        if (!wanted.includes(results.spf)) wrong.push(`${name}: ${results.spf}, not ${wanted}`)
      }
      expect(wrong).toEqual([])
    })
})

describe("ARC validation suite (ValiMail)", () => {
  for (const { description, tests, "txt-records": records } of documents<ArcScenario>(
    "test/vectors/arc/arc-draft-validation-tests.yml",
  ))
    test(description, async () => {
      const wrong: string[] = []
      const zone = new Map(Object.entries(records || {}).map(([name, text]) => [name, text.replace(/\n/g, "")]))
      for (const [name, { message, cv }] of Object.entries(tests)) {
        const content = once(message.replace(/\r?\n/g, "\r\n"))
        const facts = { sender: null, remote: "192.0.2.1", helo: "x.test" }
        const { results } = await authenticate(
          facts,
          content,
          means(async (asked, type) => {
            const found = type === "TXT" ? zone.get(asked) : undefined
            if (found === undefined) throw Object.assign(new Error(asked), { code: "ENOTFOUND" })
            return [[found]]
          }),
        )
        // The suite leaves cv empty for chains that are broken.
        const want = name in STRICTER ? "fail" : cv === "" ? "fail" : (cv ?? "none").toLowerCase()
        if (results.arc !== want) wrong.push(`${name}: ${results.arc}, not ${want}`)
      }
      expect(wrong).toEqual([])
    })
})

/** Where RFC 8617 is read more strictly than the suite's authors did: "pass" there. */
const STRICTER: Readonly<Record<string, string>> = {
  ams_fields_c_na: "without c= the message is signed as simple/simple (RFC 6376 §3.5); the suite signs relaxed/relaxed",
  ams_fields_h_empty: "h= names no field, so not From either (RFC 6376 §6.1.1)",
}

function documents<T>(file: string): T[] {
  const parsed = parseAllDocuments(readFileSync(file, "utf8"), { uniqueKeys: false })
  return [...parsed].map((one) => one.toJS() as T | null).filter((one) => one !== null)
}

function means(lookup: Lookup) {
  return {
    authservId: "mx.example.test",
    lookup,
    now: () => new Date("2018-01-01T00:00:00Z"),
    sample: () => 0,
    keys: new KnownKeys(),
    trustedSealers: [],
  }
}

/** What our own parser refuses at MAIL never comes to authentication. */
function senderOf(text: string): Address | null | "refused" {
  if (text === "") return null
  try {
    return parseAddress(text)
  } catch {
    return "refused"
  }
}

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text)
}

/** As pyspf's driver reads the zones: SPF records stand for TXT where a name has none; TIMEOUT is no answer. */
function spfZone(zone: SpfScenario["zonedata"]): Lookup {
  const names = new Map(Object.entries(zone).map(([name, entries]) => [name.toLowerCase(), entries]))
  const answer = (name: string, type: string, depth = 0): string[][] | string[] => {
    const entries = names.get(name.toLowerCase().replace(/\.$/, ""))
    const fail = (code: string) => Object.assign(new Error(`${type} ${name}: ${code}`), { code })
    if (!entries) throw fail("ENOTFOUND")
    const found: unknown[] = []
    for (const entry of entries) {
      if (entry === "TIMEOUT") {
        if (found.length === 0) throw fail("ETIMEOUT")
        continue
      }
      const cname = entry["CNAME"]
      if (typeof cname === "string" && type !== "CNAME" && depth < 10) return answer(cname, type, depth + 1)
      const hasTxt = entries.some((other) => typeof other === "object" && "TXT" in other)
      const value = entry[type] ?? (type === "TXT" && !hasTxt ? entry["SPF"] : undefined)
      if (value === undefined || value === "NONE") continue
      if (value === "TIMEOUT") throw fail("ETIMEOUT")
      if (type === "TXT") found.push([value].flat().map((part) => Buffer.from(String(part)).toString("latin1")))
      else if (type === "MX") {
        const [priority, exchange] = value as [number, string]
        found.push({ priority, exchange })
      } else found.push(value)
    }
    if (found.length === 0) throw fail("ENODATA")
    return found as string[][]
  }
  return async (name, type) => answer(name, type)
}
