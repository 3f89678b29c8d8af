import { createHash } from "node:crypto"
import { readFileSync, writeFileSync } from "node:fs"
import { expect, test } from "vitest"
import { type DnsRecord, dnsRecords } from "../../src/cli/dns-records.ts"
import { parseConfig } from "../../src/config/load.ts"
import { readCertificate } from "../../src/crypto/cms/certificate.ts"
import { readCertificate as readOpenPgp } from "../../src/crypto/openpgp/certificate.ts"
import { parseAddress } from "../../src/message/address.ts"
import { dnsClient } from "../../src/net/dns-client.ts"
import { daneSources } from "../../src/profiles/sources/dane.ts"
import { testCertificate } from "../harness/certificate.ts"
import { mustRun, peer } from "../harness/peers.ts"
import { startValidatingDns, VALIDATING_DNS } from "../harness/validating-dns.ts"
import { makeInstance, mustPostern, postern } from "./postern.ts"

const SERVED = `
domains = ["example.test"]
hostname = "mail.example.test"
[listen]
mx = "*:25"
imap = "*:143"
imaps = "*:993"
submission = "*:587"
submissions = "*:465"
https = "*:443"
`
const SENDERS = [
  'example.test. TXT "v=spf1 mx -all"',
  'mail.example.test. TXT "v=spf1 a -all"',
  '_dmarc.example.test. TXT "v=DMARC1; p=quarantine; rua=mailto:postmaster@example.test"',
]
const REPORTS = '_smtp._tls.example.test. TXT "v=TLSRPTv1; rua=mailto:postmaster@example.test"'
const NONE = ["_pop3s._tcp.example.test. SRV 0 0 0 .", "_pop3._tcp.example.test. SRV 0 0 0 ."]

const rows: [name: string, toml: string, want: string[]][] = [
  [
    "everything is served",
    SERVED,
    [
      "example.test. MX 10 mail.example.test.",
      ...SENDERS,
      REPORTS,
      "_imaps._tcp.example.test. SRV 0 1 993 mail.example.test.",
      "_imap._tcp.example.test. SRV 10 1 143 mail.example.test.",
      ...NONE,
      "_submissions._tcp.example.test. SRV 0 1 465 mail.example.test.",
      "_submission._tcp.example.test. SRV 10 1 587 mail.example.test.",
      "autoconfig.example.test. CNAME mail.example.test.",
      "autodiscover.example.test. CNAME mail.example.test.",
      "_autodiscover._tcp.example.test. SRV 0 1 443 mail.example.test.",
      "mail-profile.example.test. CNAME mail.example.test.",
      "openpgpkey.example.test. CNAME mail.example.test.",
    ],
  ],
  [
    "a policy of MTA-STS is found, and reports about it find somebody",
    SERVED.replace('https = "*:443"', '[policy]\nmtaSts = "testing"'),
    [
      "example.test. MX 10 mail.example.test.",
      ...SENDERS,
      '_mta-sts.example.test. TXT "v=STSv1; id=d8f5e5d98baecbef07cbc1af;"',
      "mta-sts.example.test. CNAME mail.example.test.",
      REPORTS,
      "_imaps._tcp.example.test. SRV 0 1 993 mail.example.test.",
      "_imap._tcp.example.test. SRV 10 1 143 mail.example.test.",
      ...NONE,
      "_submissions._tcp.example.test. SRV 0 1 465 mail.example.test.",
      "_submission._tcp.example.test. SRV 10 1 587 mail.example.test.",
    ],
  ],
  [
    "other ports and another name for clients; aliases lead to port 443 only",
    `${SERVED}[clients]\nhost = "imap.example.test"\nimaps = 10993\nhttps = 8443\n`,
    [
      "example.test. MX 10 mail.example.test.",
      ...SENDERS,
      REPORTS,
      "_imaps._tcp.example.test. SRV 0 1 10993 imap.example.test.",
      "_imap._tcp.example.test. SRV 10 1 143 imap.example.test.",
      ...NONE,
      "_submissions._tcp.example.test. SRV 0 1 465 imap.example.test.",
      "_submission._tcp.example.test. SRV 10 1 587 imap.example.test.",
      "_autodiscover._tcp.example.test. SRV 0 1 8443 imap.example.test.",
    ],
  ],
  [
    "nothing is served",
    'domains = ["example.test"]\n',
    [
      "_imaps._tcp.example.test. SRV 0 0 0 .",
      "_imap._tcp.example.test. SRV 0 0 0 .",
      ...NONE,
      "_submissions._tcp.example.test. SRV 0 0 0 .",
      "_submission._tcp.example.test. SRV 0 0 0 .",
    ],
  ],
  [
    "a name is no alias of itself, and nobody is sent to loopback",
    `${SERVED.replace('https = "*:443"', 'https = "127.0.0.1:443"')}[clients]\nhost = "autoconfig.example.test"\n`,
    [
      "example.test. MX 10 mail.example.test.",
      ...SENDERS,
      REPORTS,
      "_imaps._tcp.example.test. SRV 0 1 993 autoconfig.example.test.",
      "_imap._tcp.example.test. SRV 10 1 143 autoconfig.example.test.",
      ...NONE,
      "_submissions._tcp.example.test. SRV 0 1 465 autoconfig.example.test.",
      "_submission._tcp.example.test. SRV 10 1 587 autoconfig.example.test.",
      "autodiscover.example.test. CNAME autoconfig.example.test.",
      "_autodiscover._tcp.example.test. SRV 0 1 443 autoconfig.example.test.",
      "mail-profile.example.test. CNAME autoconfig.example.test.",
      "openpgpkey.example.test. CNAME autoconfig.example.test.",
    ],
  ],
]
for (const [name, toml, want] of rows) test(name, () => expect(recordsOf(toml)).toEqual(want))

const spf: [name: string, toml: string, want: string][] = [
  ["the mail exchanger sends", '[listen]\nmx = "*:25"', "v=spf1 mx -all"],
  [
    "the host sends, and another is the mail exchanger",
    '[listen]\nsubmission = "*:587"',
    "v=spf1 a:mail.example.test -all",
  ],
  [
    "a next hop sends, by addresses that are its own to know",
    '[listen]\nmx = "*:25"\n[relay]\nnext = "smtps://hop.example.net"',
    "v=spf1 mx a:hop.example.net ~all",
  ],
  ["a next hop on this machine", '[listen]\nmx = "*:25"\n[relay]\nnext = "smtp://127.0.0.1:2525"', "v=spf1 mx -all"],
]
for (const [name, toml, want] of spf)
  test(`SPF: ${name}`, () => {
    const records = recordsOf(`domains = ["example.test"]\nhostname = "mail.example.test"\n${toml}\n`)
    expect(records).toContain(`example.test. TXT "${want}"`)
  })

function recordsOf(toml: string): readonly string[] {
  const records = dnsRecords("example.test", parseConfig(toml, "/nowhere/postern.toml"))
  return records.map(({ name, type, value }) => `${name} ${type} ${value}`)
}

const peers = ["named-checkzone", "named-compilezone", ...VALIDATING_DNS]
test.skipIf(!peers.every(peer))(
  "a zone of it loads in BIND, whether types have names or numbers; by Unbound our own look-up finds everybody's keys",
  async () => {
    using instance = await makeInstance("--port", "25000")
    await mustPostern(["account", "add", "anna@example.test", "--format", "smime,openpgp", ...instance.config])
    const toml = readFileSync(instance.file("postern.toml"), "utf8")
    writeFileSync(instance.file("postern.toml"), toml.replace(/^https = .*$/m, 'https = "*:443"'))
    const lines = await mustPostern(["dns", "--keys", "--tlsa", ...instance.config])
    const generic = await mustPostern(["dns", "--keys", "--tlsa", "--generic", ...instance.config])
    expect(generic).toMatch(/\tTYPE61\t\\# \d+ [0-9a-f]+\t; OpenPGP of anna@example\.test\n/)
    const head = "$ORIGIN example.test.\n@ 60 SOA @ postmaster 1 3600 600 86400 60\n@ 60 NS @\n@ 60 A 127.0.0.1\n"
    const compiled = await Promise.all(
      [lines, generic].map(async (text) => {
        writeFileSync(instance.file("zone"), head + text)
        await mustRun("named-checkzone", ["-i", "local", "example.test", instance.file("zone")])
        return await mustRun("named-compilezone", ["-o", "-", "example.test", instance.file("zone")])
      }),
    )
    expect(Buffer.from(compiled[1] ?? []).toString()).toBe(Buffer.from(compiled[0] ?? []).toString())

    const records = ["@ A 127.0.0.1", ...lines.split("\n")]
    await using dns = await startValidatingDns([{ name: "example.test", state: "signed", records }])
    const found = await Promise.all(
      daneSources(dnsClient([dns.address])).map((source) =>
        source.lookup(parseAddress("anna@example.test"), AbortSignal.timeout(5_000)),
      ),
    )
    const [openpgp, smime] = found.map((answer) => answer?.candidates[0]?.octets ?? new Uint8Array())
    expect(readOpenPgp(openpgp ?? new Uint8Array()).userIds).toEqual([expect.stringContaining("anna@example.test")])
    expect(readCertificate(smime ?? new Uint8Array()).emailAddresses).toEqual(["anna@example.test"])

    writeFileSync(
      instance.file("postern.toml"),
      `${readFileSync(instance.file("postern.toml"), "utf8")}\n[dns]\nservers = ["${dns.address}"]\n`,
    )
    const about = /^(?:MX|SPF|DMARC|SRV|CNAME|TXT|TLSA|OPENPGPKEY|SMIMEA) /
    const findings = async (): Promise<readonly (readonly [string, string])[]> => {
      const { stdout } = await postern(["check", "--json", ...instance.config])
      const found = JSON.parse(Buffer.from(stdout).toString()) as { state: string; about: string }[]
      return found.filter((one) => about.test(one.about)).map((one) => [one.state, one.about])
    }
    const published = await findings()
    expect(published.filter(([state]) => state !== "ok")).toEqual([])
    const { stdout } = await postern(["check", ...instance.config])
    for (const name of ["mail-profile", "openpgpkey"])
      expect(Buffer.from(stdout).toString()).toMatch(
        new RegExp(`^wrong .*does not name ${name}\\.example\\.test, which`, "m"),
      )
    expect(published.map(([, what]) => what)).toEqual(
      expect.arrayContaining([
        "MX of example.test",
        "SPF of example.test",
        "DMARC of example.test",
        "TXT _smtp._tls.example.test.",
        "CNAME openpgpkey.example.test.",
        "TLSA of _25._tcp.example.test",
        "OPENPGPKEY of anna@example.test",
        "SMIMEA of anna@example.test",
      ]),
    )
    await mustPostern(["account", "rekey", "anna@example.test", ...instance.config])
    const { key, certificate } = await testCertificate("example.test")
    writeFileSync(instance.file("tls", "server.pem"), certificate)
    writeFileSync(instance.file("tls", "server.key"), key)
    expect((await findings()).filter(([state]) => state !== "ok")).toEqual([
      ["wrong", "TLSA of _25._tcp.example.test"],
      ["wrong", "SMIMEA of anna@example.test"],
      ["wrong", "OPENPGPKEY of anna@example.test"],
    ])
  },
)

test("a zone file for people, JSON for programs, one domain or all; loopback is said aloud", async () => {
  using instance = await makeInstance("--domain", "other.test", "--port", "25000")
  const zone = await postern(["dns", ...instance.config])
  expect([zone.code, zone.stderr]).toEqual([0, expect.stringContaining("warning: listeners are on loopback")])
  const text = Buffer.from(zone.stdout).toString()
  expect(text).toMatch(/^; example\.test and every other name/)
  expect(text).toContain("other.test.\t3600\tIN\tMX\t10 example.test.\t; mail from other servers\n")
  const json = JSON.parse(await mustPostern(["dns", "--domain", "OTHER.test", "--json", ...instance.config]))
  expect(json).toContainEqual({
    name: "_imaps._tcp.other.test.",
    type: "SRV",
    value: "0 1 25004 example.test.",
    about: "reading, TLS from the start",
  })
  expect(json.every(({ name }: { name: string }) => name.endsWith("other.test."))).toBe(true)
  const unknown = await postern(["dns", "--domain", "elsewhere.test", ...instance.config])
  expect([unknown.code, unknown.stderr]).toEqual([
    2,
    expect.stringContaining("elsewhere.test: is not among domains of"),
  ])
})

test.skipIf(!peer("openssl"))(
  "--tlsa: the key that hostname shows, as OpenSSL digests it; none where each certificate has a new key",
  async () => {
    using instance = await makeInstance("--port", "25000")
    const tlsa = async (): Promise<readonly string[]> => {
      const records = JSON.parse(await mustPostern(["dns", "--tlsa", "--json", ...instance.config])) as DnsRecord[]
      return records.filter(({ type }) => type === "TLSA").map(({ name, value }) => `${name} ${value}`)
    }
    const digest = async (certificate: string): Promise<string> => {
      const spki = await mustRun("openssl", ["x509", "-in", certificate, "-noout", "-pubkey"])
      const der = await mustRun("openssl", ["pkey", "-pubin", "-outform", "DER"], { input: spki })
      return createHash("sha256").update(der).digest("hex")
    }
    expect(await tlsa()).toEqual([`_25._tcp.example.test. 3 1 1 ${await digest(instance.file("tls", "server.pem"))}`])

    const configuration = instance.file("postern.toml")
    const other = await testCertificate("example.test")
    writeFileSync(instance.file("tls", "other.pem"), other.certificate)
    const named = '[[tls.names]]\nname = "example.test"\ncertificate = "tls/other.pem"\nkey = "tls/other.key"\n'
    writeFileSync(configuration, `${readFileSync(configuration, "utf8")}\n${named}`)
    expect(await tlsa()).toEqual([`_25._tcp.example.test. 3 1 1 ${await digest(instance.file("tls", "other.pem"))}`])

    const acme =
      '[tls.acme]\ndirectory = "https://ca.test/dir"\nagreeToTerms = true\n[listen]\nhttp = "127.0.0.1:25080"\n'
    writeFileSync(configuration, readFileSync(configuration, "utf8").replace("[listen]\n", acme))
    const refused = await postern(["dns", "--tlsa", ...instance.config])
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining("a new key each time")])
  },
)
