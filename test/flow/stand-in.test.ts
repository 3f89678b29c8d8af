import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { mustRun, peer, run } from "../harness/peers.ts"
import { freeRange } from "../harness/ports.ts"
import { openSmtpSink, type SmtpSink } from "../harness/smtp-sink.ts"
import { submitBy } from "../harness/wire.ts"

const ALICE = "alice@example.test"
const MALLORY = "mallory@example.test"
const CANARY = "canary-0815-stand-in"
const RULES = `
[[policy.rules]]
name = "words"
to = ["*@words.test"]
standIn = "send"
[[policy.rules]]
name = "end to end"
to = ["*@endtoend.test"]
standIn = "never"
[[policy.rules]]
name = "partners"
to = ["refused@partner.test"]
encrypt = "require"
otherwise = "refuse"
[[policy.rules]]
name = "asked for"
subjectTag = "[must]"
encrypt = "require"
otherwise = "refuse"
`

type Device = DeviceSettings & { readonly folder: string }

let gateway: Instance
let laptop: Device
let other: Device
let hop: SmtpSink
let ldapsPort: number

beforeAll(async () => {
  hop = await openSmtpSink({ server: { hideDSN: true } })
  gateway = await Instance.create()
  ldapsPort = await freeRange(1)
  gateway.configure('next = "mx"', `next = "smtp://127.0.0.1:${hop.port}"`)
  gateway.configure("[listen]\n", `[listen]\nldaps = "127.0.0.1:${ldapsPort}"\n`)
  gateway.configure("[keys]\n", "[keys]\nstandIns = true\n")
  writeFileSync(gateway.configuration, `${readFileSync(gateway.configuration, "utf8")}${RULES}`)
  await gateway.must("account", "add", ALICE)
  laptop = await gateway.device(ALICE, "laptop")
  await gateway.must("account", "add", MALLORY)
  other = await gateway.device(MALLORY, "phone")
  await gateway.must("stand-in", "make", "--out", at("authority.pem"))
  await realKey("carol@real.test", "carol")
  await gateway.serve()
})

afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]()
  await hop?.[Symbol.asyncDispose]()
})

const at = (name: string): string => join(gateway.folder, name)
const queued = async (): Promise<readonly { id: string; recipient: string; state: string; holdReason: string }[]> =>
  JSON.parse(await gateway.must("queue", "list", "--json"))
const heldFor = (recipient: string) =>
  eventually(`a held message for ${recipient}`, async () =>
    (await queued()).find((one) => one.recipient === recipient && one.state === "held"),
  )
const relayed = (recipient: string, subject: string) =>
  eventually(`mail for ${recipient}`, () =>
    hop.messages.find(
      ({ recipients, octets }) => recipients.includes(recipient) && octets.includes(`Subject: ${subject}\r\n`),
    ),
  )

/** A key of somebody's own: FILE.pem, FILE.key. */
async function realKey(address: string, file: string): Promise<void> {
  const subject = ["-subj", `/CN=${file}`, "-addext", `subjectAltName=email:${address}`]
  const usage = ["-addext", "keyUsage=keyEncipherment", "-addext", "basicConstraints=CA:FALSE"]
  const files = ["-keyout", at(`${file}.key`), "-out", at(`${file}.pem`)]
  await mustRun("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", ...subject, ...usage, ...files])
}

function search(address: string, login: readonly string[] = ["-D", laptop.username, "-w", laptop.password]) {
  const url = ["-H", `ldaps://127.0.0.1:${ldapsPort}`, "-b", "o=example.test"]
  const asked = [`(mail=${address})`, "cn", "userCertificate;binary"]
  const env = { LDAPTLS_CACERT: at("tls/ca.pem") }
  return run("ldapsearch", ["-x", "-LLL", "-o", "ldif-wrap=no", ...url, ...login, ...asked], { env })
}

/** The certificate that a client is given, as FILE.pem. */
async function lookUp(address: string, file: string, by: Device = laptop): Promise<string> {
  const { stdout, stderr, code } = await search(address, ["-D", by.username, "-w", by.password])
  expect([code, stderr]).toEqual([0, ""])
  const [, found = ""] = /userCertificate;binary:: (\S+)/.exec(Buffer.from(stdout).toString()) ?? []
  expect(found, Buffer.from(stdout).toString()).not.toBe("")
  writeFileSync(
    at(`${file}.pem`),
    `-----BEGIN CERTIFICATE-----\n${found.replace(/.{1,64}/g, "$&\n")}-----END CERTIFICATE-----\n`,
  )
  return found
}

const ENTITY = `Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n${CANARY}\r\n`

/** A message as clients encrypt it, to these certificates. */
async function encrypted(
  files: readonly string[],
  to: string,
  subject: string,
  options: readonly string[] = [],
  by = ALICE,
) {
  const recipients = files.map((file) => at(`${file}.pem`))
  const mime = await mustRun(
    "openssl",
    ["cms", "-encrypt", "-aes-256-cbc", "-binary", "-outform", "DER", ...options, ...recipients],
    {
      input: ENTITY,
    },
  )
  return enveloped(mime, to, subject, by)
}

function enveloped(der: Uint8Array, to: string, subject: string, by = ALICE): Buffer {
  const body = Buffer.from(der)
    .toString("base64")
    .replace(/.{1,76}/g, "$&\r\n")
  const type = 'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"'
  const head = `From: ${by}\r\nTo: ${to}\r\nSubject: ${subject}\r\nMIME-Version: 1.0\r\n${type}\r\nContent-Transfer-Encoding: base64\r\n`
  return Buffer.from(`${head}\r\n${body}`)
}

function submit(message: Uint8Array, to: readonly string[], by: Device = laptop): Promise<string> {
  return submitBy(by, to, message)
}

describe.skipIf(!peer("ldapsearch") || !peer("openssl"))("a stand-in, given out", () => {
  test("to a device that logs in: the same octets each time, and others to another account", async () => {
    const first = await lookUp("bob@partner.test", "bob")
    expect(await lookUp("bob@partner.test", "bob")).toBe(first)
    expect(await lookUp("bob@partner.test", "mallorys-bob", other)).not.toBe(first)
    const shown = await mustRun("openssl", [
      "x509",
      "-in",
      at("bob.pem"),
      "-noout",
      "-subject",
      "-ext",
      "subjectAltName,keyUsage,extendedKeyUsage",
    ])
    expect(Buffer.from(shown).toString()).toMatch(
      /CN ?= ?bob@partner\.test via gateway\n[\s\S]*Key Agreement[\s\S]*E-mail Protection[\s\S]*email:bob@partner\.test/,
    )
    const verified = await run("openssl", ["verify", "-CAfile", at("authority.pem"), at("bob.pem")])
    expect([verified.code, verified.stderr]).toEqual([0, ""])
  })

  const none: readonly (readonly [
    what: string,
    address: string,
    login: readonly string[] | undefined,
    code: number,
  ])[] = [
    ["anonymously", "bob@partner.test", [], 48],
    ["for whom policy never has one", "bob@endtoend.test", undefined, 0],
    ["where mail would be refused", "refused@partner.test", undefined, 0],
    ["for who is not here, of our own domains", "nobody@example.test", undefined, 0],
  ]
  for (const [what, address, login, code] of none)
    test(`not ${what}`, async () => {
      const found = await search(address, login)
      expect(found.code).toBe(code)
      expect(Buffer.from(found.stdout).toString()).not.toContain("userCertificate")
    })

  test("not for who has a certificate of his own, nor under its authority for one of our people", async () => {
    await gateway.must("certificate", "add", "carol@real.test", at("carol.pem"))
    const real = readFileSync(at("carol.pem"), "utf8").replace(/-----[^-]+-----|\s/g, "")
    expect(await lookUp("carol@real.test", "carols")).toBe(real)
    const text = await mustRun("openssl", ["x509", "-in", at("authority.pem"), "-noout", "-text"])
    expect(Buffer.from(text).toString()).toMatch(
      /CA:TRUE, pathlen:0[\s\S]*Excluded:\s+email:example\.test\s+email:\.example\.test/,
    )
  })
})

describe.skipIf(!peer("ldapsearch") || !peer("openssl"))("mail that is encrypted to a stand-in", () => {
  test("where the recipient has no key: over verified TLS or not at all, so behind a next hop of ours it is held, and says why", async () => {
    const message = await encrypted(["bob"], "bob@partner.test", "no key")
    expect(await submit(message, ["bob@partner.test"])).toMatch(/^250 /)
    expect((await heldFor("bob@partner.test")).holdReason).toContain("policy wants TLS to the recipient's own server")
  })

  test("is encrypted to the key that the recipient has by then (a)", async () => {
    await realKey("bob@partner.test", "bobs-own")
    await gateway.must("certificate", "add", "bob@partner.test", at("bobs-own.pem"))
    await gateway.must("queue", "release", (await heldFor("bob@partner.test")).id)
    const { octets } = await relayed("bob@partner.test", "no key")
    expect(octets.toString()).not.toContain(CANARY)
    writeFileSync(at("to-bob.eml"), octets)
    const opened = await mustRun("openssl", [
      "cms",
      "-decrypt",
      "-in",
      at("to-bob.eml"),
      "-recip",
      at("bobs-own.pem"),
      "-inkey",
      at("bobs-own.key"),
    ])
    expect(Buffer.from(opened).toString()).toContain(`\r\n\r\n${CANARY}\r\n`)
    expect(Buffer.from(opened).toString()).toMatch(/^Content-Type: text\/plain; charset=utf-8/m)
  })

  const forms: readonly (readonly [name: string, options: readonly string[]])[] = [
    ["a stream of BER", ["-stream"]],
    ["AES-GCM", ["-aes-256-gcm"]],
    ["by key identifier", ["-keyid"]],
    ["AES-128, another KDF", ["-aes-128-cbc"]],
  ]
  for (const [name, options] of forms)
    test(`in clear where policy says so in so many words (b): ${name}`, async () => {
      await lookUp("bob@words.test", "words")
      const message = await encrypted(["words"], "bob@words.test", name, options)
      expect(await submit(message, ["bob@words.test"])).toMatch(/^250 /)
      const { octets } = await relayed("bob@words.test", name)
      expect(octets.toString()).toContain(`\r\n\r\n${CANARY}\r\n`)
      expect(octets.toString()).not.toContain("pkcs7")
    })

  test.skipIf(!peer("cmsutil") || !peer("thunderbird"))(
    "by the NSS that Thunderbird brings, which trusts the authority for e-mail",
    async () => {
      await lookUp("bob@words.test", "words")
      mkdirSync(at("nss"), { recursive: true })
      // Debian's own NSS (3.87) cannot encrypt to curves yet.
      const env = { LD_LIBRARY_PATH: "/usr/lib/thunderbird" }
      const nss = ["-d", `sql:${at("nss")}`]
      await mustRun("certutil", ["-N", ...nss, "--empty-password"], { env })
      await mustRun("certutil", ["-A", ...nss, "-n", "authority", "-t", ",C,", "-a", "-i", at("authority.pem")], {
        env,
      })
      await mustRun("certutil", ["-A", ...nss, "-n", "bob", "-t", ",,", "-a", "-i", at("words.pem")], { env })
      const valid = await run("certutil", ["-V", ...nss, "-n", "bob", "-u", "R", "-e"], { env })
      expect([valid.code, valid.stderr]).toEqual([0, ""])
      const der = await mustRun("cmsutil", ["-E", ...nss, "-r", "bob@words.test"], { env, input: ENTITY })
      expect(await submit(enveloped(der, "bob@words.test", "by NSS"), ["bob@words.test"])).toMatch(/^250 /)
      expect((await relayed("bob@words.test", "by NSS")).octets.toString()).toContain(`\r\n\r\n${CANARY}\r\n`)
    },
  )

  test("of somebody else's is not opened for who submits a copy (c): it is held", async () => {
    const copy = await encrypted(["words"], "bob@words.test", "copied", [], MALLORY)
    for (const to of ["bob@words.test", "mallory@words.test"]) {
      expect(await submit(copy, [to], other)).toMatch(/^250 /)
      expect((await heldFor(to)).holdReason).toBe(
        "it is encrypted to a certificate of this gateway's that was made for somebody else's mail",
      )
    }
    expect(hop.messages.filter(({ octets }) => octets.includes("Subject: copied"))).toEqual([])
  })

  test("goes to nobody but whom the stand-in is for: whoever else is in the envelope gets what was encrypted", async () => {
    const message = await encrypted(["words"], "bob@words.test", "envelope")
    expect(await submit(message, ["bob@words.test", "eve@words.test"])).toMatch(/^250 /)
    expect((await relayed("bob@words.test", "envelope")).octets.toString()).toContain(CANARY)
    const { octets } = await relayed("eve@words.test", "envelope")
    expect(octets.toString()).not.toContain(CANARY)
    expect(octets.toString()).toContain("application/pkcs7-mime")
  })

  test("and to a recipient's own certificate: he gets it untouched, the other one as policy says (d)", async () => {
    const message = await encrypted(["carol", "words"], "carol@real.test, bob@words.test", "mixed")
    expect(await submit(message, ["carol@real.test", "bob@words.test"])).toMatch(/^250 /)
    const { octets } = await relayed("carol@real.test", "mixed")
    expect(octets.toString()).toContain(message.toString().slice(message.indexOf("\r\n\r\n")))
    writeFileSync(at("to-carol.eml"), octets)
    const opened = await mustRun("openssl", [
      "cms",
      "-decrypt",
      "-in",
      at("to-carol.eml"),
      "-recip",
      at("carol.pem"),
      "-inkey",
      at("carol.key"),
    ])
    expect(Buffer.from(opened).toString()).toBe(ENTITY)
    expect((await relayed("bob@words.test", "mixed")).octets.toString()).toContain(`\r\n\r\n${CANARY}\r\n`)
  })

  test("is refused before 250 where policy refuses", async () => {
    await lookUp("dave@partner.test", "dave")
    const message = await encrypted(["dave"], "dave@partner.test", "[must] be refused")
    expect(await submit(message, ["dave@partner.test"])).toMatch(
      /^523 5\.7\.10 dave@partner\.test has no key that may be used \(rule "asked for"\)/,
    )
    expect((await queued()).filter(({ recipient }) => recipient === "dave@partner.test")).toEqual([])
  })

  test("is opened by an authority that was replaced, and held, with the reason, once that is destroyed", async () => {
    const [old] = JSON.parse(await gateway.must("stand-in", "show", "--json"))
    await gateway.must("stand-in", "replace", "--out", at("second.pem"))
    expect(await submit(await encrypted(["words"], "bob@words.test", "old one"), ["bob@words.test"])).toMatch(/^250 /)
    expect((await relayed("bob@words.test", "old one")).octets.toString()).toContain(CANARY)
    await gateway.must("stand-in", "destroy", old.id)
    const { id: stale } = await heldFor("bob@words.test")
    await gateway.must("queue", "drop", stale)
    expect(await submit(await encrypted(["words"], "bob@words.test", "destroyed"), ["bob@words.test"])).toMatch(/^250 /)
    expect((await heldFor("bob@words.test")).holdReason).toBe(
      `the key of the certificate that it is encrypted to was destroyed (${old.id})`,
    )
  })

  test("nothing of it lies on the disk in clear", async () => {
    const found = await run("grep", ["-rl", CANARY, at("data"), at("secrets")])
    expect(Buffer.from(found.stdout).toString()).toBe("")
  })
})

describe("what people are told", () => {
  test("of what becomes of mail to a stand-in, by policy test and profile lookup", async () => {
    const line = ["policy", "test", "--from", ALICE, "--to", "bob@words.test", "--json"]
    const { recipients } = JSON.parse(await gateway.must(...line))
    expect(recipients[0].standIn).toMatchObject({ isOffered: true, decision: "send" })
    expect(await gateway.must("profile", "lookup", "bob@elsewhere.test", "--from", ALICE)).toMatch(
      /stand-in: clients are given one; what is encrypted to it is opened here: tls, bob@elsewhere\.test has no key/,
    )
    expect(await gateway.must("profile", "lookup", "bob@endtoend.test")).toContain(
      'given none: policy says standIn = "never" (rule "end to end")',
    )
  })

  test("that an authority could certify our own people, by check", async () => {
    gateway.configure('domains = ["example.test"]', 'domains = ["example.test", "second.test"]')
    expect((await gateway.postern("check", "--no-dns")).stdout.toString()).toContain(
      "wrong  stand-ins: its authority could certify people of second.test: postern stand-in replace",
    )
  })
})
