import { request } from "node:https"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { parseConfig } from "../../src/config/load.ts"
import { minimalCertificate } from "../../src/crypto/openpgp/certificate.ts"
import { type PublicHttpOptions, startPublicHttp } from "../../src/http/public.ts"
import { makeAccount } from "../../src/identity/account.ts"
import { applyRequest } from "../../src/identity/apply.ts"
import { localPartHash } from "../../src/identity/fingerprint.ts"
import { Counters } from "../../src/log/counters.ts"
import { silentLog } from "../../src/log/log.ts"
import { parseAddress } from "../../src/message/address.ts"
import { webClient } from "../../src/net/web.ts"
import { mailProfile } from "../../src/profiles/sources/mail-profile.ts"
import { wkd } from "../../src/profiles/sources/wkd.ts"
import { judge } from "../../src/profiles/usable.ts"
import { GatewayKeys } from "../../src/store/gateway-keys.ts"
import { People } from "../../src/store/people.ts"
import { RecryptionKeys } from "../../src/store/recryption-keys.ts"
import { openEmbeddedState } from "../../src/store/state.ts"
import { askersOf, publishedKeys } from "../../src/wire/published.ts"
import { type TestCertificate, testCertificate } from "../harness/certificate.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { LOOPBACK } from "../harness/web-hosts.ts"
import { makeAlice, makingAt, NOW } from "../identity/people.ts"
import { rules } from "../profiles/judging.ts"

const never = new AbortController().signal
const DOMAINS = ["example.test", "second.test"]
const HOSTS = DOMAINS.flatMap((domain) => [domain, `openpgpkey.${domain}`, `mail-profile.${domain}`])
const stack = new AsyncDisposableStack()

let certificate: TestCertificate
let people: People
let alice: Uint8Array
let open: Served
let strict: Served

interface Served {
  readonly port: number
  readonly counters: Counters
}

beforeAll(async () => {
  certificate = await testCertificate(...HOSTS)
  const folder = stack.use(await temporaryFolder())
  const database = stack.adopt(openEmbeddedState(folder.file("data")), (state) => state.close())
  const recryptionKeys = new RecryptionKeys(database, folder.file("secrets"))
  people = new People(database, { domains: DOMAINS, postmaster: null, recryptionKeys })
  const made = await makeAlice("smime", "openpgp")
  alice = minimalCertificate(made.person.openpgp?.certificate ?? new Uint8Array())
  const bob = await makeAccount({ address: "bob@example.test", name: "Bob", formats: ["smime"] }, makingAt())
  const gatewayKeys = new GatewayKeys(folder.file("signing"))
  for (const { request } of [made, bob]) applyRequest({ people, gatewayKeys, database }, request, NOW)
  people.addAlias("sales@example.test", ["alice@example.test"])
  open = await serve("")
  strict = await serve(`[policy]\ntrusted = []\n[limits]\nhttpUnknownAddresses = 2\n`)
})
afterAll(() => stack.disposeAsync())

async function serve(toml: string): Promise<Served> {
  const config = parseConfig(`domains = ${JSON.stringify(DOMAINS)}\n${toml}`, "/nowhere/postern.toml")
  const counters = new Counters()
  const options: PublicHttpOptions = {
    host: "127.0.0.1",
    port: 0,
    tls: certificate,
    keys: publishedKeys(people, DOMAINS, { publishedOf: () => null }),
    askers: askersOf({ config, counters }),
    clients: { domains: DOMAINS, services: config.clients },
    stsPolicy: null,
    mesh: null,
    shelf: null,
    log: silentLog(),
  }
  const server = stack.adopt(await startPublicHttp(options), (started) => started.close())
  return { port: Number(new URL(server.listeningOrigin).port), counters }
}

interface Got {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly body: Buffer
}

function get(url: string, method = "GET", { port } = open): Promise<Got> {
  const { hostname, pathname, search } = new URL(url)
  const { promise, resolve, reject } = Promise.withResolvers<Got>()
  const options = {
    host: "127.0.0.1",
    port,
    path: `${pathname}${search}`,
    servername: hostname,
    headers: { host: hostname },
  }
  request({ ...options, method, ca: certificate.certificate, agent: false }, (response) => {
    const parts: Buffer[] = []
    response.on("data", (octets: Buffer) => parts.push(octets))
    response.on("end", () =>
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) }),
    )
  })
    .on("error", reject)
    .end()
  return promise
}

const hu = (localPart: string): string => `hu/${localPartHash(localPart)}?l=${encodeURIComponent(localPart)}`
const advanced = (localPart: string, domain = "example.test"): string =>
  `https://openpgpkey.${domain}/.well-known/openpgpkey/${domain}/${hu(localPart)}`
const direct = (localPart: string, domain = "example.test"): string =>
  `https://${domain}/.well-known/openpgpkey/${hu(localPart)}`
const profile = (localPart: string): string =>
  `https://mail-profile.example.test/.well-known/mail-profile/example.test/${localPartHash(localPart)}`

describe("the Web Key Directory", () => {
  test.each([
    ["advanced", advanced],
    ["direct", direct],
  ])("by the %s method: the certificate without what tells of devices, binary", async (_name, at) => {
    for (const written of ["alice", "ALICE"]) {
      const { status, headers, body } = await get(at(written))
      expect([status, Buffer.compare(body, alice)]).toEqual([200, 0])
      expect(headers).toMatchObject({
        "content-type": "application/octet-stream",
        "content-length": String(alice.length),
        "access-control-allow-origin": "*",
        "cache-control": "public, max-age=300",
        "x-content-type-options": "nosniff",
      })
    }
  })

  test.each([
    ["advanced", advanced],
    ["direct", direct],
  ])("HEAD by the %s method says the same and sends nothing", async (_name, at) => {
    const [there, none] = [await get(at("alice"), "HEAD"), await get(at("nobody"), "HEAD")]
    expect([there.status, there.headers["content-length"], there.body.length, none.status]).toEqual([
      200,
      String(alice.length),
      0,
      404,
    ])
  })

  const nothing: [who: string, url: string][] = [
    ["nobody", advanced("nobody")],
    ["nobody, by the direct method", direct("nobody")],
    ["somebody without OpenPGP", advanced("bob")],
    ["an alias, which no certificate names", advanced("sales")],
    ["an address with a tag, which no certificate names", advanced("alice+list")],
    ["an address of another domain of ours", advanced("alice", "second.test")],
    ["an address of another domain of ours, by the direct method", direct("alice", "second.test")],
    ["the direct method at another host", direct("alice").replace("//example.test", "//openpgpkey.example.test")],
    ["a domain of somebody else", advanced("alice").replace("/example.test/", "/elsewhere.test/")],
    ["no hash", "https://openpgpkey.example.test/.well-known/openpgpkey/example.test/hu/alice"],
  ]
  test.each(nothing)("%s: 404, and the same answer", async (_who, url) => {
    const { status, headers, body } = await get(url)
    expect([status, headers["content-type"], body.toString()]).toEqual([
      404,
      "text/plain; charset=utf-8",
      "nothing is published here\n",
    ])
  })

  test("its policy is there for both methods, and for our domains only", async () => {
    const policies = [
      "openpgpkey.example.test/.well-known/openpgpkey/example.test/policy",
      "example.test/.well-known/openpgpkey/policy",
    ]
    for (const at of policies) {
      const { status, headers, body } = await get(`https://${at}`)
      expect([status, headers["content-type"], body.length]).toEqual([200, "text/plain; charset=utf-8", 0])
    }
    expect((await get("https://example.test/.well-known/openpgpkey/elsewhere.test/policy")).status).toBe(404)
  })

  test.each(["", "/", "/hu", "/hu/", "/example.test", "/example.test/hu", "/example.test/hu/"])(
    "there is no list at %s",
    async (path) => {
      expect((await get(`https://example.test/.well-known/openpgpkey${path}`)).status).toBe(404)
    },
  )
})

test("what we publish is what we find, by both methods and as a profile, and may be used", async () => {
  const address = parseAddress("Alice@example.test")
  for (const own of [[], ["openpgpkey.example.test", "mail-profile.example.test"]]) {
    const ask = webClient({
      resolve: async (host) => (own.includes(host) || host === "example.test" ? LOOPBACK : { kind: "no-name" }),
      port: open.port,
      authority: certificate.certificate,
      isAllowed: () => true,
    })
    const answers = await Promise.all(
      [
        wkd(ask),
        mailProfile({ ask, byMesh: false, seen: { newest: () => null, saw: () => undefined }, now: () => new Date() }),
      ].map((source) => source.lookup(address, never)),
    )
    const candidates = answers.flatMap((answer) => answer?.candidates ?? [])
    expect(candidates.map(({ source, format }) => `${source} ${format}`)).toEqual([
      "wkd openpgp",
      "profile smime",
      "profile openpgp",
    ])
    const judged = await Promise.all(
      candidates.map((candidate) => judge(candidate, address, rules({ at: NOW }), AbortSignal.timeout(10_000))),
    )
    expect(judged.map(({ kind }) => kind)).toEqual(["usable", "usable", "usable"])
  }
})

test("who asks for too many who are not here hears of nobody any more; who is here does not count", async () => {
  const status = async (url: string): Promise<number> => (await get(url, "GET", strict)).status
  const known = [advanced("alice"), advanced("bob"), direct("sales"), profile("alice"), profile("sales")]
  for (const url of [...known, ...known]) expect([url, [200, 404].includes(await status(url))]).toEqual([url, true])
  expect([await status(advanced("nobody")), await status(profile("none"))]).toEqual([404, 404])
  for (const url of [advanced("alice"), direct("alice"), profile("alice"), advanced("nobody")])
    expect([url, await status(url)]).toEqual([url, 429])
  const { headers } = await get(direct("alice"), "HEAD", strict)
  expect(headers["retry-after"]).toBe("600")
  expect(await strict.counters.text()).toMatch(/^postern_http_limited_total\{limit="unknown-addresses"\} 5$/m)
})

test("this machine is not counted unless it is told to be", async () => {
  for (let guess = 0; guess < 120; guess++) expect((await get(advanced(`guess${guess}`))).status).toBe(404)
  expect((await get(advanced("alice"))).status).toBe(200)
})

test("somebody who leaves is no longer found", async () => {
  people.removeAccount("bob@example.test")
  expect((await get(profile("bob"))).status).toBe(404)
})
