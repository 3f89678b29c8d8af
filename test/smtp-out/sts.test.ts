import { once } from "node:events"
import { createServer, type Server } from "node:https"
import type { AddressInfo } from "node:net"
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest"
import { silentLog } from "../../src/log/log.ts"
import { parseAddress } from "../../src/message/address.ts"
import type { HttpsRules } from "../../src/net/https.ts"
import type { ExchangeHop, RelayMessage, Resolver } from "../../src/smtp-out/hop.ts"
import { Relay } from "../../src/smtp-out/relay.ts"
import { FetchedPolicies, type PolicyMemory, type StsOptions } from "../../src/smtp-out/sts-policies.ts"
import type { TlsSession } from "../../src/smtp-out/tls-result.ts"
import { openEmbeddedState } from "../../src/store/state.ts"
import { KeptPolicies } from "../../src/store/sts-policies.ts"
import { type TestCertificate, testCertificate } from "../harness/certificate.ts"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { openSmtpSink, type SmtpSink } from "../harness/smtp-sink.ts"
import { relayMessage } from "./message.ts"

const never = new AbortController().signal
const DOMAIN = "remote.example"

let folder: TemporaryFolder
let certificate: TestCertificate
let stranger: TestCertificate
let web: Server
let secure: SmtpSink
let clear: SmtpSink
/** What the policy host does. */
let answer: (response: import("node:http").ServerResponse) => void
let requests: string[] = []
const day = 86_400e3

beforeAll(async () => {
  folder = await temporaryFolder()
  certificate = await testCertificate("mx1.remote.example", "mta-sts.remote.example")
  stranger = await testCertificate("mx1.stranger.example")
  web = createServer({ key: certificate.key, cert: certificate.certificate }, (request, response) => {
    requests.push(`${request.headers.host} ${request.method} ${request.url}`)
    answer(response)
  }).listen(0, "127.0.0.1")
  await once(web, "listening")
  secure = await openSmtpSink({ tls: certificate })
  clear = await openSmtpSink()
})

afterEach(() => {
  requests = []
})

afterAll(async () => {
  web?.closeAllConnections()
  web?.close()
  await secure?.[Symbol.asyncDispose]()
  await clear?.[Symbol.asyncDispose]()
  await folder?.[Symbol.asyncDispose]()
})

const FORGETFUL: PolicyMemory = { find: () => null, keep: () => undefined, used: () => undefined, ageing: () => [] }

function policy(mode: string, mx = "mx1.remote.example", maxAge = 7 * 86_400): typeof answer {
  const text = `version: STSv1\nmode: ${mode}\nmx: ${mx}\nmax_age: ${maxAge}\n`
  return (response) => response.setHeader("content-type", "text/plain; charset=utf-8").end(text)
}

/** DNS, HTTPS and state as one place to change. */
class World {
  txt: string[] | "SERVFAIL" = ["v=STSv1; id=1;"]
  mx = "mx1.remote.example"
  policyHost: string[] | "SERVFAIL" = ["127.0.0.1"]
  now = new Date("2026-11-26T12:00:00Z")
  readonly counted: TlsSession[] = []
  readonly #name: string
  readonly https: HttpsRules

  constructor(name: string, https: HttpsRules = {}) {
    this.#name = name
    const { port } = web.address() as AddressInfo
    this.https = { port, authority: certificate.certificate, isAllowed: () => true, timeoutMs: 2_000, ...https }
  }

  readonly resolver: Resolver = {
    mx: async () => ({ records: [{ exchange: this.mx, preference: 10 }], secure: false }),
    addresses: async (host) => {
      const found = host.startsWith("mta-sts.") ? this.policyHost : ["127.0.0.1"]
      if (found === "SERVFAIL") throw new Error("SERVFAIL")
      return { records: found, secure: false, canonical: host }
    },
    tlsa: async () => ({ records: [], secure: false }),
    isSecureAlias: async () => false,
    text: async () => {
      if (this.txt === "SERVFAIL") throw new Error("SERVFAIL")
      return this.txt
    },
  }

  /** What was fetched, by a process started now: nothing is remembered but the state. */
  async find() {
    return await this.#policies().find({ domain: DOMAIN, resolver: this.resolver }, never)
  }

  /** What happens from time to time, mail or not. */
  async refresh(): Promise<void> {
    await this.#policies().refresh(this.resolver, never)
  }

  async send(sink: SmtpSink, octets = "From: a@example.test\r\n\r\nHello\r\n", more: Partial<RelayMessage> = {}) {
    const { resolver } = this
    const hop: ExchangeHop = {
      kind: "mx",
      domain: DOMAIN,
      resolver,
      port: sink.port,
      isOurs: () => false,
      authority: certificate.certificate,
    }
    await using relay = new Relay({
      hostname: "mx.example.test",
      log: silentLog(),
      timeouts: { connectMs: 2_000, greetingMs: 2_000, silenceMs: 2_000 },
      policies: this.#policies(),
      results: { count: (session) => this.counted.push(session) },
    })
    const addresses = { sender: parseAddress("a@example.test"), recipient: parseAddress(`c@${DOMAIN}`) }
    return await relay.relayMessage(relayMessage(octets, { ...addresses, ...more }), hop, never)
  }

  results(): string[] {
    return this.counted.map(({ policy: { type }, result }) => `${type} ${result}`)
  }

  #policies(): FetchedPolicies {
    const options: Omit<StsOptions, "memory"> = { now: () => this.now, log: silentLog(), https: this.https }
    const state = () => openEmbeddedState(folder.file(this.#name))
    return new FetchedPolicies({
      ...options,
      memory: {
        find: (domain) => withState(state(), (kept) => kept.find(domain)),
        keep: (domain, known) => withState(state(), (kept) => kept.keep(domain, known)),
        used: (domain, at) => withState(state(), (kept) => kept.used(domain, at)),
        ageing: (at) => withState(state(), (kept) => kept.ageing(at)),
      },
    })
  }
}

function withState<T>(database: ReturnType<typeof openEmbeddedState>, act: (kept: KeptPolicies) => T): T {
  try {
    return act(new KeptPolicies(database))
  } finally {
    database.close()
  }
}

describe("fetching", () => {
  test("asks the policy host once, and not again while the id is the same", async () => {
    const world = new World("once")
    answer = policy("enforce")
    for (const _ of [1, 2])
      expect(await world.find()).toMatchObject({
        policy: { mode: "enforce", mx: ["mx1.remote.example"] },
        failure: null,
      })
    expect(requests).toEqual([`mta-sts.remote.example:${world.https.port} GET /.well-known/mta-sts.txt`])
    world.txt = ["v=STSv1; id=2;"]
    answer = policy("testing")
    expect((await world.find()).policy?.mode).toBe("testing")
  })

  test("without a record in DNS there is no policy, and nobody is asked", async () => {
    const world = new World("none")
    world.txt = []
    expect(await world.find()).toEqual({ policy: null, failure: null })
    world.txt = "SERVFAIL"
    expect(await world.find()).toEqual({ policy: null, failure: null })
    expect(requests).toEqual([])
  })

  const bad: [name: string, answer: typeof answer, result: string, https?: HttpsRules][] = [
    ["404", (response) => response.writeHead(404, { "content-type": "text/plain" }).end(), "sts-policy-fetch-error"],
    [
      "a redirect",
      (response) => response.writeHead(301, { location: "https://mta-sts.remote.example/x" }).end(),
      "sts-policy-fetch-error",
    ],
    ["HTML", (response) => response.setHeader("content-type", "text/html").end("x"), "sts-policy-fetch-error"],
    [
      "10 MB",
      (response) => response.setHeader("content-type", "text/plain").end("mx: a.example\n".repeat(750_000)),
      "sts-policy-fetch-error",
    ],
    ["silence", () => undefined, "sts-policy-fetch-error", { timeoutMs: 200 }],
    ["nonsense", (response) => response.setHeader("content-type", "text/plain").end("hello"), "sts-policy-invalid"],
    ["a certificate of nobody we know", policy("enforce"), "sts-webpki-invalid", { authority: UNKNOWN_AUTHORITY }],
    [
      "an address inside",
      policy("enforce"),
      "sts-policy-fetch-error",
      { isAllowed: (address) => address !== "127.0.0.1" },
    ],
  ]
  test.each(bad)(
    "%s: no policy; the one that is known holds until it is over",
    async (name, trouble, result, https = {}) => {
      const world = new World(name, https)
      const rules =
        https.authority === UNKNOWN_AUTHORITY ? { ...world.https, authority: stranger.certificate } : world.https
      Object.assign(world, { https: rules })
      answer = trouble
      expect(await world.find()).toMatchObject({ policy: null, failure: { result } })
      const good = new World(name)
      answer = policy("enforce")
      await good.find()
      answer = trouble
      world.txt = ["v=STSv1; id=2;"]
      expect(await world.find()).toMatchObject({ policy: { mode: "enforce" }, failure: { result } })
      world.now = new Date(world.now.getTime() + 8 * day)
      expect(await world.find()).toMatchObject({ policy: null, failure: { result } })
    },
  )

  test("a certificate of another host is none", async () => {
    const world = new World("other host")
    const { resolver } = world
    answer = policy("enforce")
    const policies = new FetchedPolicies({
      memory: FORGETFUL,
      now: () => world.now,
      log: silentLog(),
      https: world.https,
    })
    const found = await policies.find({ domain: "other.example", resolver }, never)
    expect(found).toMatchObject({ policy: null, failure: { result: "sts-webpki-invalid" } })
  })

  test("is repeated from half of max_age on, also while DNS is silent", async () => {
    const world = new World("half")
    answer = policy("enforce")
    await world.find()
    world.now = new Date(world.now.getTime() + 3 * day)
    await world.find()
    expect(requests).toHaveLength(1)
    world.txt = "SERVFAIL"
    world.now = new Date(world.now.getTime() + day)
    await world.find()
    expect(requests).toHaveLength(2)
    // Its time begins anew.
    world.policyHost = "SERVFAIL"
    world.now = new Date(world.now.getTime() + 6 * day)
    expect((await world.find()).policy?.mode).toBe("enforce")
  })

  test("is repeated for domains that mail went to lately, also while no mail goes there", async () => {
    const world = new World("refresh")
    answer = policy("enforce")
    await world.find()
    await world.refresh()
    expect(requests).toHaveLength(1)
    // 3.5 of 7 days each time, and after 60 nobody cares.
    for (let days = 0; days < 90; days++) {
      world.now = new Date(world.now.getTime() + day)
      await world.refresh()
    }
    expect(requests).toHaveLength(1 + 14)
    expect(await world.find()).toMatchObject({ policy: { mode: "enforce" } })
    world.policyHost = "SERVFAIL"
    world.now = new Date(world.now.getTime() + 5 * day)
    await world.refresh()
    expect(await world.find()).toMatchObject({ policy: { mode: "enforce" } })
  })

  test("one question for all messages of some minutes, and its failure is told once", async () => {
    const world = new World("burst")
    answer = (response) => response.writeHead(500).end()
    const policies = new FetchedPolicies({
      memory: FORGETFUL,
      now: () => world.now,
      log: silentLog(),
      https: world.https,
    })
    const domain = { domain: DOMAIN, resolver: world.resolver }
    const found = await Promise.all([policies.find(domain, never), policies.find(domain, never)])
    expect(found.map(({ failure }) => failure !== null)).toEqual([true, false])
    expect(requests).toHaveLength(1)
  })
})

/** Stands for a certificate that is made later. */
const UNKNOWN_AUTHORITY = "unknown"

describe("mail under a policy", () => {
  test("enforce: verified TLS with a host of the policy, or nothing", async () => {
    const world = new World("enforce")
    answer = policy("enforce")
    expect((await world.send(secure)).kind).toBe("relayed")
    expect(secure.messages.at(-1)).toMatchObject({ tls: true })
    expect(await world.send(clear)).toMatchObject({ kind: "retry", status: { status: "4.7.4" } })
    world.mx = "mx9.attacker.example"
    const refused = await world.send(secure)
    expect(refused).toMatchObject({ kind: "retry", status: { status: "4.7.4" } })
    expect(refused.status.diagnostic).toBe("mx9.attacker.example is not in the MTA-STS policy")
    expect(clear.messages).toEqual([])
    expect(world.results()).toEqual(["sts success", "sts starttls-not-supported", "sts validation-failure"])
  })

  test("enforce: a host of the policy with another's certificate gets nothing", async () => {
    const world = new World("enforce, other name")
    answer = policy("enforce", "*.remote.example")
    world.mx = "mx2.remote.example"
    const before = secure.messages.length
    expect(await world.send(secure)).toMatchObject({ kind: "retry", status: { status: "4.7.4" } })
    expect(secure.messages).toHaveLength(before)
    expect(world.results()).toEqual(["sts certificate-host-mismatch"])
  })

  test("enforce holds when DNS, HTTPS and the process that fetched it are gone", async () => {
    const world = new World("gone")
    answer = policy("enforce")
    await world.send(secure)
    world.txt = []
    world.policyHost = "SERVFAIL"
    world.mx = "mx9.attacker.example"
    world.now = new Date(world.now.getTime() + 6 * day)
    expect(await world.send(clear)).toMatchObject({ kind: "retry" })
    world.now = new Date(world.now.getTime() + 2 * day)
    expect((await world.send(clear)).kind).toBe("relayed")
  })

  test("state that cannot be read is no state without policies: nothing leaves", async () => {
    const world = new World("unreadable")
    const before = clear.messages.length
    const broken = new FetchedPolicies({
      memory: {
        ...FORGETFUL,
        find: () => {
          throw new Error("disk I/O error")
        },
      },
      now: () => world.now,
      log: silentLog(),
    })
    await using relay = new Relay({ hostname: "mx.example.test", log: silentLog(), policies: broken })
    const { resolver } = world
    const hop: ExchangeHop = { kind: "mx", domain: DOMAIN, resolver, port: clear.port, isOurs: () => false }
    const message = relayMessage("A: b\r\n\r\n", { sender: null, recipient: parseAddress(`c@${DOMAIN}`) })
    await expect(relay.relayMessage(message, hop, never)).rejects.toThrow("disk I/O error")
    expect(clear.messages).toHaveLength(before)
  })

  test("testing: delivered, and counted where it falls short", async () => {
    const world = new World("testing")
    answer = policy("testing", "*.remote.example")
    world.mx = "mx2.remote.example"
    for (const sink of [secure, clear]) expect((await world.send(sink)).kind).toBe("relayed")
    world.mx = "mx1.remote.example"
    await world.send(secure)
    world.mx = "mx.other.example"
    await world.send(secure)
    expect(world.results()).toEqual([
      "sts certificate-host-mismatch",
      "sts starttls-not-supported",
      "sts success",
      "sts validation-failure",
    ])
  })

  test("TLS-Required: No lifts it; a header that says something else does not", async () => {
    const world = new World("lifted")
    answer = policy("enforce")
    const head = "From: a@example.test\r\nSubject: x\r\n"
    expect((await world.send(clear, `${head}TLS-Required: yes\r\n\r\n`)).kind).toBe("retry")
    expect((await world.send(clear, `${head}\r\nTLS-Required: No\r\n`)).kind).toBe("retry")
    expect((await world.send(clear, `${head}tls-required: NO\r\n\r\n`)).kind).toBe("relayed")
  })
})
