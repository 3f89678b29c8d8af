import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"
import { keyLines } from "../../src/config/lines.ts"
import { loadConfig, parseConfig, readSecretText } from "../../src/config/load.ts"
import {
  readDelay,
  readDuration,
  readDurationOrOff,
  readEndpoint,
  readListen,
  readSize,
} from "../../src/config/values.ts"
import { hasCode } from "../../src/errors.ts"

const FILE = "/instance/postern.toml"
const DOMAINS = 'domains = ["example.test"]\n'

function mistakesOf(text: string): string {
  try {
    parseConfig(text, FILE)
  } catch (error) {
    if (error instanceof Error && hasCode(error, "CONFIG_INVALID")) return error.message
    throw error
  }
  return "none"
}

describe("defaults", () => {
  test("domains alone are enough", () => {
    const config = parseConfig(DOMAINS, FILE)
    expect(config.hostname).toBe("example.test")
    expect(config.data).toBe("/instance/data")
    expect(config.tls.key).toBe("/instance/tls/server.key")
    expect(config.listen).toEqual({})
    expect(config.deliver).toEqual({ kind: "embedded" })
    expect(config.relay).toEqual({ kind: "mx" })
    expect(config.limits.messageSizeOctets).toBe(50_000_000)
    expect(config.limits.recipients).toBe(100)
    expect(config.warnings).toEqual([])
  })

  test("PostgreSQL is warned of where it is spoken to in clear, and of what stays one machine's own", () => {
    const warnings = (text: string) => parseConfig(`${DOMAINS}${text}`, FILE).warnings.map((line) => line.split(":")[0])
    const elsewhere = 'url = "postgres://p@db.example/mail'
    expect(warnings(`[store]\n${elsewhere}"\n`)).toEqual(["queue.url", "mailboxes.deliver", "mailboxes.imap"])
    const rest =
      '[queue]\nurl = "rediss://r"\n[mailboxes]\ndeliver = "imap:"\nimap = "imaps://i.example"\nauth = "stored"\n'
    expect(warnings(`[store]\n${elsewhere}"\n${rest}`)).toEqual([])
    expect(warnings(`[store]\n${elsewhere}?sslmode=disable"\n${rest}`)).toEqual(["store.url"])
  })

  test("a CA", () => {
    const text = `hostname = "mail.example.test"\n${DOMAINS}[listen]\nhttp = "*:80"\n[tls.acme]\ndirectory = "https://ca.example/dir"\nagreeToTerms = true\n`
    const acme = (more: string) => parseConfig(text + more, FILE).tls.acme
    expect(acme("")).toEqual({
      directory: "https://ca.example/dir",
      email: null,
      names: ["mail.example.test"],
      caFile: null,
    })
    expect(
      acme('email = "a@b.example"\nnames = ["Mail.example.test", "imap.example.test"]\ncaFile = "ca.pem"\n'),
    ).toEqual({
      directory: "https://ca.example/dir",
      email: "a@b.example",
      names: ["mail.example.test", "imap.example.test"],
      caFile: "/instance/ca.pem",
    })
  })

  test("networks, sealers and DNS servers", () => {
    const text = `${DOMAINS}[policy]\ntrusted = ["192.0.2.7", "198.51.100.0/24", "2001:db8::/32", "::1"]\ntrustedSealers = ["Lists.Example.ORG"]\n[dns]\nservers = ["192.0.2.1", "192.0.2.1:5353", "::1", "[::1]:5353"]\n`
    const { policy, dns } = parseConfig(text, FILE)
    expect(policy.trusted.map(({ address, prefixBits, family }) => `${address}/${prefixBits} ${family}`)).toEqual([
      "192.0.2.7/32 ipv4",
      "198.51.100.0/24 ipv4",
      "2001:db8::/32 ipv6",
      "::1/128 ipv6",
    ])
    expect(policy.trustedSealers).toEqual(["lists.example.org"])
    expect(dns.servers).toEqual(["192.0.2.1", "192.0.2.1:5353", "::1", "[::1]:5353"])
  })

  test("the example loads, says every default, and names every key", () => {
    const text = readFileSync("config/postern.example.toml", "utf8")
    const config = parseConfig(text, FILE)
    const plain = parseConfig(DOMAINS, FILE)
    const { hostname, postmaster, listen, clients, ...same } = config
    expect(clients).toEqual(parseConfig(text.replace(/^\[clients\](\n\w+ .*)+/m, ""), FILE).clients)
    expect([hostname, postmaster, listen.imaps]).toEqual([
      "mail.example.test",
      "alice@example.test",
      { host: "127.0.0.1", port: 25_004 },
    ])
    expect(same).toEqual({
      ...same,
      limits: plain.limits,
      policy: plain.policy,
      keys: plain.keys,
      scan: plain.scan,
      mesh: plain.mesh,
      dns: plain.dns,
      tls: plain.tls,
      deliver: plain.deliver,
      relay: plain.relay,
      tlsReports: plain.tlsReports,
    })
    // Uncommented, the remaining keys are known as well; only the pairs File/Env exclude one another.
    const all = text
      .replace(/^# \[tls\.acme\]\n(?:# .*\n)+/m, (table) => table.replace(/^# /gm, ""))
      .replace(/^# (user|passwordFile|passwordEnv|masterPasswordEnv|caFile|clamd|rspamd|hook) =/gm, "$1 =")
      .replace(/^# (\[\[relay\.domains\]\]|(?:domain|next|tls|mx) = .*)$/gm, "$1")
      .replace(/^# (\[\[tls\.names\]\]\n)# (name .*\n)# (certificate .*\n)# (key .*)$/m, "$1$2$3$4")
      .replace(
        /^# (\[\[?policy\.(?:groups|rules)\]\]?|(?:board|name|from|to|subjectTag|keepTag|sensitivity|header|contains|encrypt|otherwise) = .*)$/gm,
        "$1",
      )
      .replace(/^# (\[\[keys\.directories\]\]|(?:url|domains|base|filter|user|passwordFile|caFile) = .*)$/gm, "$1")
    expect(all).toContain("\n[[tls.names]]\nname")
    expect(all).toContain("\n[tls.acme]\ndirectory")
    expect(all).toContain("\n[[relay.domains]]\ndomain")
    expect(
      mistakesOf(all)
        .split("\n")
        .every((line) => /: \S+Env: stands beside/.test(line)),
    ).toBe(true)
  })
})

describe("keyservers", () => {
  test("are named by their protocol, host and port", () => {
    const text = `${DOMAINS}[keys]\nkeyservers = ["vks://Keys.example", "hkps://keys.example.org:8443/"]\n`
    expect(parseConfig(text, FILE).keys.keyservers).toEqual([
      { protocol: "vks", host: "keys.example", port: null },
      { protocol: "hkps", host: "keys.example.org", port: 8443 },
    ])
  })

  test.each([
    "https://keys.example",
    "hkp://keys.example",
    "vks://",
    "vks://a@keys.example",
    "vks://keys.example/path",
    "hkps://keys.example:70000",
  ])("%s is none", (url) => {
    expect(mistakesOf(`${DOMAINS}[keys]\nkeyservers = ["${url}"]\n`)).toMatch(/keys\.keyservers/)
  })
})

describe("keys in DNS", () => {
  const asked = (validating: string): string =>
    `${DOMAINS}[keys]\nsources = ["dane"]\n[dns]\nservers = ["127.0.0.1"]\n${validating}`

  test("are asked for where servers validate", () =>
    expect(parseConfig(asked("validating = true\n"), FILE).keys.sources).toEqual(["dane"]))

  test.each(["", "validating = false\n"])("prove nothing where they do not: %j", (validating) =>
    expect(mistakesOf(asked(validating))).toBe(
      `${FILE}:3: keys.sources: "dane" needs dns.validating: what nobody has validated proves nothing`,
    ),
  )
})

describe("transport rules", () => {
  test("say how mail for a domain goes; what they leave out is as for the rest", () => {
    const text = `${DOMAINS}[relay]
next = "smtps://smart.example"
[[relay.domains]]
domain = "Partner.example"
next = "mx"
tls = "required"
mx = ["*.mail.partner.example", "MX.partner.example"]
[[relay.domains]]
domain = "*.partner.example"
next = "smtp://hub.partner.example:2525"
user = "us"
passwordFile = "secrets/partner"
[[relay.domains]]
domain = "as-the-rest.example"
`
    expect(parseConfig(text, FILE).transportRules).toEqual([
      {
        domain: "partner.example",
        next: { kind: "mx" },
        tls: "required",
        mx: ["*.mail.partner.example", "mx.partner.example"],
      },
      {
        domain: "*.partner.example",
        next: {
          kind: "smtp",
          endpoint: { kind: "tcp", host: "hub.partner.example", port: 2525, security: "starttls" },
          login: { user: "us", password: { kind: "file", path: "/instance/secrets/partner" } },
        },
        tls: "published",
        mx: [],
      },
      {
        domain: "as-the-rest.example",
        next: {
          kind: "smtp",
          endpoint: { kind: "tcp", host: "smart.example", port: 465, security: "tls" },
          login: null,
        },
        tls: "published",
        mx: [],
      },
    ])
  })

  test("a validating resolver elsewhere is allowed, with a warning", () => {
    const text = `${DOMAINS}[dns]\nvalidating = true\nservers = ["127.0.0.1:5353", "::1", "[::1]:53", "192.0.2.53"]\n`
    const { dns, warnings } = parseConfig(text, FILE)
    expect(dns.validating).toBe(true)
    expect(warnings).toEqual([expect.stringMatching(/^dns\.validating: 192\.0\.2\.53 is not on this machine/)])
  })

  const rule = (lines: string) => `${DOMAINS}[[relay.domains]]\ndomain = "a.example"\n${lines}\n`
  const rows: [name: string, text: string, want: string][] = [
    ["no domain", `${DOMAINS}[[relay.domains]]\ntls = "required"\n`, `${FILE}:2: relay.domains[0].domain: is missing`],
    [
      "unknown word",
      rule('tls = "verify"'),
      `${FILE}:4: relay.domains[0].tls: must be one of "published", "opportunistic", "required", "dane"`,
    ],
    [
      "unknown key",
      rule('tsl = "dane"'),
      `${FILE}:4: relay.domains[0].tsl: is no key of postern.toml (did you mean relay.domains[0].tls?)`,
    ],
    [
      "tls for a host",
      rule('next = "smtp://h.example"\ntls = "opportunistic"'),
      `${FILE}:5: relay.domains[0].tls: is for next = "mx": smtp:// and smtps:// demand TLS and a verified certificate`,
    ],
    [
      "mx that nobody is held to",
      rule('mx = ["mx.a.example"]'),
      `${FILE}:4: relay.domains[0].mx: is for next = "mx" with tls = "required" or "dane"`,
    ],
    [
      "twice",
      `${rule("")}[[relay.domains]]\ndomain = "A.example"\n`,
      `${FILE}:6: relay.domains[1].domain: stands here twice`,
    ],
    [
      "validating whom",
      `${DOMAINS}[dns]\nvalidating = true\n`,
      `${FILE}:3: dns.validating: needs dns.servers: nobody knows what the system's do`,
    ],
    ["a word for a flag", `${DOMAINS}[dns]\nvalidating = "yes"\n`, `${FILE}:3: dns.validating: must be true or false`],
  ]
  test.each(rows)("%s", (_name, text, want) => expect(mistakesOf(text)).toBe(want))
})

describe("what clients are told", () => {
  const everywhere = '[listen]\nimap = "*:143"\nimaps = "192.0.2.1:993"\nsubmissions = "127.0.0.1:1465"\n'
  const rows: [name: string, text: string, imap: string, smtp: string, https: string][] = [
    ["nothing is served", "", "", "", ""],
    [
      "the listeners as they are: by name, and on loopback by its name",
      everywhere,
      "example.test:993 tls, example.test:143 starttls",
      "localhost:1465 tls",
      "",
    ],
    [
      "another name and other ports, and what somebody else serves",
      `${everywhere}[clients]\nhost = "Mail.example.test"\nsubmissions = 465\nhttps = 443\n`,
      "mail.example.test:993 tls, mail.example.test:143 starttls",
      "mail.example.test:465 tls",
      "mail.example.test:443 tls",
    ],
    ["any free port cannot be told", '[listen]\nimaps = "*:0"\n', "", "", ""],
  ]
  for (const [name, text, ...want] of rows)
    test(name, () => {
      const { imap, smtp, https } = parseConfig(DOMAINS + text, FILE).clients
      const told = [imap, smtp, https === null ? [] : [https]].map((services) =>
        services.map(({ host, port, security }) => `${host}:${port} ${security}`).join(", "),
      )
      expect(told).toEqual(want)
    })
})

describe("scanners", () => {
  test("none by default, and nothing is larger than they are shown", () => {
    const { scan } = parseConfig(`${DOMAINS}[limits]\nmessageSize = "10MB"\n`, FILE)
    expect(scan).toEqual({
      ...{ clamd: null, rspamd: null, hook: null, listeners: ["mx"], whenAway: "defer", whenTooLarge: "reject" },
      ...{ timeoutMs: 60_000, maxOctets: 10_000_000 },
    })
  })

  const unix = { kind: "unix", path: "/run/clamav/clamd.ctl" }
  const rows: [line: string, want: object, warnings: number][] = [
    ['clamd = "clamd:/run/clamav/clamd.ctl"', { clamd: unix }, 1],
    ['clamd = "clamd:///run/clamav/clamd.ctl"', { clamd: unix }, 1],
    ['clamd = "clamd://127.0.0.1"', { clamd: { kind: "tcp", host: "127.0.0.1", port: 3310 } }, 1],
    ['clamd = "clamd://[::1]:3311"', { clamd: { kind: "tcp", host: "::1", port: 3311 } }, 1],
    ['rspamd = "http://localhost:11333"', { rspamd: "http://localhost:11333/" }, 1],
    ['rspamd = "https://rspamd.example.test/"', { rspamd: "https://rspamd.example.test/" }, 0],
    ['hook = "http://[::1]:8080/a?b=c"', { hook: "http://[::1]:8080/a?b=c" }, 1],
    ['listeners = ["submission", "mx"]', { listeners: ["submission", "mx"] }, 0],
    ['whenAway = "accept"\nwhenTooLarge = "defer"', { whenAway: "accept", whenTooLarge: "defer" }, 0],
    ['timeout = "5s"\nmaxSize = "1MB"', { timeoutMs: 5_000, maxOctets: 1_000_000 }, 0],
  ]
  test.each(rows)("%s", (line, want, count) => {
    const { scan, warnings } = parseConfig(`${DOMAINS}[scan]\n${line}\n`, FILE)
    expect(scan).toMatchObject(want)
    expect(
      warnings.filter((text) => /^scan\.\w+: .*in clear \(allowed on this machine only\)$/.test(text)),
    ).toHaveLength(count)
  })

  const wrong: [line: string, want: RegExp][] = [
    ['clamd = "clamd://av.example.test:3310"', /scan\.clamd: must be .*on this machine.*no TLS$/],
    ['clamd = "clamd://192.0.2.1"', /scan\.clamd: must be .*on this machine/],
    ['clamd = "tcp://127.0.0.1:3310"', /scan\.clamd: must be /],
    ["clamd = 3310", /scan\.clamd: must be /],
    ['rspamd = "http://rspamd.example.test:11333"', /scan\.rspamd: must be "https:.*on this machine/],
    ['rspamd = "http://127.0.0.1:11333/checkv2"', /scan\.rspamd: must be a URL without a path$/],
    ['rspamd = "http://127.0.0.1.example.test"', /scan\.rspamd: must be /],
    ['rspamd = "rspamd:/run/rspamd"', /scan\.rspamd: must be /],
    ['hook = "http://10.0.0.1/"', /scan\.hook: must be "https:.*on this machine/],
    ['hook = "https://me:secret@hook.example.test/"', /scan\.hook: must be .*without user and password$/],
    ['hook = "https://hook.example.test/#x"', /scan\.hook: must be /],
    ['listeners = ["imap"]', /scan\.listeners: must be a list of "mx", "submission" or both$/],
    ["listeners = []", /scan\.listeners: must be a list/],
    ['whenAway = "reject"', /scan\.whenAway: must be one of "defer", "accept"$/],
    ['whenTooLarge = "skip"', /scan\.whenTooLarge: must be one of "accept", "defer", "reject"$/],
    ['timeout = "5"', /scan\.timeout: must be a duration/],
    ['virus = "x"', /scan\.virus: is no key of postern\.toml$/],
  ]
  test.each(wrong)("%s stops the start", (line, want) => {
    expect(mistakesOf(`${DOMAINS}[scan]\n${line}\n`)).toMatch(want)
  })
})

describe("the part in the Mesh", () => {
  const mesh = (text: string) => parseConfig(`${DOMAINS}[listen]\nhttps = "*:443"\n[mesh]\n${text}`, FILE).mesh

  test("none, unless it is said where the service is asked", () => {
    expect(parseConfig(DOMAINS, FILE).mesh).toEqual({
      service: null,
      bulk: null,
      accept: ["contacts", "organisation"],
      storageOctets: 1_000_000_000,
      keepMs: 60 * 86_400_000,
    })
    expect(mesh('service = ""').service).toBeNull()
    const service = "https://Mail.example.test:8443/.well-known/mmm/"
    expect(mesh(`service = "${service}"\naccept = []\nstorage = "5MB"\nkeep = "90d"\nbulk = "/bulk"`)).toEqual({
      service: service.toLowerCase(),
      bulk: "/bulk",
      accept: [],
      storageOctets: 5_000_000,
      keepMs: 90 * 86_400_000,
    })
  })

  test.each([
    ['service = "https://mail.example.test/.well-known/mmm/"', /listen\.https/],
    ['service = "http://mail.example.test/.well-known/mmm/"', /mesh\.service/],
    ['service = "https://mail.example.test/"', /mesh\.service/],
    ['service = "https://a:b@mail.example.test/.well-known/mmm/"', /mesh\.service/],
    ['service = "https://mail.example.test/.well-known/mmm/?x"', /mesh\.service/],
    ['accept = ["strangers"]', /mesh\.accept/],
  ])("%s is a mistake", (line, want) => {
    expect(mistakesOf(`${DOMAINS}[mesh]\n${line}\n`)).toMatch(want)
  })
})

describe("mistakes", () => {
  const rows: [name: string, text: string, want: string][] = [
    ["no domains", "data = 'x'\n", `${FILE}: domains: is missing`],
    [
      "unknown key",
      `${DOMAINS}\n[listen]\nmxx = "127.0.0.1:25"\n`,
      `${FILE}:4: listen.mxx: is no key of postern.toml (did you mean listen.mx?)`,
    ],
    [
      "unknown table",
      `${DOMAINS}[liste]\nmx = "127.0.0.1:25"\n`,
      `${FILE}:3: liste.mx: is no key of postern.toml (did you mean listen.mx?)`,
    ],
    ["unknown empty table", `${DOMAINS}[liste]\n`, `${FILE}:2: liste: is no key of postern.toml`],
    ["wrong type", "domains = 'example.test'\n", `${FILE}:1: domains: must be a list of one or more domains`],
    ["scalar for a table", `${DOMAINS}listen = 25\n`, `${FILE}:2: listen: must be a table`],
    [
      "table for a scalar",
      `${DOMAINS}[data]\nx = 1\n`,
      `${FILE}:2: data: must be a string that is not empty\n${FILE}:3: data.x: is no key of postern.toml`,
    ],
    [
      "unknown word",
      `${DOMAINS}[policy]\nsubject = "open"\n`,
      `${FILE}:3: policy.subject: must be one of "clear", "hidden"`,
    ],
    [
      "bad listener",
      `${DOMAINS}listen.mx = "25"\n`,
      `${FILE}:2: listen.mx: must be "host:port" or "*:port", with a port up to 65535`,
    ],
    [
      "bad client port",
      `${DOMAINS}[clients]\nimaps = 0\n`,
      `${FILE}:3: clients.imaps: must be a whole number from 1 to 65535`,
    ],
    [
      "port too high",
      `${DOMAINS}listen.mx = "h:65536"\n`,
      `${FILE}:2: listen.mx: must be "host:port" or "*:port", with a port up to 65535`,
    ],
    [
      "a name without its files",
      `${DOMAINS}[[tls.names]]\nname = "a.test"\ncertificate = "a"\nkey = "b"\n[[tls.names]]\nname = "b.test"\ncertificate = 5\n`,
      `${FILE}:6: tls.names[1].key: is missing\n${FILE}:8: tls.names[1].certificate: must be a string that is not empty`,
    ],
    [
      "a name twice, with a key that is none",
      `${DOMAINS}[[tls.names]]\nname = "a.test"\ncertificate = "a"\nkey = "b"\n\n[[ tls.names ]] # again\nname = "A.test"\ncertificate = "a"\nkey = "b"\nkeys = "c"\n`,
      `${FILE}:8: tls.names[1].name: stands here twice\n${FILE}:11: tls.names[1].keys: is no key of postern.toml (did you mean tls.names[1].key?)`,
    ],
    [
      "a CA whose terms nobody agreed to, and that nothing answers",
      `${DOMAINS}[tls.acme]\ndirectory = "https://ca.example/dir"\n`,
      `${FILE}: tls.acme.agreeToTerms: must be true: read the terms of service of the CA\n${FILE}: listen.http: is missing: tls.acme needs it, "*:80" in most cases (HTTP-01)`,
    ],
    [
      "a CA in clear",
      `${DOMAINS}[tls.acme]\ndirectory = "http://ca.example/dir"\nagreeToTerms = true\n`,
      `${FILE}:3: tls.acme.directory: must be a URL such as "https://host/path"`,
    ],
    [
      "a CA without its directory",
      `${DOMAINS}[tls.acme]\nagreeToTerms = true\n`,
      `${FILE}: tls.acme.directory: is missing: tls.acme.agreeToTerms is of no use without it`,
    ],
    [
      "one table for several",
      `${DOMAINS}[tls.names]\nname = "a.test"\n`,
      `${FILE}:2: tls.names: must be tables, each under [[tls.names]]\n${FILE}:3: tls.names.name: is no key of postern.toml`,
    ],
    [
      "bad domain",
      'domains = ["exa mple"]\n',
      `${FILE}:1: domains: address: domain has a character that no domain has`,
    ],
    [
      "number out of range",
      `${DOMAINS}[limits]\nrecipients = 0\n`,
      `${FILE}:3: limits.recipients: must be a whole number from 1 to 10000`,
    ],
    [
      "size as a float",
      `${DOMAINS}[limits]\nmessageSize = 1.5\n`,
      `${FILE}:3: limits.messageSize: must be a size such as "50MB" (50,000,000 octets) or "50MiB"`,
    ],
    [
      "networks",
      `${DOMAINS}[policy]\ntrusted = ["192.0.2.0/33"]\n[dns]\nservers = ["dns.example.test"]\n`,
      `${FILE}:3: policy.trusted: must be a list of networks such as "192.0.2.0/24" or "2001:db8::1"\n${FILE}:5: dns.servers: must be a list of addresses of DNS servers, such as "127.0.0.1", "127.0.0.1:5353" or "[::1]:5353"`,
    ],
    [
      "password in a URL",
      `${DOMAINS}[relay]\nnext = "smtp://me:secret@host"\n`,
      `${FILE}:3: relay.next: must be a URL without user and password (name a file for the password)`,
    ],
    [
      "a store URL that may go on without TLS",
      `${DOMAINS}[store]\nurl = "postgres://u@host/db?sslmode=prefer"\n`,
      `${FILE}:3: store.url: must be a postgres:// URL whose sslmode is disable, require, verify-full`,
    ],
    [
      "password in a store URL",
      `${DOMAINS}[store]\nurl = "postgres://u:p@host/db"\n`,
      `${FILE}:3: store.url: must be "embedded:" or "postgres://…" without a password`,
    ],
    [
      "password in a queue URL",
      `${DOMAINS}[queue]\nurl = "rediss://u:p@host"\n`,
      `${FILE}:3: queue.url: must be "embedded:" or "redis://…" or "rediss://…" without a password`,
    ],
    [
      "a queue URL whose database is no number",
      `${DOMAINS}[queue]\nurl = "redis://127.0.0.1/mail"\n`,
      `${FILE}:3: queue.url: must be a Redis URL whose path is the number of a database`,
    ],
    [
      "lmtp without a port",
      `${DOMAINS}[mailboxes]\ndeliver = "lmtp://host"\n`,
      `${FILE}:3: mailboxes.deliver: must be a URL such as "lmtp://host:port"`,
    ],
    [
      "imap without its password",
      `${DOMAINS}[mailboxes]\nimap = "imaps://host"\n`,
      `${FILE}: mailboxes.masterPasswordFile: is missing: auth = "master" needs it`,
    ],
    [
      "an authority where there is no TLS",
      `${DOMAINS}[mailboxes]\nimap = "imap://127.0.0.1"\nauth = "stored"\ncaFile = "ca.pem"\n`,
      `${FILE}:5: mailboxes.caFile: is of no use: mailboxes.imap is spoken without TLS`,
    ],
    [
      "unknown way to log in",
      `${DOMAINS}[mailboxes]\nmasterForm = "login"\nclientAddress = "yes"\n`,
      `${FILE}:3: mailboxes.masterForm: must be one of "separator", "authzid"\n` +
        `${FILE}:4: mailboxes.clientAddress: must be one of "none", "id", "proxy"`,
    ],
    [
      "append without a server",
      `${DOMAINS}[mailboxes]\ndeliver = "imap:"\n`,
      `${FILE}:3: mailboxes.deliver: "imap:" needs mailboxes.imap to be an IMAP server`,
    ],
    [
      "user without password",
      `${DOMAINS}[relay]\nuser = "me"\n`,
      `${FILE}:3: relay.user: needs relay.passwordFile, and the reverse`,
    ],
    ["no TOML", `${DOMAINS}[listen\n`, `${FILE}:2: `],
    ["the same key twice", `${DOMAINS}${DOMAINS}`, `${FILE}:2: `],
  ]
  for (const [name, text, want] of rows)
    test(name, () => {
      const found = mistakesOf(text)
      expect(want.endsWith(": ") ? found.slice(0, want.length) : found).toBe(want)
    })

  test("all of them at once, in the order of their lines", () => {
    const found = mistakesOf('[policy]\nsubject = "x"\n[limits]\nrecipients = "many"\nrecipient = 3\n').split("\n")
    expect(found.map((line) => line.split(": ")[1])).toEqual([
      "domains",
      "policy.subject",
      "limits.recipients",
      "limits.recipient",
    ])
  })
})

describe("servers", () => {
  const text = (mailboxes: string) => `${DOMAINS}[mailboxes]\nmasterPasswordFile = "secrets/master"\n${mailboxes}\n`
  const rows: [name: string, line: string, want: unknown][] = [
    [
      "STARTTLS is demanded elsewhere",
      'imap = "imap://mail.example"',
      { kind: "tcp", host: "mail.example", port: 143, security: "starttls" },
    ],
    [
      "TLS from the start",
      'imap = "imaps://mail.example:9930"',
      { kind: "tcp", host: "mail.example", port: 9930, security: "tls" },
    ],
    [
      "plain on loopback",
      'imap = "imap://127.0.0.1:1143"',
      { kind: "tcp", host: "127.0.0.1", port: 1143, security: "plain" },
    ],
    [
      "plain on IPv6 loopback",
      'imap = "imap://[::1]:1143"',
      { kind: "tcp", host: "::1", port: 1143, security: "plain" },
    ],
    [
      "TLS on loopback stays TLS",
      'imap = "imaps://localhost"',
      { kind: "tcp", host: "localhost", port: 993, security: "tls" },
    ],
    ["a Unix socket", 'imap = "imap:/run/imap"', { kind: "unix", path: "/run/imap" }],
  ]
  for (const [name, line, want] of rows)
    test(name, () => {
      const config = parseConfig(text(line), FILE)
      expect(config.imap).toMatchObject({ kind: "imap", endpoint: want })
      const clear = JSON.stringify(want).includes("plain") || JSON.stringify(want).includes("unix")
      expect(config.warnings.length).toBe(clear ? 1 : 0)
    })

  test("how the proxy logs in there, and what it may open", () => {
    expect(parseConfig(text('imap = "imaps://mail.example"'), FILE).imap).toMatchObject({
      login: { kind: "master", user: "postern", form: "separator" },
      caFile: null,
      clientAddress: "none",
      connections: 10_000,
      connectionsPerAccount: 100,
      keepSeconds: 30,
    })
    const lines = [
      'imap = "imaps://imap.example"',
      'auth = "stored"',
      'caFile = "ca.pem"',
      "connectionsPerAccount = 14",
      "keepSeconds = 0",
    ]
    expect(parseConfig(text(lines.join("\n")), FILE).imap).toMatchObject({
      login: { kind: "stored" },
      caFile: "/instance/ca.pem",
      connectionsPerAccount: 14,
      keepSeconds: 0,
    })
  })

  test("a host that only begins like loopback is not loopback", () => {
    expect(readEndpoint("smtp://127.0.0.1.example.com", { smtp: { security: "starttls", port: 25 } })).toMatchObject({
      security: "starttls",
    })
  })

  test("LMTP over a socket", () => {
    expect(parseConfig(text('deliver = "lmtp:///run/lmtp"'), FILE).deliver).toEqual({
      kind: "lmtp",
      endpoint: { kind: "unix", path: "/run/lmtp" },
    })
  })
})

describe("notations", () => {
  test("sizes are powers of 1000, or of 1024 with i", () => {
    expect(["50MB", "1KiB", "7", "3GB", "9B"].map(readSize)).toEqual([50_000_000, 1024, 7, 3_000_000_000, 9])
    for (const bad of ["50 MB", "-1", "1.5MB", "MB", "", "0", "50mb", null, true]) expect(() => readSize(bad)).toThrow()
  })
  test("durations", () => {
    expect(["500ms", "30s", "5m", "12h", "5d"].map(readDuration)).toEqual([
      500, 30_000, 300_000, 43_200_000, 432_000_000,
    ])
    for (const bad of ["5", 5, "0s", "366d", "5 m"]) expect(() => readDuration(bad)).toThrow()
    expect([readDurationOrOff("off"), readDurationOrOff("5m"), readDelay("off"), readDelay("10s")]).toEqual([
      0, 300e3, 0, 10e3,
    ])
    for (const bad of ["11s", "none", 0]) expect(() => readDelay(bad)).toThrow()
  })
  test("listeners", () => {
    expect(readListen("[::1]:0")).toEqual({ host: "::1", port: 0 })
    expect(readListen("*:25")).toEqual({ host: "::", port: 25 })
    for (const bad of ["::1:25", ":25", "host", 25, "a b:1"]) expect(() => readListen(bad)).toThrow()
  })
  test("lines of keys", () => {
    const lines = keyLines('a = 1\n# b = 2\n[t] # x\n"q" = """\nc = 3\n"""\nd.e = 4\n[t.u]\nf=5\n')
    expect(Object.fromEntries(lines)).toEqual({ a: 1, t: 3, "t.q": 4, "t.d.e": 7, "t.u": 8, "t.u.f": 9 })
  })
})

describe("files", () => {
  const folder = mkdtempSync(join(tmpdir(), "postern-config-"))
  afterAll(() => rmSync(folder, { recursive: true }))

  test("found in ., then in ./var, then nowhere", () => {
    expect(() => loadConfig(null, folder)).toThrow(/postern.toml, var\/postern.toml: not found/)
    mkdirSync(join(folder, "var"))
    writeFileSync(join(folder, "var/postern.toml"), DOMAINS)
    expect(loadConfig(null, folder).data).toBe(join(folder, "var/data"))
    writeFileSync(join(folder, "postern.toml"), DOMAINS)
    expect(loadConfig(null, folder).data).toBe(join(folder, "data"))
    expect(() => loadConfig("other.toml", folder)).toThrow(/other.toml: cannot read/)
  })

  test("a secret loses one trailing newline", () => {
    writeFileSync(join(folder, "secret"), "a b\n\n")
    expect(readSecretText({ kind: "file", path: join(folder, "secret") })).toBe("a b\n")
    expect(() => readSecretText({ kind: "environment", name: "POSTERN_NOT_THERE" })).toThrow(/POSTERN_NOT_THERE/)
  })
})
