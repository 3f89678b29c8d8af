import { createHash, X509Certificate } from "node:crypto"
import { readFile, writeFile } from "node:fs/promises"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { silentLog } from "../../src/log/log.ts"
import { parseAddress } from "../../src/message/address.ts"
import { dnsClient } from "../../src/net/dns-client.ts"
import type { ExchangeHop, HostHop, RelayMessage, Resolver } from "../../src/smtp-out/hop.ts"
import { Relay } from "../../src/smtp-out/relay.ts"
import type { TlsSession } from "../../src/smtp-out/tls-result.ts"
import { type TlsaRecord, tlsaText } from "../../src/smtp-out/tlsa.ts"
import { validatingResolver } from "../../src/smtp-out/validating-resolver.ts"
import type { TestCertificate } from "../harness/certificate.ts"
import { mustRun, peer, run, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { openSmtpSink, type SmtpSink, type SmtpSinkOptions } from "../harness/smtp-sink.ts"
import { startValidatingDns, VALIDATING_DNS, type ValidatingDns } from "../harness/validating-dns.ts"

const never = new AbortController().signal
const NAME = "mx1.signed.example"

let folder: TemporaryFolder
/** A chain of three: its own, an intermediate authority, a root; the sink shows the first two. */
let chain: { readonly leaf: X509Certificate; readonly intermediate: X509Certificate; readonly root: X509Certificate }
/** A server with that chain; with one that ended last year, for another name; and one without TLS. */
let sinks: { readonly chained: SmtpSink; readonly expired: SmtpSink; readonly clear: SmtpSink }
let expired: X509Certificate
let leaf: TestCertificate

beforeAll(async () => {
  folder = await temporaryFolder()
  const root = await issue("root", null, ["-addext", "basicConstraints=critical,CA:TRUE"])
  const intermediate = await issue("intermediate", "root", ["-addext", "basicConstraints=critical,CA:TRUE"])
  leaf = await issue("leaf", "intermediate", ["-addext", `subjectAltName=DNS:${NAME}`])
  const old = await ended("elsewhere.example")
  chain = {
    leaf: new X509Certificate(leaf.certificate),
    intermediate: new X509Certificate(intermediate.certificate),
    root: new X509Certificate(root.certificate),
  }
  expired = new X509Certificate(old.certificate)
  sinks = {
    chained: await openSmtpSink({ tls: { key: leaf.key, certificate: leaf.certificate + intermediate.certificate } }),
    expired: await openSmtpSink({ tls: old }),
    clear: await openSmtpSink(),
  }
})

afterAll(async () => {
  for (const sink of Object.values(sinks ?? {})) await sink[Symbol.asyncDispose]()
  await folder?.[Symbol.asyncDispose]()
})

async function issue(name: string, issuer: string | null, more: readonly string[]): Promise<TestCertificate> {
  const [key, file] = [folder.file(`${name}.key`), folder.file(`${name}.pem`)]
  const signed = issuer === null ? [] : ["-CA", folder.file(`${issuer}.pem`), "-CAkey", folder.file(`${issuer}.key`)]
  await mustRun("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", file],
    ...["-subj", `/CN=${name}`, "-days", "2", ...signed, ...more],
  ])
  return { key: await readFile(key, "utf8"), certificate: await readFile(file, "utf8") }
}

/** A certificate that ended yesterday; `openssl req` makes none. */
async function ended(name: string): Promise<TestCertificate> {
  const [key, request, file] = ["key", "csr", "pem"].map((kind) => folder.file(`ended.${kind}`)) as [
    string,
    string,
    string,
  ]
  await mustRun("openssl", [
    ...["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key],
    ...["-out", request, "-subj", "/CN=ended", "-addext", `subjectAltName=DNS:${name}`],
  ])
  await mustRun("openssl", [
    ...["x509", "-req", "-in", request, "-key", key, "-days", "-1", "-copy_extensions", "copyall", "-out", file],
  ])
  return { key: await readFile(key, "utf8"), certificate: await readFile(file, "utf8") }
}

function tlsa(usage: number, selector: number, matchingType: number, certificate: X509Certificate): TlsaRecord {
  const selected = selector === 0 ? certificate.raw : certificate.publicKey.export({ type: "spki", format: "der" })
  const digest = (name: string) => createHash(name).update(selected).digest()
  const association = matchingType === 0 ? selected : digest(matchingType === 1 ? "sha256" : "sha512")
  return { usage, selector, matchingType, association }
}

const MESSAGE: RelayMessage = {
  sender: parseAddress("alice@example.test"),
  recipient: parseAddress("carol@signed.example"),
  smtpUtf8: false,
  envelopeId: null,
  returnContent: null,
  notify: null,
  originalRecipient: null,
  sizeOctets: 6,
  content: async function* () {
    yield Buffer.from("A: b\r\n")
  },
}

function makeRelay(counted: TlsSession[] = []): Relay {
  const timeouts = { connectMs: 3_000, greetingMs: 3_000, silenceMs: 3_000 }
  const results = { count: (session: TlsSession) => counted.push(session) }
  return new Relay({ hostname: "mx.example.test", log: silentLog(), timeouts, results })
}

describe("a certificate and its records: as OpenSSL decides", () => {
  const wrong = (record: TlsaRecord): TlsaRecord => ({
    ...record,
    association: record.association.map((octet) => octet ^ 1),
  })
  const rows: [name: string, sink: keyof typeof sinks, records: () => TlsaRecord[], accepted: boolean][] = [
    ...[0, 1].flatMap((selector) =>
      [0, 1, 2].flatMap((type): typeof rows => [
        [`3 ${selector} ${type}`, "chained", () => [tlsa(3, selector, type, chain.leaf)], true],
        [`3 ${selector} ${type}, another`, "chained", () => [wrong(tlsa(3, selector, type, chain.leaf))], false],
      ]),
    ),
    ...[0, 1].flatMap((selector) =>
      [1, 2].flatMap((type): typeof rows => [
        [`2 ${selector} ${type}, the issuer`, "chained", () => [tlsa(2, selector, type, chain.intermediate)], true],
      ]),
    ),
    ["2 0 0, the issuer", "chained", () => [tlsa(2, 0, 0, chain.intermediate)], true],
    ["2 0 0, the root, which is not sent", "chained", () => [tlsa(2, 0, 0, chain.root)], true],
    ["2 0 1, the root, which is not sent", "chained", () => [tlsa(2, 0, 1, chain.root)], false],
    ["2 0 0, itself", "chained", () => [tlsa(2, 0, 0, chain.leaf)], false],
    ["2 0 1, itself", "chained", () => [tlsa(2, 0, 1, chain.leaf)], false],
    ["2 0 0, itself, self-signed", "expired", () => [tlsa(2, 0, 0, expired)], false],
    ["2 1 1, another", "chained", () => [wrong(tlsa(2, 1, 1, chain.intermediate))], false],
    ["3 1 1 of the issuer", "chained", () => [tlsa(3, 1, 1, chain.intermediate)], false],
    ["the second of two", "chained", () => [wrong(tlsa(3, 1, 1, chain.leaf)), tlsa(2, 0, 1, chain.intermediate)], true],
    ["3 1 1: neither name nor date matters", "expired", () => [tlsa(3, 1, 1, expired)], true],
    ["2 0 1 of itself, ended and for another name", "expired", () => [tlsa(2, 0, 1, expired)], false],
  ]
  test.skipIf(!peer("openssl")).each(rows)("%s", async (_name, sink, records, accepted) => {
    const { port } = sinks[sink]
    const demand = { kind: "dane", records: records(), names: [NAME] } as const
    const hop: HostHop = { kind: "host", host: "127.0.0.1", port, tls: demand }
    await using relay = makeRelay()
    const { kind, status } = await relay.relayMessage(MESSAGE, hop, never)
    expect([kind, status.status]).toEqual(accepted ? ["relayed", "2.0.0"] : ["retry", "4.7.4"])
    const { code } = await run(
      "openssl",
      [
        ...["s_client", "-starttls", "smtp", "-connect", `127.0.0.1:${port}`, "-verify_return_error", "-quiet"],
        ...["-dane_tlsa_domain", NAME, "-dane_ee_no_namechecks"],
        ...records().flatMap((record) => ["-dane_tlsa_rrdata", tlsaText(record)]),
      ],
      { input: "QUIT\r\n" },
    )
    expect(code === 0).toBe(accepted)
  })

  test("DANE-TA holds to the names", async () => {
    const tls = { kind: "dane", records: [tlsa(2, 0, 1, chain.intermediate)], names: ["mx2.signed.example"] } as const
    const hop: HostHop = { kind: "host", host: "127.0.0.1", port: sinks.chained.port, tls }
    await using relay = makeRelay()
    expect(await relay.relayMessage(MESSAGE, hop, never)).toMatchObject({ kind: "retry", status: { status: "4.7.4" } })
    const either = { ...tls, names: ["mx2.signed.example", NAME] }
    expect((await relay.relayMessage(MESSAGE, { ...hop, tls: either }, never)).kind).toBe("relayed")
  })
})

describe.skipIf(!peer("posttls-finger"))("as Postfix decides", () => {
  /** What Postfix's SMTP client says about this server. */
  async function finger(...args: readonly string[]): Promise<string> {
    await writeFile(folder.file("main.cf"), "compatibility_level=3.6\ninet_protocols=ipv4\nmyhostname=peer.example\n")
    const { stdout } = await run("posttls-finger", ["-c", "-L", "verbose,certmatch,summary", ...args], {
      env: { MAIL_CONFIG: folder.path },
    })
    return Buffer.from(stdout).toString()
  }

  test("the digests that posttls-finger shows are the records that fit", async () => {
    const { port } = sinks.chained
    const said = await finger("-l", "may", "-d", "sha256", `[127.0.0.1]:${port}`)
    const [, whole = "", key = ""] = / fingerprint=([0-9A-F:]+), pkey_fingerprint=([0-9A-F:]+)/.exec(said) ?? []
    await using relay = makeRelay()
    for (const [selector, hex] of [whole, key].entries()) {
      const association = Buffer.from(hex.replaceAll(":", ""), "hex")
      expect(association).toHaveLength(32)
      const records = [{ usage: 3, selector, matchingType: 1, association }]
      const tls = { kind: "dane", records, names: [NAME] } as const
      expect((await relay.relayMessage(MESSAGE, { kind: "host", host: "127.0.0.1", port, tls }, never)).kind).toBe(
        "relayed",
      )
    }
  })

  const rows: [name: string, sink: keyof typeof sinks, verified: boolean][] = [
    [NAME, "chained", true],
    ["mx2.signed.example", "chained", false],
    ["signed.example", "chained", false],
    ["elsewhere.example", "expired", false],
    [NAME, "clear", false],
  ]
  test.each(rows)("tls = required: %s at %s is verified: %s", async (exchange, sink, verified) => {
    const { port } = sinks[sink]
    const said = await finger("-l", "secure", "-F", folder.file("root.pem"), `[127.0.0.1]:${port}`, exchange)
    expect(said.includes("Verified TLS connection")).toBe(verified)
    const none = { records: [], secure: false }
    const resolver: Resolver = {
      mx: async () => ({ records: [{ exchange, preference: 1 }], secure: false }),
      addresses: async (canonical) => ({ records: ["127.0.0.1"], secure: false, canonical }),
      tlsa: async () => none,
      isSecureAlias: async () => false,
      text: async () => [],
    }
    const level = { tls: "required", mx: [] } as const
    const authority = chain.root.toString()
    const hop = { kind: "mx", domain: "d.example", resolver, port, isOurs: () => false, level, authority } as const
    await using relay = makeRelay()
    expect((await relay.relayMessage(MESSAGE, hop, never)).kind).toBe(verified ? "relayed" : "retry")
  })
})

describe.skipIf(!VALIDATING_DNS.every(peer))("mail to signed domains, by Unbound", () => {
  let dns: ValidatingDns
  let resolver: Resolver
  const { chained, clear } = { chained: () => sinks.chained, clear: () => sinks.clear }

  beforeAll(async () => {
    const [secure, plain] = [chained().port, clear().port]
    const good = tlsaText(tlsa(3, 1, 1, chain.leaf))
    const bad = tlsaText(tlsa(3, 1, 1, expired))
    const records = [
      "@ MX 10 mx1",
      "mx1 A 127.0.0.1",
      `_${secure}._tcp.mx1 TLSA ${good}`,
      `_${plain}._tcp.mx1 TLSA ${good}`,
      "mismatch MX 10 mx2",
      "mx2 A 127.0.0.1",
      `_${secure}._tcp.mx2 TLSA ${bad}`,
      "unusable MX 10 mx3",
      "mx3 A 127.0.0.1",
      `_${secure}._tcp.mx3 TLSA 1 1 1 ${"0".repeat(64)}`,
      `_${plain}._tcp.mx3 TLSA 1 1 1 ${"0".repeat(64)}`,
      "without MX 10 mx4",
      "mx4 A 127.0.0.1",
      "alias MX 10 mx5",
      "mx5 CNAME mx1",
      "second MX 10 mx2",
      "second MX 20 mx1",
      "bogus MX 10 mx.expired.example.",
      "insecure MX 10 mx.unsigned.example.",
    ]
    const elsewhere = ["@ MX 10 mx", "mx A 127.0.0.1", `_${plain}._tcp.mx TLSA ${bad}`]
    dns = await startValidatingDns([
      { name: "signed.example", state: "signed", records },
      { name: "expired.example", state: "expired", records: elsewhere },
      { name: "unsigned.example", state: "unsigned", records: elsewhere },
    ])
    resolver = validatingResolver(dnsClient([dns.address]))
  })
  afterAll(async () => dns?.[Symbol.asyncDispose]())

  const rows: [name: string, domain: string, sink: () => SmtpSink, want: string, counted: string[]][] = [
    ["a record that fits", "signed.example", chained, "relayed 2.0.0 TLS", ["tlsa success"]],
    ["no STARTTLS where there are records", "signed.example", clear, "retry 4.7.4", ["tlsa starttls-not-supported"]],
    ["a record of another key", "mismatch.signed.example", chained, "retry 4.7.4", ["tlsa validation-failure"]],
    [
      "records that SMTP does not use: any certificate",
      "unusable.signed.example",
      chained,
      "relayed 2.0.0 TLS",
      ["tlsa tlsa-invalid"],
    ],
    ["the same without STARTTLS", "unusable.signed.example", clear, "retry 4.7.4", ["tlsa starttls-not-supported"]],
    [
      "securely none",
      "without.signed.example",
      clear,
      "relayed 2.0.0 clear",
      ["no-policy-found starttls-not-supported"],
    ],
    ["an exchanger that is an alias", "alias.signed.example", chained, "relayed 2.0.0 TLS", ["tlsa success"]],
    [
      "the second exchanger",
      "second.signed.example",
      chained,
      "relayed 2.0.0 TLS",
      ["tlsa validation-failure", "tlsa success"],
    ],
    ["an exchanger in a bogus zone", "bogus.signed.example", clear, "retry 4.4.3", []],
    ["a bogus domain", "expired.example", clear, "retry 4.4.3", []],
    [
      "an exchanger in a zone that is not signed",
      "insecure.signed.example",
      clear,
      "relayed 2.0.0 clear",
      ["no-policy-found starttls-not-supported"],
    ],
    [
      "a domain that is not signed",
      "unsigned.example",
      clear,
      "relayed 2.0.0 clear",
      ["no-policy-found starttls-not-supported"],
    ],
  ]
  test.each(rows)("%s", async (_name, domain, sinkOf, want, results) => {
    const sink = sinkOf()
    const before = sink.messages.length
    const counted: TlsSession[] = []
    await using relay = makeRelay(counted)
    const hop: ExchangeHop = { kind: "mx", domain, resolver, port: sink.port, isOurs: () => false }
    const { kind, status } = await relay.relayMessage(
      { ...MESSAGE, recipient: parseAddress(`c@${domain}`) },
      hop,
      never,
    )
    const tls = kind === "relayed" ? (sink.messages.at(-1)?.tls ? " TLS" : " clear") : ""
    expect(`${kind} ${status.status}${tls}`).toBe(want)
    expect(counted.map(({ policy, result }) => `${policy.type} ${result}`)).toEqual(results)
    expect(sink.messages.length - before).toBe(kind === "relayed" ? 1 : 0)
  })

  describe("REQUIRETLS (RFC 8689)", () => {
    const rows: [name: string, domain: string, options: NonNullable<SmtpSinkOptions["server"]> | null, want: string][] =
      [
        ["who promises the same", "signed.example", { hideREQUIRETLS: false }, "relayed 2.0.0"],
        ["who does not promise", "signed.example", {}, "failed 5.7.30"],
        ["no TLS", "without.signed.example", null, "failed 5.7.30"],
        ["a certificate that nobody verifies", "without.signed.example", { hideREQUIRETLS: false }, "failed 5.7.30"],
        ["a domain that is not signed", "unsigned.example", { hideREQUIRETLS: false }, "failed 5.7.30"],
        ["DNS does not answer", "expired.example", { hideREQUIRETLS: false }, "retry 4.4.3"],
      ]
    test.each(rows)("%s", async (_name, domain, server, want) => {
      await using sink = await openSmtpSink(server === null ? {} : { tls: leaf, server })
      const fits = [tlsa(3, 1, 1, chain.leaf)]
      const signed: Resolver = {
        ...resolver,
        // Its port is another one each time, which no zone knows beforehand.
        tlsa: async (name) =>
          name.endsWith(".mx1.signed.example") ? { records: fits, secure: true } : await resolver.tlsa(name),
      }
      await using relay = makeRelay()
      const hop: ExchangeHop = { kind: "mx", domain, resolver: signed, port: sink.port, isOurs: () => false }
      const { kind, status } = await relay.relayMessage({ ...MESSAGE, requireTls: true }, hop, never)
      expect(`${kind} ${status.status}`).toBe(want)
      expect(sink.messages.map(({ mailParameters }) => mailParameters["REQUIRETLS"])).toEqual(
        kind === "relayed" ? [true] : [],
      )
    })

    test("a next hop by name: over its verified TLS only", async () => {
      await using sink = await openSmtpSink({ tls: leaf, server: { hideREQUIRETLS: false } })
      await using relay = makeRelay()
      const hop: HostHop = { kind: "host", host: "127.0.0.1", port: sink.port, tls: "opportunistic" }
      const { kind, status } = await relay.relayMessage({ ...MESSAGE, requireTls: true }, hop, never)
      expect([kind, status.status]).toEqual(["failed", "5.7.30"])
      expect((await relay.relayMessage(MESSAGE, hop, never)).kind).toBe("relayed")
    })

    test("nobody there: later", async () => {
      await using relay = makeRelay()
      const hop: ExchangeHop = { kind: "mx", domain: "without.signed.example", resolver, port: 1, isOurs: () => false }
      const { kind } = await relay.relayMessage({ ...MESSAGE, requireTls: true }, hop, never)
      expect(kind).toBe("retry")
    })
  })

  test("TLSA that nobody answers for: nothing leaves, not even to a server that would do", async () => {
    const silent: Resolver = { ...resolver, tlsa: () => Promise.reject(new Error("SERVFAIL")) }
    const { port } = sinks.chained
    await using relay = makeRelay()
    const hop: ExchangeHop = { kind: "mx", domain: "signed.example", resolver: silent, port, isOurs: () => false }
    const { kind, status } = await relay.relayMessage(MESSAGE, hop, never)
    expect([kind, status.status]).toEqual(["retry", "4.7.4"])
    expect(status.diagnostic).toContain("no secure answer about TLSA of mx1.signed.example")
  })
})
