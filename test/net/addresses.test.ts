import { afterAll, beforeAll, expect, test } from "vitest"
import { dnsAddresses } from "../../src/net/addresses.ts"
import { DnsServer } from "../harness/dns-server.ts"

let server: DnsServer
beforeAll(async () => {
  server = await DnsServer.start({
    "both.example A": ["192.0.2.1", "192.0.2.2"],
    "text.example TXT": [["an empty name is a name, too"]],
    "half.example A": ["192.0.2.3"],
    "half.example AAAA": "SERVFAIL",
    "broken.example A": "SERVFAIL",
    "broken.example AAAA": "SERVFAIL",
    "doubtful.example AAAA": "SERVFAIL",
    "silent.example A": "silence",
    "silent.example AAAA": "silence",
  })
})
afterAll(async () => server?.[Symbol.asyncDispose]())

const answers: [host: string, said: object][] = [
  ["both.example", { kind: "addresses", addresses: ["192.0.2.1", "192.0.2.2"] }],
  ["half.example", { kind: "addresses", addresses: ["192.0.2.3"] }],
  ["a.localhost", { kind: "addresses", addresses: ["127.0.0.1"] }],
  ["text.example", { kind: "no-address" }],
  ["nowhere.example", { kind: "no-name" }],
]
test.each(answers)("%s: an answer", async (host, said) => {
  expect(await dnsAddresses([server.address])(host)).toEqual(said)
})

test.each(["broken.example", "doubtful.example", "silent.example"])("%s: no answer", async (host) => {
  await expect(dnsAddresses([server.address], 50)(host)).rejects.toThrow()
})
