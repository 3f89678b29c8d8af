import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { armor } from "../../../src/crypto/openpgp/armor.ts"
import { makeAccount } from "../../../src/identity/account.ts"
import { parseAddress } from "../../../src/message/address.ts"
import type { KeySource } from "../../../src/profiles/key.ts"
import { hkps } from "../../../src/profiles/sources/hkps.ts"
import { vks } from "../../../src/profiles/sources/vks.ts"
import { type WebHandler, WebHosts } from "../../harness/web-hosts.ts"
import { makingAt } from "../../identity/people.ts"

const never = new AbortController().signal
const HOST = "keys.example"
const ALICE = parseAddress("Alice+list@example.test")

let web: WebHosts
let alice: Uint8Array
let other: Uint8Array
let now: Date
let sources: { readonly vks: KeySource; readonly hkps: KeySource }

beforeAll(async () => {
  web = await WebHosts.open([HOST])
  alice = await certificateOf("alice+list@example.test")
  other = await certificateOf("alice@example.test")
})
beforeEach(() => {
  now = new Date("2026-11-26T12:00:00Z")
  const server = { host: HOST, ask: web.client(), now: () => now }
  sources = { vks: vks(server), hkps: hkps(server) }
})
afterEach(() => web.reset())
afterAll(async () => web?.[Symbol.asyncDispose]())

async function certificateOf(address: string): Promise<Uint8Array> {
  const { person } = await makeAccount({ address, name: "Alice", formats: ["openpgp"] }, makingAt())
  return person.openpgp?.certificate ?? new Uint8Array()
}

const octets =
  (body: Uint8Array | string): WebHandler =>
  (_request, response) =>
    void response.setHeader("content-type", "application/pgp-keys").end(body)

const paths = [
  ["vks", `https://${HOST}/vks/v1/by-email/Alice%2Blist%40example.test`],
  ["hkps", `https://${HOST}/pks/lookup?op=get&options=mr&exact=on&search=Alice%2Blist%40example.test`],
] as const

describe.each(paths)("%s", (protocol, url) => {
  const lookup = (address = ALICE) => sources[protocol].lookup(address, never)

  test("is asked for the address, and believed as far as a keyserver is", async () => {
    web.answer = octets(armor(alice, "PUBLIC KEY BLOCK"))
    const answer = await lookup()
    expect(web.requests).toEqual([url])
    expect(answer?.remarks).toEqual([])
    expect(answer?.candidates).toMatchObject([
      { format: "openpgp", source: `${protocol} ${HOST}`, trust: "keyserver", place: url, wish: null },
    ])
  })

  test("404: none", async () => {
    expect(await lookup()).toEqual({ candidates: [], remarks: [] })
  })

  test("certificates of others that it finds by the same words are passed over before they are counted", async () => {
    web.answer = octets(armor(Buffer.concat([...Array.from({ length: 20 }, () => other), alice]), "PUBLIC KEY BLOCK"))
    expect((await lookup())?.candidates).toHaveLength(1)
  })

  test("a web page is an answer without a key", async () => {
    web.answer = octets("<html>")
    expect(await lookup()).toEqual({ candidates: [], remarks: ["a web page stands there instead of a key"] })
  })

  test("an address literal is not asked for", async () => {
    expect([await lookup(parseAddress("a@[192.0.2.1]")), web.requests]).toEqual([null, []])
  })

  test.each(["no-name", "no-address"] as const)(
    "a keyserver that DNS does not know is silent, and has not nothing: %s",
    async (kind) => {
      web.dns.set(HOST, { kind })
      await expect(lookup()).rejects.toMatchObject({
        code: "KEY_SOURCE_SILENT",
        message: `${protocol} ${HOST}: has no address`,
      })
    },
  )

  const pauses: [status: number, retryAfter: string | null, seconds: number][] = [
    [429, null, 60],
    [429, "90", 90],
    [429, "Thu, 26 Nov 2026 12:02:00 GMT", 120],
    [429, "nonsense", 60],
    [429, "999999999", 3_600],
    [503, "90", 90],
  ]
  test.each(pauses)("status %i with Retry-After %s: it is left alone for %i s", async (status, retryAfter, seconds) => {
    web.answer = (_request, response) =>
      void response.writeHead(status, retryAfter === null ? {} : { "retry-after": retryAfter }).end()
    await expect(lookup()).rejects.toMatchObject({ code: "KEY_SOURCE_SILENT" })
    web.answer = octets(alice)
    now = new Date(now.getTime() + seconds * 1000 - 1)
    await expect(lookup()).rejects.toMatchObject({
      code: "KEY_SOURCE_SILENT",
      message: expect.stringContaining("not to be asked before"),
    })
    expect(web.requests).toHaveLength(1)
    now = new Date(now.getTime() + 1)
    expect((await lookup())?.candidates).toHaveLength(1)
  })

  test("500: silent, and asked again", async () => {
    web.answer = (_request, response) => void response.writeHead(500).end()
    await expect(lookup()).rejects.toMatchObject({ code: "KEY_SOURCE_SILENT" })
    await expect(lookup()).rejects.toMatchObject({ code: "KEY_SOURCE_SILENT" })
    expect(web.requests).toHaveLength(2)
  })
})
