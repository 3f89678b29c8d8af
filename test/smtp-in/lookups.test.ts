import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { dnsLookup, type Lookup, Lookups } from "../../src/smtp-in/lookups.ts"
import { DnsServer } from "../harness/dns-server.ts"

let server: DnsServer
let lookup: Lookup

beforeAll(async () => {
  server = await DnsServer.start({
    "one.test TXT": ["a", ["b", "c"]],
    "one.test A": ["192.0.2.1"],
    "bad.test TXT": "SERVFAIL",
  })
  lookup = dnsLookup([server.address])
})

afterAll(async () => server[Symbol.asyncDispose]())

describe("what DNS says (RFC 2308)", () => {
  const rows: [name: string, domain: string, type: string, want: unknown][] = [
    ["records, each with its strings", "one.test", "TXT", [["a"], ["b", "c"]]],
    ["an address", "one.test", "A", ["192.0.2.1"]],
    ["a name without such records", "one.test", "MX", "ENODATA"],
    ["no such name", "two.test", "TXT", "ENOTFOUND"],
    ["a server that fails is no answer", "bad.test", "TXT", "ESERVFAIL"],
  ]
  for (const [name, domain, type, want] of rows)
    test(name, async () => {
      const got = await lookup(domain, type).catch((error: { code?: string }) => error.code)
      expect(got).toEqual(want)
    })

  test("no server is no answer", async () => {
    const nobody = dnsLookup(["127.0.0.1:1"])
    await expect(nobody("one.test", "TXT")).rejects.toMatchObject({
      code: expect.not.stringMatching(/^ENO(?:TFOUND|DATA)$/),
    })
  })
})

describe("the look-ups of one message", () => {
  test("ask each question once, whatever its case", async () => {
    const asked: string[] = []
    const lookups = new Lookups(async (name, type) => {
      asked.push(`${name} ${type}`)
      return [["x"]]
    })
    await Promise.all([lookups.ask("a.test", "TXT"), lookups.ask("A.test", "TXT"), lookups.ask("a.test", "A")])
    expect(asked).toEqual(["a.test TXT", "a.test A"])
  })

  test("are bounded: beyond that there is no answer, which is not no record", async () => {
    const lookups = new Lookups(async () => [["x"]])
    const codes = await Promise.all(
      Array.from({ length: 250 }, (_, n) =>
        lookups.ask(`${n}.test`, "TXT").then(
          () => "",
          (error: { code: string }) => error.code,
        ),
      ),
    )
    expect(codes.filter((code) => code === "ETIMEOUT")).toHaveLength(50)
  })

  test("are for names only: what node:dns would cut off at a NUL is not asked for", async () => {
    const asked: string[] = []
    const lookups = new Lookups(async (name) => {
      asked.push(name)
      return [["x"]]
    })
    const names = ["s._domainkey.attacker.test\0._domainkey.sealer.test", "a.test\r\n", "b\u00fccher.test", ""]
    for (const name of names) await expect(lookups.ask(name, "TXT")).rejects.toMatchObject({ code: "EBADNAME" })
    expect(asked).toEqual([])
  })

  test("end with the message", async () => {
    const lookups = new Lookups(() => new Promise(() => undefined))
    const answer = lookups.ask("a.test", "TXT")
    lookups.end()
    await expect(answer).rejects.toMatchObject({ code: "ETIMEOUT" })
    await expect(lookups.ask("b.test", "TXT")).rejects.toMatchObject({ code: "ETIMEOUT" })
  })
})
