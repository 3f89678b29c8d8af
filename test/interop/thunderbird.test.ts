import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { pemDecode } from "../../src/crypto/cms/pem.ts"
import { formatDateTime } from "../../src/message/date.ts"
import { encryptionTarget } from "../../src/pipeline/at-rest.ts"
import { collect, preparedOf } from "../../src/pipeline/prepared.ts"
import { classified } from "../../src/pipeline/protect.ts"
import { ENCRYPTED_ONLY, protectOutgoing } from "../../src/pipeline/protect-outgoing.ts"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { Outsiders } from "../harness/outsiders.ts"
import { mustRun, peer } from "../harness/peers.ts"
import { freeRange } from "../harness/ports.ts"
import { ImapSession, openWithOpenssl, openWithRnp } from "../harness/reading.ts"
import { openSmtpSink, type SmtpSink } from "../harness/smtp-sink.ts"
import { Thunderbird } from "../harness/thunderbird.ts"
import { sendMail, submitMail, WireClient } from "../harness/wire.ts"

type Device = DeviceSettings & { readonly folder: string }

const ALICE = "alice@example.test"
const BOB = "bob@example.test"
const CAROL = "carol@example.test"
const OK = "message-encrypted-ok.svg"
const SEED = new Uint8Array(32).fill(1)
const HIDDEN = { ...ENCRYPTED_ONLY, headers: "hidden" } as const
const DAY = new Date("2026-11-21T10:00:00Z")
const SIGNED = "message-signed-ok.svg"
const RULES = `
[[policy.rules]]
to = ["*@outside.test"]
encrypt = "require"
sign = "require"
`
const SECRET = "Nobody but a device may read this line."

let gateway: Instance
let ldapsPort: number
let outsiders: Outsiders
/** The server of those who are elsewhere. */
let elsewhere: SmtpSink
let devices: {
  readonly laptop: Device
  readonly desk: Device
  readonly desktop: Device
  readonly phone: Device
  readonly carols: Device
}
let starting: readonly Promise<Thunderbird>[] = []
let laptop: Thunderbird
let desk: Thunderbird
let desktop: Thunderbird

const installed = peer("thunderbird") && peer("Xvfb") && Outsiders.possible

describe.skipIf(!installed)("an unmodified Thunderbird", () => {
  beforeAll(async () => {
    outsiders = await Outsiders.make()
    elsewhere = await openSmtpSink({ server: { hideDSN: true } })
    gateway = await Instance.create()
    ldapsPort = await freeRange(1)
    gateway.configure("[listen]\n", `[listen]\nldaps = "127.0.0.1:${ldapsPort}"\n`)
    gateway.configure("[keys]\n", "[keys]\nstandIns = true\n")
    gateway.configure("[policy]\n", '[policy]\nstandIn = "send"\n')
    await gateway.must("stand-in", "make", "--out", join(gateway.folder, "authority.pem"))
    gateway.configure('next = "mx"', `next = "smtp://127.0.0.1:${elsewhere.port}"`)
    writeFileSync(gateway.configuration, `${readFileSync(gateway.configuration, "utf8")}${RULES}`)
    for (const [address, file] of outsiders.certificateFiles) await gateway.must("certificate", "add", address, file)
    await gateway.must("account", "add", CAROL, "--format", "smime,openpgp", "--name", "Carol Example")
    for (const format of ["smime", "openpgp"]) await gateway.must("gateway-key", "add", CAROL, "--format", format)
    await gateway.must("account", "add", ALICE, "--name", "Alice Example")
    await gateway.must("account", "add", BOB, "--format", "openpgp", "--name", "Bob Example")
    devices = {
      laptop: await gateway.device(ALICE, "laptop"),
      desk: await gateway.device(ALICE, "desk"),
      desktop: await gateway.device(BOB, "desktop"),
      phone: await gateway.device(BOB, "phone"),
      carols: await gateway.device(CAROL, "carols"),
    }
    const serverRoot = join(gateway.folder, "tls", "ca.pem")
    const alice = { fullName: "Alice Example" }
    const serving = gateway.serve()
    const programs = [
      Thunderbird.start(devices.laptop, serverRoot, { ...alice, keepsMessages: false }),
      Thunderbird.start(devices.desk, serverRoot, { ...alice, keepsMessages: true }),
      Thunderbird.start(devices.desktop, serverRoot, { fullName: "Bob Example", keepsMessages: true }),
    ] as const
    starting = programs
    await serving
    ;[laptop, desk, desktop] = await Promise.all(programs)
  }, 120_000)

  afterAll(async () => {
    // Also those that were still starting when something else failed.
    const started = (await Promise.allSettled(starting)).filter((one) => one.status === "fulfilled")
    await Promise.all(
      [gateway, outsiders, elsewhere, ...started.map((one) => one.value)].map((one) => one?.[Symbol.asyncDispose]()),
    )
  })

  test("shows what arrived by SMTP, with the padlock of its format, on every device", async () => {
    await deliver(ALICE, "smime")
    await deliver(BOB, "openpgp")
    const [onLaptop, onDesk, onDesktop] = await Promise.all([
      laptop.show("Inbox", "smime@elsewhere.test", "The last line of smime."),
      desk.show("Inbox", "smime@elsewhere.test", "The last line of smime."),
      desktop.show("Inbox", "openpgp@elsewhere.test", "The last line of openpgp."),
    ])
    expect(onLaptop).toMatchObject({ encryption: OK, signature: "", technology: "S/MIME" })
    expect(onDesk).toMatchObject({ encryption: OK, signature: "", technology: "S/MIME" })
    expect(onDesktop).toMatchObject({ encryption: OK, signature: "", technology: "OpenPGP" })
    expect(onLaptop.text).toContain("Grüße")
  })

  test("fetches a large message in pieces, which fit", async () => {
    // About a megabyte as stored: base64, with S/MIME's over OpenPGP's.
    const size = 740_000
    await deliver(ALICE, "smime-large", size)
    await deliver(BOB, "openpgp-large", size)
    const shown = await Promise.all([
      laptop.show("Inbox", "smime-large@elsewhere.test", "The last line of smime-large."),
      desk.show("Inbox", "smime-large@elsewhere.test", "The last line of smime-large."),
      desktop.show("Inbox", "openpgp-large@elsewhere.test", "The last line of openpgp-large."),
    ])
    for (const { encryption, text } of shown) {
      expect(encryption).toBe(OK)
      expect(text.replaceAll("\r", "")).toContain(filler(size).replaceAll("\r", ""))
    }
    // Thunderbird asks in steps of 64 KiB and more when it has not kept the message and it is larger than 98,304 octets.
    expect(laptop.imapLog()).toMatch(/BODY(?:\.PEEK)?\[\]<65536\.\d+>/)
  })

  test("OpenPGP: shows the subject that stands inside only, as a gateway of ours sends it; S/MIME: it does not", async () => {
    const targets = [
      [ALICE, encryptionTarget("smime", await certificateOf(ALICE, "smime")), laptop, "[...]"],
      [BOB, encryptionTarget("openpgp", await certificateOf(BOB, "openpgp")), desktop, "protected-openpgp"],
    ] as const
    for (const [to, target, program, subject] of targets) {
      const name = `protected-${target.format}`
      const octets = await collect(
        (await protectOutgoing(await classified(preparedOf(mail(to, name))), [], SEED, to, target, HIDDEN)).content(),
      )
      expect(Buffer.from(octets).toString()).toContain("\r\nSubject: [...]\r\n")
      expect(await sendMail(gateway.port, "carol@elsewhere.test", [to], octets)).toMatch(/^250 2\./)
      const shown = await program.show("Inbox", `${name}@elsewhere.test`, `The last line of ${name}.`)
      expect(shown).toMatchObject({ encryption: OK, subject })
    }
  })

  test("S/MIME: its own encrypted and signed message is read on the other device, the copy in Sent too", async () => {
    const text = `To myself. ${SECRET}`
    expect(await laptop.write({ to: ALICE, subject: "to myself", body: text })).toMatchObject({ encrypt: false })
    expect(await laptop.encrypt(true)).toMatchObject({ encrypt: true, sign: true, technology: "S/MIME" })
    const sent = await laptop.send()
    for (const [folder, mailbox] of [
      ["Inbox", "INBOX"],
      ["Sent", "Sent"],
    ] as const) {
      const shown = await Promise.all([laptop, desk].map((program) => program.show(folder, sent, text, "signed")))
      for (const one of shown) expect(one).toMatchObject({ encryption: OK, signature: SIGNED, technology: "S/MIME" })
      // It was encrypted to the laptop's certificate, the only one of Alice that is known there; what is stored is the account's.
      expect(await openWithOpenssl(stored(ALICE, mailbox, sent), devices.laptop)).toBeNull()
      for (const device of [devices.laptop, devices.desk]) {
        const opened = await openWithOpenssl(await served(device, mailbox, sent), device)
        expect(Buffer.from(opened ?? []).toString("latin1")).toContain(
          'Content-Type: multipart/signed; protocol="application/pkcs7-signature"',
        )
      }
    }
  })

  test("OpenPGP: its own encrypted and signed message is read on the other device, the copy in Sent too", async () => {
    const text = `To himself. ${SECRET}`
    await desktop.write({ to: BOB, subject: "to himself", body: text })
    expect(await desktop.encrypt(true)).toMatchObject({ encrypt: true, sign: true, technology: "OpenPGP" })
    const sent = await desktop.send()
    for (const [folder, mailbox] of [
      ["Inbox", "INBOX"],
      ["Sent", "Sent"],
    ] as const) {
      const shown = await desktop.show(folder, sent, text, "signed")
      expect(shown).toMatchObject({ encryption: OK, signature: SIGNED, technology: "OpenPGP" })
      expect(await openWithRnp(stored(BOB, mailbox, sent), devices.desktop)).toBeNull()
      for (const device of [devices.desktop, devices.phone])
        expect(
          Buffer.from((await openWithRnp(await served(device, mailbox, sent), device)) ?? []).toString(),
        ).toContain(text)
    }
  })

  test("mail that the gateway signed and encrypted for somebody elsewhere: text, signature and subject are shown", async () => {
    const { certificates, root } = await account(CAROL)
    await desk.know({ authorities: [root], openpgp: [certificates.openpgp] })
    await desk.hold(outsiders.keys)
    for (const [to, name, technology, outside, signature] of [
      [outsiders.dora, "leaving-smime", "S/MIME", "leaving-smime", SIGNED],
      // By a certificate that was said to be verified.
      [outsiders.pia, "leaving-openpgp", "OpenPGP", "[...]", "message-signed-verified.svg"],
    ] as const) {
      // A signature that is not of the day of the message is shown as doubtful.
      await submit(devices.carols, to, mail(to, name, { from: CAROL, date: new Date() }))
      const octets = await relayed(to)
      expect(headerOf(octets)).toContain(`\r\nSubject: ${outside}\r\n`)
      expect(octets.includes(SECRET)).toBe(false)
      // The mailbox of whoever has the key may be anywhere.
      expect(await sendMail(gateway.port, CAROL, [ALICE], octets)).toMatch(/^250 2\./)
      const shown = await desk.show("Inbox", `${name}@elsewhere.test`, `The last line of ${name}.`, "signed")
      expect(shown).toMatchObject({ encryption: OK, signature, technology, subject: name })
      expect(shown.text).toContain(SECRET)
    }
  })

  test("S/MIME: what it signed and encrypted for somebody elsewhere gets there as it was; OpenSSL verifies it", async () => {
    await laptop.know(outsiders.known)
    await laptop.write({ to: outsiders.dora, subject: "far away", body: SECRET })
    expect(await laptop.encrypt(true)).toMatchObject({ encrypt: true, sign: true, technology: "S/MIME" })
    const sent = await laptop.send()
    const octets = await relayed(outsiders.dora, sent)
    const copy = bodyOf(await served(devices.laptop, "Sent", sent)).split("\r\n")
    const lines = bodyOf(octets).split("\r\n")
    expect(lines).toHaveLength(copy.length)
    // In the copy the point of the laptop's own block has come back with the other y: 32 octets, on two lines or three.
    expect(lines.filter((line, at) => line !== copy[at]).length).toBeLessThanOrEqual(3)
    expect(await outsiders.readSmime(octets, (await account(ALICE)).root)).toContain(SECRET)
  })

  test("OpenPGP: what it signed and encrypted for somebody elsewhere gets there as it was; GnuPG verifies it", async () => {
    await desktop.know(outsiders.known)
    await desktop.write({ to: outsiders.pia, subject: "far away", body: SECRET })
    expect(await desktop.encrypt(true)).toMatchObject({ encrypt: true, sign: true, technology: "OpenPGP" })
    const sent = await desktop.send()
    const octets = await relayed(outsiders.pia, sent)
    expect(headerOf(octets)).toMatch(/^Subject: \.\.\.\r$/m)
    expect(bodyOf(octets)).toBe(bodyOf(stored(BOB, "Sent", sent)))
    const { inside, status } = await outsiders.readOpenPgp(octets, (await account(BOB)).certificates.openpgp)
    expect(inside).toContain(SECRET)
    expect(inside).toMatch(/^Subject: far away\r?$/m)
    expect(status).toMatch(/^\[GNUPG:\] GOODSIG \w+ .*<bob@example\.test>$/m)
  })

  test("a message sent in clear leaves no clear copy: Sent is encrypted to the account, and read on both devices", async () => {
    const text = `In clear to Bob. ${SECRET}`
    expect(await laptop.write({ to: BOB, subject: "in clear", body: text })).toMatchObject({
      encrypt: false,
      sign: false,
    })
    const sent = await laptop.send()
    expect(stored(ALICE, "Sent", sent).includes(SECRET)).toBe(false)
    for (const one of await Promise.all([laptop, desk].map((program) => program.show("Sent", sent, text))))
      expect(one).toMatchObject({ encryption: OK, technology: "S/MIME" })
    expect(await desktop.show("Inbox", sent, text)).toMatchObject({ encryption: OK, technology: "OpenPGP" })
  })

  test("a reply has encryption switched on and asks for it to be switched off when the other has no certificate", async () => {
    await laptop.show("Inbox", "smime@elsewhere.test", "The last line of smime.")
    const smime = await laptop.reply()
    expect(smime).toMatchObject({ encrypt: true, sign: true, technology: "S/MIME", buttons: ["Do Not Encrypt"] })
    expect(smime.notices).toEqual([`End-to-end encryption requires resolving certificate issues for ${BOB}.`])
    await expect(laptop.send()).rejects.toThrow(`failed to find an encryption certificate for ${BOB}`)
    expect(await laptop.press("Do Not Encrypt")).toMatchObject({ encrypt: false, sign: false })
    const toBob = await laptop.send()

    await desktop.show("Inbox", toBob, "The last line of smime.")
    const openpgp = await desktop.reply()
    expect(openpgp).toMatchObject({
      encrypt: true,
      sign: true,
      technology: "OpenPGP",
      buttons: ["Do Not Encrypt", "Resolve…"],
    })
    expect(openpgp.notices).toEqual([`End-to-end encryption requires resolving key issues for ${ALICE}.`])
    expect(await desktop.press("Do Not Encrypt")).toMatchObject({ encrypt: false, sign: false })
    const toAlice = await desktop.send()
    expect(await desk.show("Inbox", toAlice, "The last line of smime.")).toMatchObject({ encryption: OK })
  })

  test("who insists on a certificate finds the gateway's in its directory, and encrypts to it; the gateway opens that", async () => {
    await laptop.useDirectory(
      `ldaps://localhost:${ldapsPort}/o=example.test??sub?(objectclass=*)`,
      devices.laptop,
      join(gateway.folder, "authority.pem"),
    )
    const text = "To somebody who has no certificate."
    await laptop.write({ to: "bob@partner.test", subject: "stand-in", body: text })
    expect(await laptop.encrypt(true)).toMatchObject({ encrypt: true, sign: true, technology: "S/MIME" })
    const sent = await laptop.send()
    const { octets } = await eventually("the message at the next hop", () =>
      elsewhere.messages.find(({ recipients }) => recipients.includes("bob@partner.test")),
    )
    expect(octets.toString()).toMatch(/Content-Type: multipart\/signed;[\s\S]*protocol="application\/pkcs7-signature"/)
    expect(octets.toString()).toContain(text)
    writeFileSync(join(gateway.folder, "signed.eml"), octets)
    const root = join(devices.laptop.folder, devices.laptop.files.root)
    const verified = await mustRun("openssl", [
      "cms",
      "-verify",
      "-in",
      join(gateway.folder, "signed.eml"),
      "-CAfile",
      root,
    ])
    expect(Buffer.from(verified).toString()).toContain(text)
    expect(stored(ALICE, "Sent", sent).includes(text)).toBe(false)
  })

  test("sets itself up from the gateway's own document, and logs in with what it read", async () => {
    const [imap, imaps, submission, submissions, https] = [3, 4, 1, 2, 5].map((offset) => gateway.port + offset)
    const url = `https://localhost:${https}/.well-known/autoconfig/mail/config-v1.1.xml`
    // nsMsgSocketType: 2 is STARTTLS, 3 TLS from the start.
    expect(await desk.autoconfigure(url, BOB, devices.desktop.password)).toEqual([
      ["imap", "localhost", imaps, 3, BOB],
      ["imap", "localhost", imap, 2, BOB],
      ["smtp", "localhost", submissions, 3, BOB],
      ["smtp", "localhost", submission, 2, "%EMAILADDRESS%"],
    ])
  })

  test("a revoked device gets nothing more and sends nothing more; the other notices nothing", async () => {
    await gateway.must("device", "revoke", ALICE, "laptop")
    await deliver(ALICE, "after")
    expect(await desk.show("Inbox", "after@elsewhere.test", "The last line of after.")).toMatchObject({
      encryption: OK,
    })
    expect((await laptop.untilDialog()).join()).toContain(`with username ${ALICE} failed`)
    expect(await laptop.has("Inbox", "after@elsewhere.test")).toBe(false)
    await laptop.write({ to: BOB, subject: "revoked", body: "revoked" })
    await expect(laptop.send()).rejects.toThrow(`with username ${ALICE} failed`)
  })
})

const filler = (sizeOctets: number): string =>
  Array.from({ length: Math.ceil(sizeOctets / 78) }, (_, index) => `${index} `.padEnd(76, "abcdefg ").trimEnd()).join(
    "\r\n",
  )

interface Account {
  readonly root: string
  readonly certificates: { readonly smime: string; readonly openpgp: string }
}
const account = async (address: string): Promise<Account> =>
  JSON.parse(await gateway.must("account", "show", address, "--json"))

/** The certificate that mail to one of our people is encrypted to. */
async function certificateOf(address: string, format: "smime" | "openpgp"): Promise<Uint8Array> {
  const { certificates } = await account(address)
  const der = format === "smime" ? pemDecode("CERTIFICATE", certificates.smime)[0] : Buffer.from(certificates.openpgp)
  return der ?? new Uint8Array(0)
}

/** Mail from outside, through the MX. */
async function deliver(to: string, name: string, fillerOctets = 0): Promise<void> {
  expect(await sendMail(gateway.port, "carol@elsewhere.test", [to], mail(to, name, { fillerOctets }))).toMatch(
    /^250 2\./,
  )
}

/** Mail to somebody elsewhere, as a device hands it in. */
async function submit(device: Device, to: string, octets: Uint8Array): Promise<void> {
  using client = await WireClient.connect(device.smtp.port, { tls: true })
  expect(await submitMail(client, device, [to], octets)).toMatch(/^250 /)
}

/** What reached somebody elsewhere. */
async function relayed(to: string, messageId = ""): Promise<Buffer> {
  const { octets } = await eventually(`mail for ${to}`, () =>
    elsewhere.messages.find((one) => one.recipients.includes(to) && one.octets.includes(messageId)),
  )
  return octets
}

function headerOf(octets: Buffer): string {
  return octets.subarray(0, octets.indexOf("\r\n\r\n") + 2).toString("latin1")
}

function bodyOf(octets: Uint8Array): string {
  const text = Buffer.from(octets).toString("latin1")
  return text.slice(text.indexOf("\r\n\r\n"))
}

interface Written {
  readonly from?: string
  readonly date?: Date
  readonly fillerOctets?: number
}

function mail(to: string, name: string, { from = BOB, date = DAY, fillerOctets = 0 }: Written = {}): Buffer {
  const message =
    `From: <${from}>\r\nTo: ${to}\r\nSubject: ${name}\r\nDate: ${formatDateTime(date)}\r\nMessage-ID: <${name}@elsewhere.test>\r\n` +
    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
    `Grüße. ${SECRET}\r\n${filler(fillerOctets)}\r\nThe last line of ${name}.\r\n`
  return Buffer.from(message)
}

/** The message as it lies on disk. */
function stored(address: string, mailbox: string, messageId: string): Buffer {
  const folder = mailbox === "INBOX" ? gateway.maildir(address) : join(gateway.maildir(address), `.${mailbox}`)
  const found = ["new", "cur"]
    .flatMap((name) => readdirSync(join(folder, name)).map((file) => readFileSync(join(folder, name, file))))
    .filter((octets) => octets.includes(`<${messageId}>`))
  expect(found).toHaveLength(1)
  return found[0] ?? Buffer.alloc(0)
}

/** The message as the proxy hands it to a device. */
async function served(device: Device, mailbox: string, messageId: string): Promise<Uint8Array> {
  using session = await ImapSession.open(device)
  await session.must(`SELECT ${mailbox}`)
  const answer = await session.must(`UID SEARCH HEADER Message-ID "<${messageId}>"`)
  return await session.fetch(Number(/^\* SEARCH (\d+)\r\n/m.exec(answer)?.[1]), "BODY.PEEK[]")
}
