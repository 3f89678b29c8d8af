import { readPrivateKey, revokeKey } from "openpgp"
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest"
import { armor } from "../../../src/crypto/openpgp/armor.ts"
import { publicOctets } from "../../../src/crypto/openpgp/certificate.ts"
import { readTransferable } from "../../../src/crypto/openpgp/transferable.ts"
import { makeAccount } from "../../../src/identity/account.ts"
import { parseAddress } from "../../../src/message/address.ts"
import type { WebRules } from "../../../src/net/web.ts"
import { wkd } from "../../../src/profiles/sources/wkd.ts"
import { judge } from "../../../src/profiles/usable.ts"
import { type WebHandler, WebHosts } from "../../harness/web-hosts.ts"
import { makingAt, NOW } from "../../identity/people.ts"
import { rules } from "../judging.ts"

const never = new AbortController().signal
// draft-koch-openpgp-webkey-service §3.1 has this one as its example.
const ADDRESS = parseAddress("Joe.Doe@Example.ORG")
const HASH = "iy9q119eutrkn8s1mk4r39qejnbu3n5q"
const ADVANCED = `https://openpgpkey.example.org/.well-known/openpgpkey/example.org/hu/${HASH}?l=Joe.Doe`
const DIRECT = `https://example.org/.well-known/openpgpkey/hu/${HASH}?l=Joe.Doe`

let web: WebHosts
let joe: Uint8Array
let other: Uint8Array
let secret: Uint8Array
let revoked: Uint8Array

beforeAll(async () => {
  web = await WebHosts.open(
    ["example.org", "openpgpkey.example.org", "elsewhere.example", "uncertified.example"],
    ["example.org", "openpgpkey.example.org", "elsewhere.example"],
  )
  const made = await Promise.all(["joe.doe@example.org", "other@example.org"].map(personKey))
  joe = made[0]?.certificate ?? new Uint8Array()
  other = made[1]?.certificate ?? new Uint8Array()
  secret = made[0]?.secretKey ?? new Uint8Array()
  const { publicKey } = await revokeKey({
    key: await readPrivateKey({ binaryKey: secret }),
    date: NOW,
    format: "binary",
  })
  revoked = publicKey
})
afterEach(() => web.reset())
afterAll(async () => web?.[Symbol.asyncDispose]())

async function personKey(address: string) {
  const { person } = await makeAccount({ address, name: "Joe Doe", formats: ["openpgp"] }, makingAt())
  return {
    certificate: person.openpgp?.certificate ?? new Uint8Array(),
    secretKey: person.openpgp?.secretKey ?? new Uint8Array(),
  }
}

function lookup(rules: Partial<WebRules> = {}, address = ADDRESS) {
  return wkd(web.client(rules)).lookup(address, never)
}

const octets =
  (body: Uint8Array | string): WebHandler =>
  (_request, response) =>
    void response.setHeader("content-type", "application/octet-stream").end(body)

test("the advanced method is asked first, with the hash and the local part as it is written", async () => {
  web.answer = octets(joe)
  const answer = await lookup()
  expect(web.requests).toEqual([ADVANCED])
  expect(answer).toEqual({
    candidates: [
      {
        format: "openpgp",
        octets: publicOctets(...components(joe)),
        chain: [],
        source: "wkd",
        trust: "domain",
        place: ADVANCED,
        wish: null,
        lineage: null,
      },
    ],
    remarks: [],
  })
  expect(await judged(answer)).toEqual(["usable"])
})

test("local parts are hashed with A to Z in lower case and nothing else, and escaped whole", async () => {
  await lookup({}, parseAddress('"Ä +&/"@example.org'))
  expect(web.requests).toEqual([expect.stringMatching(/\/hu\/[a-z0-9]{32}\?l=%C3%84%20%2B%26%2F$/)])
  await lookup({}, parseAddress('"ä +&/"@example.org'))
  expect(web.requests[0]?.split("?")[0]).not.toBe(web.requests[1]?.split("?")[0])
})

test("an address literal has no domain to ask", async () => {
  expect(await lookup({}, parseAddress("joe@[192.0.2.1]"))).toBe(null)
})

describe("row 35: the direct method", () => {
  test.each(["no-name", "no-address"] as const)("is asked where the sub-domain has no address: %s", async (kind) => {
    web.dns.set("openpgpkey.example.org", { kind })
    web.answer = octets(joe)
    expect((await lookup())?.candidates.map(({ place }) => place)).toEqual([DIRECT])
    expect(web.requests).toEqual([DIRECT])
  })

  const there: [name: string, act: () => void, rules?: Partial<WebRules>][] = [
    ["says that there is none", () => undefined],
    ["is a wildcard's and has a web page", () => void (web.answer = octets("<!doctype html>"))],
    ["does not answer", () => void (web.answer = () => undefined), { timeoutMs: 100 }],
    [
      "has an address inside",
      () => void web.dns.set("openpgpkey.example.org", { kind: "addresses", addresses: ["10.1.1.1"] }),
    ],
    ["is not answered for by DNS", () => void web.dns.set("openpgpkey.example.org", "SERVFAIL")],
    [
      "redirects to a name that does not exist",
      () =>
        void (web.answer = (_request, response) =>
          response.writeHead(301, { location: "https://nowhere.example/" }).end()),
    ],
  ]
  test.each(there)("is not asked where the sub-domain %s", async (_name, act, rules) => {
    act()
    await lookup(rules).catch(() => undefined)
    expect(web.requests.filter((url) => url.startsWith("https://example.org/"))).toEqual([])
  })

  test("where the domain has no address either, there is none, and that is said", async () => {
    for (const host of ["example.org", "openpgpkey.example.org"]) web.dns.set(host, { kind: "no-name" })
    expect(await lookup()).toEqual({ candidates: [], remarks: ["no address: openpgpkey.example.org, example.org"] })
  })

  test("a domain too long for a sub-domain has no sub-domain", async () => {
    const long = `${"a23456789.".repeat(24)}example`
    web.dns.set(long, { kind: "no-name" })
    expect((await lookup({}, parseAddress(`j@${long}`)))?.candidates).toEqual([])
  })
})

describe("row 34: answers", () => {
  const rows: [name: string, answer: () => WebHandler, candidates: number, remarks: string[]][] = [
    ["404", () => (_request, response) => void response.writeHead(404).end(), 0, []],
    ["410", () => (_request, response) => void response.writeHead(410).end(), 0, []],
    ["armor", () => octets(armor(joe, "PUBLIC KEY BLOCK")), 1, ["it stands there in armor, and should be binary"]],
    ["two certificates", () => octets(Buffer.concat([joe, other])), 2, ["2 certificates stand there"]],
    [
      "a hundred certificates",
      () => octets(Buffer.concat(Array.from({ length: 100 }, () => joe))),
      8,
      ["100 certificates stand there", "those behind the first 8 were not looked at"],
    ],
    [
      "a web page",
      () => octets("\n<!DOCTYPE html><title>Not here</title>"),
      0,
      ["a web page stands there instead of a key"],
    ],
    ["nothing", () => octets(""), 0, ["nothing stands there, and that with status 200"]],
    ["something else", () => octets("hello"), 0, ["what stands there is neither OpenPGP packets nor armor"]],
    ["a message", () => octets(armor(joe, "MESSAGE")), 0, ["a MESSAGE stands there instead of a certificate"]],
    ["a secret key", () => octets(secret), 0, ["a secret key stands there: whoever it belongs to should revoke it"]],
    [
      "a secret key in armor",
      () => octets(armor(secret, "PRIVATE KEY BLOCK")),
      0,
      ["a PRIVATE KEY BLOCK stands there instead of a certificate"],
    ],
    [
      "packets that are none",
      () => octets(Uint8Array.of(0xcb, 2, 98, 0)),
      0,
      ["OpenPGP packets stand there that are no certificate"],
    ],
  ]
  test.each(rows)("%s", async (_name, answer, candidates, remarks) => {
    web.answer = answer()
    const found = await lookup()
    expect([found?.candidates.length, found?.remarks]).toEqual([candidates, remarks])
  })

  test("a redirect to another public host is followed", async () => {
    web.answer = (request, response) => {
      if (request.url === "/joe") octets(joe)(request, response)
      else response.writeHead(302, { location: "https://elsewhere.example/joe" }).end()
    }
    expect((await lookup())?.candidates.map(({ place }) => place)).toEqual(["https://elsewhere.example/joe"])
  })

  const unusable: [name: string, body: () => Uint8Array, at: Date, because: RegExp][] = [
    ["a wrong user id", () => other, NOW, /It is for other@example\.org/],
    ["expired", () => joe, new Date("2036-01-01"), /expired/],
    ["revoked", () => revoked, NOW, /revoked/],
    ["cut off", () => joe.subarray(0, joe.length - 9), NOW, /cut off/],
    ["cut off in its armor", () => armor(joe, "PUBLIC KEY BLOCK").subarray(0, 300), NOW, /cut off/],
    ["flooded with signatures", () => flooded(joe), NOW, /too many packets/],
  ]
  test.each(unusable)("%s: the candidate is judged, and not taken for none", async (_name, body, at, because) => {
    web.answer = octets(body())
    const [candidate] = (await lookup())?.candidates ?? []
    if (candidate === undefined) throw new Error("no candidate")
    expect(await judge(candidate, ADDRESS, rules({ at }), AbortSignal.timeout(10_000))).toMatchObject({
      kind: "rejected",
      because: expect.stringMatching(because),
    })
  })
})

describe("row 34: silence: nobody knows whether there is a key", () => {
  const status =
    (code: number): WebHandler =>
    (_request, response) =>
      void response.writeHead(code).end()
  const to =
    (location: string): WebHandler =>
    (_request, response) =>
      void response.writeHead(302, { location }).end()
  const rows: [name: string, act: () => void, why: RegExp, rules?: Partial<WebRules>][] = [
    ["DNS does not answer", () => void web.dns.set("openpgpkey.example.org", "SERVFAIL"), /DNS does not answer/],
    [
      "DNS does not answer about the domain",
      () => {
        web.dns.set("openpgpkey.example.org", { kind: "no-name" })
        web.dns.set("example.org", "SERVFAIL")
      },
      /example\.org: DNS does not answer/,
    ],
    ["timeout", () => void (web.answer = () => undefined), /no answer within 100 ms/, { timeoutMs: 100 }],
    ["500", () => void (web.answer = status(500)), /openpgpkey\.example\.org answers 500/],
    ["503", () => void (web.answer = status(503)), /answers 503/],
    ["429", () => void (web.answer = status(429)), /answers 429/],
    ["403", () => void (web.answer = status(403)), /answers 403/],
    ["204", () => void (web.answer = status(204)), /answers 204/],
    ["a redirect without a place", () => void (web.answer = status(302)), /answers 302/],
    ["a redirect inward", () => void (web.answer = to("https://127.0.0.1/")), /redirects to where nobody may go/],
    ["a redirect to http", () => void (web.answer = to("http://example.org/")), /redirects to http:/],
    ["a circle of redirects", () => void (web.answer = to("/again")), /more than 3 redirects/],
    [
      "an address inside",
      () => void web.dns.set("openpgpkey.example.org", { kind: "addresses", addresses: ["10.0.0.1"] }),
      /no public address/,
    ],
    ["a certificate of nobody we know", () => undefined, /certificate is not good/, { authority: "" }],
    [
      "100 MB",
      () =>
        void (web.answer = (_request, response) => response.writeHead(200, { "content-length": 1e8 }).flushHeaders()),
      /more than 1572864 octets/,
    ],
    ["too much in chunks", () => void (web.answer = octets(Buffer.alloc(2e6))), /more than 1572864 octets/],
    [
      "a body that is cut off",
      () => {
        web.answer = (_request, response) => void response.write(joe.subarray(0, 100), () => response.socket?.destroy())
      },
      /aborted/,
    ],
  ]
  test.each(rows)("%s", async (_name, act, why, rules) => {
    act()
    await expect(lookup(rules)).rejects.toMatchObject({
      code: "KEY_SOURCE_SILENT",
      message: expect.stringMatching(why),
    })
  })
})

async function judged(answer: Awaited<ReturnType<typeof lookup>>): Promise<string[]> {
  const all = (answer?.candidates ?? []).map((candidate) =>
    judge(candidate, ADDRESS, rules({ at: NOW }), AbortSignal.timeout(10_000)),
  )
  return (await Promise.all(all)).map(({ kind }) => kind)
}

function components(certificate: Uint8Array) {
  const { primary, users, subkeys } = readTransferable(certificate)
  return [primary, ...users, ...subkeys]
}

/** Two hundred thousand signatures would be more than may come; these are as many as fit. */
function flooded(certificate: Uint8Array): Uint8Array {
  return Buffer.concat([
    certificate,
    Buffer.alloc(12 * 20_000, Uint8Array.of(0xc2, 10, 4, 16, 0, 22, 0, 0, 0, 0, 0, 0)),
  ])
}
