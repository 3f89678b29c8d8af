import { readdirSync, readFileSync } from "node:fs"
import { mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { mustRun, peer, run, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { armorOf, ImapSession, openWithOpenssl } from "../harness/reading.ts"
import { openSmtpSink, type SmtpSink } from "../harness/smtp-sink.ts"
import { stuffed, WireClient } from "../harness/wire.ts"

type Device = DeviceSettings & { readonly folder: string }

const ALICE = "alice@example.test"
const DAVE = "dave@example.test"
const SECRET = "for the recipient and nobody on the way"

let folder: TemporaryFolder
let gateway: Instance
let laptop: Device
let leaver: Device
/** What the next hop says to RCPT; null: it takes the message. */
let refusals: Readonly<Record<string, string>> = {}
let hop: SmtpSink
/** The next hop of one domain. */
let partner: SmtpSink

beforeAll(async () => {
  folder = await temporaryFolder()
  hop = await openSmtpSink({ rcpt: (address) => refusals[address] ?? null, server: { hideDSN: true } })
  gateway = await Instance.create()
  partner = await openSmtpSink()
  const rule = `[[relay.domains]]\ndomain = "partner.test"\nnext = "smtp://127.0.0.1:${partner.port}"\n`
  gateway.configure('next = "mx"', `next = "smtp://127.0.0.1:${hop.port}"\n${rule}`)
  // Every octet is compared; what header protection adds inside has tests of its own.
  gateway.configure('subject = "clear"', 'subject = "clear"\nheaders = "off"')
  await gateway.must("account", "add", ALICE)
  await gateway.must("account", "add", DAVE)
  laptop = await gateway.device(ALICE, "laptop")
  leaver = await gateway.device(DAVE, "leaver")
  await gateway.serve()
})

afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]()
  await hop?.[Symbol.asyncDispose]()
  await partner?.[Symbol.asyncDispose]()
  await folder?.[Symbol.asyncDispose]()
})

describe("mail for other domains", () => {
  test("reaches the next hop as it was submitted, behind our Received field; our own people get it encrypted", async () => {
    const sent = Buffer.concat([
      message("relayed", "bob@else.test, alice@example.test"),
      Buffer.from(`.a dot\r\n..two\r\n${"long ".repeat(190)}\r\nGrüße\r\n\r\n\r\n`),
    ])
    expect(await submit(sent, ["bob@else.test", ALICE])).toMatch(/^250 2\./)
    const got = await relayed("bob@else.test")
    expect(got.sender).toBe(ALICE)
    const field = /^Received: .*\r\n(?:[ \t].*\r\n)*/.exec(got.octets.toString("latin1"))?.[0] ?? ""
    expect(field).toMatch(/^Received: by example\.test\r\n\twith ESMTPSA\r\n/)
    expect(field).not.toContain("127.0.0.1")
    expect(got.octets.subarray(field.length)).toEqual(sent)
    expect(await openWithOpenssl(await inMailbox('HEADER Message-ID "<relayed@example.test>"'), laptop)).toEqual(sent)
  })

  test("4xx: it waits, the queue shows why, and queue retry sends it", async () => {
    refusals = { "later@else.test": "451 4.7.1 greylisted, come back" }
    const sent = message("greylisted", "later@else.test")
    const id = idIn(await submit(sent, ["later@else.test"]))
    expect(JSON.stringify(await delayed(id))).toContain("greylisted")
    expect(await gateway.must("queue", "show", id)).toContain("4.7.1")
    refusals = {}
    await gateway.must("queue", "retry", id)
    const { octets } = await relayed("later@else.test")
    expect(octets.subarray(-sent.length)).toEqual(sent)
    await audit(id, "done")
  })

  test("5xx: the sender gets a report, encrypted", async () => {
    refusals = { "nobody@else.test": "550 5.1.1 there is nobody of this name" }
    const sent = message("refused", "nobody@else.test")
    const id = idIn(await submit(sent, ["nobody@else.test"], { mail: "ENVID=abc" }))
    await audit(id, "failed")
    const report = await inMailbox('SUBJECT "Undelivered mail"')
    const outside = Buffer.from(report).toString()
    expect(outside).toMatch(/^Return-Path: <>\r\n/)
    expect(outside).toMatch(/^Auto-Submitted: auto-replied\r$/m)
    expect(outside).not.toContain("there is nobody")
    const inside = Buffer.from((await openWithOpenssl(report, laptop)) ?? []).toString()
    expect(inside).toMatch(/^Content-Type: multipart\/report; report-type=delivery-status;/m)
    for (const line of [
      "Original-Envelope-Id: abc",
      "Final-Recipient: rfc822; nobody@else.test",
      "Action: failed",
      "Status: 5.1.1",
      "Diagnostic-Code: smtp; 550 5.1.1 there is nobody of this name",
      "Message-ID: <refused@example.test>",
    ])
      expect(inside).toContain(`\r\n${line}\r\n`)
    expect(inside).not.toContain(SECRET)
  })

  test("REQUIRETLS: what the next hop does not promise is no way for it; the sender hears so", async () => {
    const id = idIn(await submit(message("required", "bob@else.test"), ["bob@else.test"], { mail: "REQUIRETLS" }))
    await audit(id, "failed")
    const report = await inMailbox('SUBJECT "Undelivered mail"', 2)
    const inside = Buffer.from((await openWithOpenssl(report, laptop)) ?? []).toString()
    expect(inside).toContain("\r\nStatus: 5.7.30\r\n")
    expect(inside).toContain("<required@example.test>")
    expect(hop.messages.some(({ octets }) => octets.includes("<required@example.test>"))).toBe(false)
  })

  test("[[relay.domains]]: another way for one domain", async () => {
    const sent = message("partner", "eve@partner.test")
    expect(await submit(sent, ["eve@partner.test"])).toMatch(/^250 2\./)
    const got = await eventually("mail at the partner", () => partner.messages[0])
    expect(got.octets.subarray(-sent.length)).toEqual(sent)
  })

  test("NOTIFY=NEVER: no report", async () => {
    refusals = { "nobody@else.test": "550 5.1.1 there is nobody of this name" }
    const before = stored().length
    const reply = await submit(message("quiet", "nobody@else.test"), ["nobody@else.test"], { rcpt: "NOTIFY=NEVER" })
    await audit(idIn(reply), "failed")
    expect(JSON.parse(await gateway.must("queue", "list", "--json"))).toEqual([])
    expect(stored()).toHaveLength(before)
  })

  test("NOTIFY=SUCCESS: delivery here is confirmed, and that mail left for a server that confirms nothing", async () => {
    const sent = message("confirmed", `${ALICE}, glad@else.test`)
    const reply = await submit(sent, [ALICE, "glad@else.test"], { rcpt: "NOTIFY=SUCCESS,FAILURE" })
    await audit(idIn(reply), "done")
    const inside: string[] = []
    for (const number of [1, 2]) {
      const report = await inMailbox('SUBJECT "Delivered mail" NOT SUBJECT "Undelivered"', number)
      inside.push(Buffer.from((await openWithOpenssl(report, laptop)) ?? []).toString())
    }
    expect(
      inside.map((text) => /Final-Recipient: rfc822; (\S+)\r\nAction: (\w+)\r\nStatus: 2\./.exec(text)?.slice(1)),
    ).toEqual(
      expect.arrayContaining([
        [ALICE, "delivered"],
        ["glad@else.test", "relayed"],
      ]),
    )
    // Who is behind an alias is nobody's business.
    expect(inside.join()).not.toContain("stored for")
  })

  test("a report that cannot be delivered is the end of it", async () => {
    refusals = { "gone@else.test": "450 4.2.1 busy" }
    const id = idIn(await submit(message("orphan", "gone@else.test", DAVE), ["gone@else.test"], { from: leaver }))
    await delayed(id)
    await gateway.must("account", "remove", DAVE)
    refusals = { "gone@else.test": "550 5.1.1 gone" }
    await gateway.must("queue", "retry", id)
    await audit(id, "failed")
    await eventually("an empty queue", async () => (await gateway.must("queue", "list", "--json")).trim() === "[]")
    const attempted = () =>
      gateway.log.split("\n").filter((line) => line.includes('"mail.attempt"') && line.includes(DAVE))
    await eventually("it is logged", () => attempted().length > 0)
    const attempts = attempted()
    expect(attempts).toHaveLength(1)
    expect(JSON.parse(attempts[0] ?? "")).toMatchObject({ recipient: DAVE, outcome: "failed", status: "5.1.1" })
  })
})

describe("a pinned certificate", () => {
  /** The octets as they reach a recipient whose certificate is pinned, and what was submitted. */
  async function sendPinned(address: string, file: string, name: string) {
    expect(await gateway.must("certificate", "add", address, file)).toContain("pinned")
    const sent = message(name, address)
    expect(await submit(sent, [address])).toMatch(/^250 2\./)
    const { octets } = await relayed(address)
    expect(octets.toString("latin1")).not.toContain(SECRET)
    expect(octets.toString()).toMatch(/^Received: [\s\S]*\r\nFrom: alice@example\.test\r\n/)
    expect(octets.toString()).not.toMatch(/^Postern-Encrypted/m)
    return { sent, octets }
  }

  const algorithms: readonly (readonly [name: string, ...newkey: string[]])[] = [
    ["ec", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    ["rsa", "-newkey", "rsa:2048"],
  ]
  for (const [name, ...newkey] of algorithms)
    test.skipIf(!peer("openssl"))(`S/MIME, ${name}: OpenSSL opens it with the recipient's key`, async () => {
      const address = `${name}@else.test`
      const { key, certificate } = await opensslPair(name, address, newkey)
      const { sent, octets } = await sendPinned(address, certificate, name)
      const opened = await mustRun("openssl", ["cms", "-decrypt", "-binary", "-inkey", key, "-recip", certificate], {
        input: octets,
      })
      expect(opened).toEqual(sent)
    })

  test.skipIf(!peer("openssl"))("S/MIME that nothing can be encrypted to is refused when it is added", async () => {
    const rows: readonly (readonly [name: string, newkey: readonly string[], more?: readonly string[]])[] = [
      ["ed25519", ["-newkey", "ed25519"]],
      ["signs", ["-newkey", "rsa:2048"], ["-addext", "keyUsage=digitalSignature"]],
    ]
    for (const [name, newkey, more = []] of rows) {
      const { certificate } = await opensslPair(name, `${name}@else.test`, newkey, more)
      const { code, stderr } = await gateway.postern("certificate", "add", `${name}@else.test`, certificate)
      expect(code, name).toBe(1)
      expect(stderr).toContain(certificate)
    }
  })

  const kinds: readonly (readonly [name: string, algorithm: string])[] = [
    ["gpg-curve25519", "future-default"],
    ["gpg-rsa", "rsa2048"],
  ]
  for (const [name, algorithm] of kinds)
    test.skipIf(!peer("gpg"))(`OpenPGP, GnuPG ${algorithm}: GnuPG opens it`, async () => {
      const home = folder.file(name)
      await mkdir(home, { mode: 0o700 })
      const gpg = (args: readonly string[], input = "") =>
        mustRun("gpg", ["--homedir", home, "--batch", "--pinentry-mode", "loopback", "--passphrase", "", ...args], {
          input,
        })
      try {
        const address = `${name}@else.test`
        await gpg(["--quick-generate-key", `Bob <${address}>`, algorithm, "default", "never"])
        if (algorithm === "rsa2048") {
          const listed = Buffer.from(await gpg(["--with-colons", "--list-keys"])).toString()
          await gpg(["--quick-add-key", /^fpr:+([0-9A-F]+):/m.exec(listed)?.[1] ?? "", "rsa2048", "encrypt", "never"])
        }
        const file = folder.file(`${name}.asc`)
        await writeFile(file, await gpg(["--armor", "--export", address]))
        const { sent, octets } = await sendPinned(address, file, name)
        expect(octets.toString()).toMatch(/protocol="application\/pgp-encrypted"/)
        expect(await gpg(["--decrypt"], armorOf(octets))).toEqual(sent)
      } finally {
        await run("gpgconf", ["--homedir", home, "--kill", "all"])
      }
    })

  test.skipIf(!peer("sq"))("OpenPGP, Sequoia, binary: Sequoia opens it", async () => {
    const address = "sequoia@else.test"
    const [key, file] = [folder.file("sq.asc"), folder.file("sq.pgp")]
    await mustRun("sq", ["key", "generate", "--userid", `Bob <${address}>`, "--export", key])
    await mustRun("sq", ["key", "extract-cert", "--binary", "--output", file, key])
    const { sent, octets } = await sendPinned(address, file, "sequoia")
    expect(await mustRun("sq", ["decrypt", "--recipient-key", key], { input: armorOf(octets) })).toEqual(sent)
  })

  test("OpenPGP that vouches for nothing is refused when it is added", async () => {
    const file = folder.file("broken.asc")
    await writeFile(file, "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxjMEZQ==\n-----END PGP PUBLIC KEY BLOCK-----\n")
    const { code, stderr } = await gateway.postern("certificate", "add", "x@else.test", file)
    expect(code).toBe(1)
    expect(stderr).toContain(file)
  })
})

interface Job {
  readonly spoolId: string
  readonly state: string
}

function message(name: string, to: string, from = ALICE): Buffer {
  return Buffer.from(
    `From: ${from}\r\nTo: ${to}\r\nSubject: ${name}\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n` +
      `Message-ID: <${name}@example.test>\r\n\r\n${SECRET}\r\n`,
  )
}

/** Submits over TLS, as the laptop unless stated. @returns the reply to the message */
async function submit(
  octets: Uint8Array,
  to: readonly string[],
  {
    from = laptop,
    mail = "",
    rcpt = "",
  }: { readonly from?: Device; readonly mail?: string; readonly rcpt?: string } = {},
): Promise<string> {
  using client = await WireClient.connect(from.smtp.port, { tls: true })
  const say = async (line: string): Promise<string> => {
    await client.write(`${line}\r\n`)
    return client.until(/^\d{3} .*\r\n/m)
  }
  await client.until(/^220 .*\r\n/m)
  await say("EHLO client.test")
  const { username, password } = from
  const commands = [
    `AUTH PLAIN ${Buffer.from(`\0${username}\0${password}`).toString("base64")}`,
    `MAIL FROM:<${username}> BODY=8BITMIME ${mail}`.trim(),
    ...to.map((recipient) => `RCPT TO:<${recipient}> ${rcpt}`.trim()),
    "DATA",
  ]
  for (const command of commands) {
    const reply = await say(command)
    if (!/^[23]/.test(reply)) return reply
  }
  await client.write(stuffed(octets))
  return await client.until(/^\d{3} .*\r\n/m)
}

/** The spool id in a reply. */
function idIn(reply: string): string {
  const id = /\b([0-9a-z]{20,})\b/.exec(reply)?.[1]
  if (id === undefined) throw new Error(`no id in ${reply}`)
  return id
}

/** The job of this message, once an attempt has left it waiting. */
function delayed(id: string): Promise<Job> {
  return eventually("a delayed job", async () => {
    const jobs = JSON.parse(await gateway.must("queue", "list", "--json")) as Job[]
    return jobs.find(({ spoolId, state }) => spoolId === id && state === "delayed")
  })
}

/** The message that reached the next hop for this recipient. */
function relayed(recipient: string) {
  return eventually(`mail for ${recipient} at the next hop`, () =>
    hop.messages.find(({ recipients }) => recipients.includes(recipient)),
  )
}

/** Waits until every recipient of the message is settled like this. */
async function audit(id: string, outcome: string): Promise<void> {
  await eventually(`${id} is ${outcome}`, async () => {
    const shown = (await gateway.shown(id)) as { jobs: unknown[]; audit: { outcome: string }[] }
    return shown.jobs.length === 0 && shown.audit.every((row) => row.outcome === "queued" || row.outcome === outcome)
  })
}

/** A message in Alice's INBOX that this search key finds: the first, or the one with this number. */
async function inMailbox(key: string, number = 1): Promise<Uint8Array> {
  using session = await ImapSession.open(laptop)
  const uid = await eventually(`${key} in the mailbox`, async () => {
    await session.must("SELECT INBOX")
    const found = /^\* SEARCH ([\d ]+)/m.exec(await session.must(`UID SEARCH ${key}`))?.[1] ?? ""
    return Number(found.split(" ")[number - 1] ?? 0)
  })
  return await session.fetch(uid, "BODY.PEEK[]")
}

function stored(): string[] {
  return ["new", "cur"].flatMap((kind) =>
    readdirSync(join(gateway.maildir(ALICE), kind)).map((file) =>
      readFileSync(join(gateway.maildir(ALICE), kind, file), "latin1"),
    ),
  )
}

/** Makes a key and a certificate for one address. */
async function opensslPair(name: string, address: string, newkey: readonly string[], more: readonly string[] = []) {
  const [key, certificate] = [folder.file(`${name}.key`), folder.file(`${name}.pem`)]
  await mustRun("openssl", [
    ...["req", "-x509", ...newkey, "-nodes", "-days", "2", "-subj", `/CN=${name}`, "-keyout", key, "-out", certificate],
    ...["-addext", `subjectAltName=email:${address}`, ...more],
  ])
  return { key, certificate }
}
