import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { appendingMailboxes } from "../../src/deliver/imap-append.ts"
import { preparedOf } from "../../src/pipeline/prepared.ts"
import { Dovecot, dovecotPossible, MASTER } from "../harness/dovecot.ts"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { mustRun, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { ImapSession, openWithOpenssl, openWithRnp } from "../harness/reading.ts"
import { upstreamAt } from "../harness/upstream.ts"
import { sendMail, WireClient } from "../harness/wire.ts"

type Device = DeviceSettings & { readonly folder: string }

const ALICE = "alice@example.test"
const BOB = "bob@example.test"
const SECRET = "nobody at the store can read this"

let folder: TemporaryFolder
let dovecot: Dovecot
let gateway: Instance
let laptop: Device
let phone: Device
let desktop: Device

describe.skipIf(!dovecotPossible)("Dovecot as the store", () => {
  beforeAll(async () => {
    folder = await temporaryFolder()
    dovecot = await Dovecot.start(folder.file("dovecot"), folder.file("mail"))
    gateway = await Instance.create()
    await gateway.must("account", "add", ALICE)
    await gateway.must("account", "add", BOB, "--format", "openpgp")
    laptop = await gateway.device(ALICE, "laptop")
    phone = await gateway.device(ALICE, "phone")
    desktop = await gateway.device(BOB, "desktop")
    writeFileSync(join(gateway.folder, "secrets", "master"), `${MASTER.password}\n`)
    gateway.configure(
      'imap = "embedded:"',
      `imap = "imap://127.0.0.1:${dovecot.imapPort}"\nmasterUser = "${MASTER.user}"\nmasterPasswordFile = "secrets/master"`,
    )
  })

  afterAll(async () => {
    await gateway?.[Symbol.asyncDispose]()
    await dovecot?.[Symbol.asyncDispose]()
    await folder?.[Symbol.asyncDispose]()
  })

  describe("by LMTP over TCP, read through the proxy", () => {
    beforeAll(() => servedBy(`lmtp://127.0.0.1:${dovecot.lmtpPort}`))
    afterAll(() => gateway.stop())

    test("arriving mail is stored encrypted, and each device opens it", async () => {
      const sent = await send("by-lmtp", ALICE)
      const onLaptop = await read(laptop, "by-lmtp")
      const onPhone = await read(phone, "by-lmtp")
      expect(await openWithOpenssl(onLaptop, laptop)).toEqual(sent)
      expect(await openWithOpenssl(onPhone, phone)).toEqual(sent)
      expect(await openWithOpenssl(onLaptop, phone)).toBeNull()
      const [stored = ""] = storedTexts(ALICE, "by-lmtp")
      expect(stored).not.toContain(SECRET)
      expect(await openWithOpenssl(Buffer.from(stored, "latin1"), laptop)).toBeNull()
      // RFC 5321 §4.4: the store makes the only one.
      expect(stored.match(/^Return-Path: .*/gm)).toEqual(["Return-Path: <carol@elsewhere.test>"])
      expect(stored).toMatch(/^Postern-Encrypted: by this gateway; /m)
    })

    test("OpenPGP alike, and a sender that only SMTPUTF8 can name", async () => {
      const sent = await send("by-lmtp-openpgp", BOB)
      expect(await openWithRnp(await read(desktop, "by-lmtp-openpgp"), desktop)).toEqual(sent)
      using client = await WireClient.connect(gateway.port)
      const say = async (text: string) => {
        await client.write(text)
        return client.until(/^\d{3} .*\r\n/m)
      }
      await client.until(/^220 .*\r\n/m)
      await say("EHLO client.test\r\n")
      expect(await say("MAIL FROM:<jörg@elsewhere.test> SMTPUTF8\r\n")).toMatch(/^250/)
      expect(await say(`RCPT TO:<${BOB}>\r\n`)).toMatch(/^250/)
      await say("DATA\r\n")
      expect(await say(`${messageText("by-lmtp-utf8", BOB)}.\r\n`)).toMatch(/^250/)
      await read(desktop, "by-lmtp-utf8")
    })

    test("what a device uploads in clear is stored encrypted, with its flags and date", async () => {
      const script = `
import imaplib, ssl, sys
host, port, user, password, ca = sys.argv[1:]
box = imaplib.IMAP4_SSL("localhost", int(port), ssl_context=ssl.create_default_context(cafile=ca))
box.login(user, password)
print(box.create("Sent")[0])
print(box.append("Sent", r"(\\Seen \\Flagged)", '"03-Feb-2024 04:05:06 +0000"', b"Message-ID: <uploaded@elsewhere.test>\\r\\nSubject: sent\\r\\n\\r\\n${SECRET}\\r\\n"))
box.select("Sent")
print(box.fetch("1", "(FLAGS INTERNALDATE)")[1][0].decode())
`
      const printed = await python(script, laptop)
      expect(printed).toMatch(/\('OK', \[b'\[APPENDUID \d+ 1\] /)
      expect(printed).toContain(' 3-Feb-2024 04:05:06 +0000"'.replace(" 3", "03"))
      expect(printed).toMatch(/\\Seen/)
      expect(printed).toMatch(/\\Flagged/)
      const [stored = ""] = storedTexts(ALICE, "uploaded", ".Sent")
      expect(stored).toMatch(/^Content-Type: application\/pkcs7-mime/m)
      expect(stored).not.toContain(SECRET)
      const opened = await openWithOpenssl(await read(phone, "uploaded", "Sent"), phone)
      expect(Buffer.from(opened ?? []).toString()).toContain(SECRET)
    })

    test("while Dovecot is down mail waits and readers are told; then it comes once", async () => {
      await dovecot.stop()
      try {
        const sent = await send("waits", ALICE)
        const job = await waiting()
        expect(job.lastStatus?.status ?? job).toMatch(/^4\./)
        using session = await WireClient.connect(laptop.imap.port, { tls: true })
        await session.until(/^\* OK .*\r\n/)
        await session.write(`a LOGIN ${laptop.username} ${laptop.password}\r\n`)
        expect(await session.until(/^a .*\r\n/m)).toMatch(/^a NO \[UNAVAILABLE\]/m)
        await dovecot.start()
        await gateway.must("queue", "retry", job.id)
        expect(await openWithOpenssl(await read(laptop, "waits"), laptop)).toEqual(sent)
        await eventually("the queue is empty", async () => (await queue()).length === 0)
        expect(storedTexts(ALICE, "waits")).toHaveLength(1)
      } finally {
        await dovecot.start()
      }
    })

    test("a revoked device is out at once; the others and the store notice nothing", async () => {
      await send("after-all", ALICE)
      const tablet = await gateway.device(ALICE, "tablet")
      await read(tablet, "after-all")
      using open = await ImapSession.open(tablet)
      using other = await ImapSession.open(laptop)
      const before = storedTexts(ALICE, "after-all")
      await gateway.must("device", "revoke", ALICE, "tablet")
      await open.wire.closed(1_000)
      await expect(ImapSession.open(tablet)).rejects.toThrow(/AUTHENTICATIONFAILED/)
      await other.must("NOOP")
      expect(await openWithOpenssl(await read(laptop, "after-all"), laptop)).not.toBeNull()
      expect(storedTexts(ALICE, "after-all")).toEqual(before)
    })
  })

  describe("by LMTP over a Unix socket", () => {
    beforeAll(() => servedBy(`lmtp:${dovecot.lmtpSocket}`))
    afterAll(() => gateway.stop())

    test("mail arrives, and waits while nobody listens there", async () => {
      const sent = await send("by-socket", ALICE)
      expect(await openWithOpenssl(await read(laptop, "by-socket"), laptop)).toEqual(sent)
      await dovecot.stop()
      await send("by-socket-later", ALICE)
      const job = await waiting()
      await dovecot.start()
      await gateway.must("queue", "retry", job.id)
      await read(laptop, "by-socket-later")
      expect(storedTexts(ALICE, "by-socket-later")).toHaveLength(1)
    })
  })

  describe("by APPEND", () => {
    beforeAll(() => servedBy("imap:"))
    afterAll(() => gateway.stop())

    test("mail arrives in INBOX, dated when it was accepted, and waits while Dovecot is down", async () => {
      const sent = await send("by-append", ALICE)
      expect(await openWithOpenssl(await read(laptop, "by-append"), laptop)).toEqual(sent)
      expect(await openWithOpenssl(await read(phone, "by-append"), phone)).toEqual(sent)
      const [stored = ""] = storedTexts(ALICE, "by-append")
      expect(stored).toMatch(/^Return-Path: <carol@elsewhere\.test>\nReceived: /)
      expect(stored).not.toContain(SECRET)
      await dovecot.stop()
      await send("by-append-later", BOB)
      const job = await waiting()
      await dovecot.start()
      await gateway.must("queue", "retry", job.id)
      await read(desktop, "by-append-later")
      expect(storedTexts(BOB, "by-append-later")).toHaveLength(1)
    })

    test("a repeat after a crash finds in Dovecot what the earlier attempt stored", async () => {
      const endpoint = { kind: "tcp", host: "127.0.0.1", port: dovecot.imapPort, security: "plain" } as const
      const upstream = upstreamAt(endpoint)
      const mailboxes = appendingMailboxes((account, signal) => upstream.connect(account, null, signal))
      const octets = Buffer.from(storedTexts(ALICE, "by-append")[0]?.replaceAll("\n", "\r\n") ?? "", "latin1")
      const attempt = (repeated: boolean) =>
        mailboxes.deliver("carol@example.test", preparedOf(octets), {
          name: "job",
          receivedAt: new Date(),
          repeated,
          sender: null,
          signal: AbortSignal.timeout(20_000),
        })
      for (const repeated of [true, true, true]) expect((await attempt(repeated)).kind).toBe("done")
      expect(storedTexts("carol@example.test", "by-append")).toHaveLength(1)
      expect((await attempt(false)).kind).toBe("done")
      expect(storedTexts("carol@example.test", "by-append")).toHaveLength(2)
    })
  })
})

describe.skipIf(!dovecotPossible)("Dovecot takes the embedded store over", () => {
  test("with the same UIDVALIDITY, UIDs, flags, dates and octets, and gives it back", async () => {
    await using gateway = await Instance.create()
    await gateway.must("account", "add", ALICE)
    const laptop = await gateway.device(ALICE, "laptop")
    await gateway.serve()
    for (const name of ["first", "second", "third", "fourth"])
      expect(await sendMail(gateway.port, "carol@elsewhere.test", [ALICE], message(name, ALICE))).toMatch(/^250 /)
    const before = await asSeenThrough(laptop, async (session) => {
      await eventually("four messages", async () => (await session.uids()).length === 4)
      await session.must("UID STORE 1 +FLAGS (\\Flagged $Label1)")
      await session.must("UID STORE 3 +FLAGS (\\Seen \\Answered)")
      await session.must("UID STORE 2 +FLAGS (\\Deleted)")
      await session.must("EXPUNGE")
      await session.must("UID COPY 1 Archive")
    })
    expect(await gateway.stop()).toBe(0)

    const mailRoot = join(gateway.folder, "data", "mail")
    await using dovecot = await Dovecot.start(join(gateway.folder, "..", "dovecot"), mailRoot)
    using direct = await loggedIn(dovecot)
    const taken = await view(direct)
    // The octets differ within the patch windows only: through the proxy they are the device's.
    expect(taken.map(withoutOctets)).toEqual(before.map(withoutOctets))
    expect(taken.map(({ octets }) => octets.length)).toEqual(before.map(({ octets }) => octets.length))
    for (const { octets } of taken) expect(await openWithOpenssl(octets, laptop)).toBeNull()
    await say(direct, "SELECT INBOX")
    await say(direct, "UID STORE 3 -FLAGS (\\Answered)")
    await say(direct, "UID COPY 4 Archive")
    await say(direct, "UID STORE 4 +FLAGS (\\Deleted)")
    await say(direct, "EXPUNGE")
    const left = await view(direct)
    await dovecot.stop()
    expect(dovecot.log).not.toMatch(/imap\(.*(?:Error|Warning|Panic)/)

    await gateway.serve()
    const after = await asSeenThrough(laptop, async () => undefined)
    expect(after.map(withoutOctets)).toEqual(left.map(withoutOctets))
    for (const { octets } of after)
      expect(Buffer.from((await openWithOpenssl(octets, laptop)) ?? []).toString()).toContain(SECRET)
    await sendMail(gateway.port, "carol@elsewhere.test", [ALICE], message("fifth", ALICE))
    using session = await ImapSession.open(laptop)
    await eventually("the next UID", async () => (await session.uids()).includes(5))
  })
})

/** Serves with this as `mailboxes.deliver`. */
async function servedBy(deliver: string): Promise<void> {
  const current = /^deliver = .*$/m.exec(readFileSync(gateway.configuration, "utf8"))?.[0] ?? ""
  gateway.configure(current, `deliver = "${deliver}"`)
  await gateway.serve()
}

function messageText(name: string, to: string): string {
  return (
    `From: Carol <carol@elsewhere.test>\r\nTo: ${to}\r\nSubject: ${name}\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n` +
    `Message-ID: <${name}@elsewhere.test>\r\n\r\n${SECRET}\r\n`
  )
}

function message(name: string, to: string): Buffer {
  return Buffer.from(messageText(name, to))
}

async function send(name: string, to: string): Promise<Buffer> {
  const sent = message(name, to)
  expect(await sendMail(gateway.port, "carol@elsewhere.test", [to], sent)).toMatch(/^250 2\./)
  return sent
}

/** The message with this name, once it is there, as `device` sees it. */
async function read(device: Device, name: string, mailbox = "INBOX"): Promise<Uint8Array> {
  using session = await ImapSession.open(device)
  const uid = await eventually(`${name} is in ${mailbox} of ${device.address}`, async () => {
    await session.must(`SELECT ${mailbox}`)
    const answer = await session.must(`UID SEARCH HEADER Message-ID "<${name}@elsewhere.test>"`)
    return Number(/^\* SEARCH (\d+)\r\n/m.exec(answer)?.[1] ?? 0)
  })
  return await session.fetch(uid, "BODY.PEEK[]")
}

/** Every file of the store that is the message with this name, as it lies there. */
function storedTexts(user: string, name: string, subfolder = ""): string[] {
  return ["new", "cur"]
    .map((kind) => join(dovecot.maildir(user), subfolder, kind))
    .flatMap((path) => readdirSync(path).map((file) => readFileSync(join(path, file), "latin1")))
    .filter((text) => text.includes(`<${name}@elsewhere.test>`))
}

interface QueuedJob {
  readonly id: string
  readonly state: string
  readonly lastStatus?: { readonly status: string }
}

async function queue(): Promise<QueuedJob[]> {
  return JSON.parse(await gateway.must("queue", "list", "--json")) as QueuedJob[]
}

/** The one job there is, after its first attempt. */
function waiting(): Promise<QueuedJob> {
  return eventually("a delayed job", async () => (await queue()).find(({ state }) => state === "delayed"))
}

async function python(script: string, device: Device): Promise<string> {
  const { imap, username, password } = device
  const args = [imap.host, String(imap.port), username, password, join(gateway.folder, "tls", "ca.pem")]
  return Buffer.from(await mustRun("python3", ["-c", script, ...args])).toString()
}

/** One message as a client sees it. */
interface Seen {
  readonly mailbox: string
  readonly uidValidity: string
  readonly uid: number
  readonly flags: string
  readonly internalDate: string
  readonly octets: Uint8Array
}

const withoutOctets = ({ octets: _, ...rest }: Seen): Omit<Seen, "octets"> => rest

async function asSeenThrough(device: Device, act: (session: ImapSession) => Promise<void>): Promise<Seen[]> {
  using session = await ImapSession.open(device)
  await act(session)
  return await view(session.wire)
}

async function loggedIn(dovecot: Dovecot): Promise<WireClient> {
  const client = await WireClient.connect(dovecot.imapPort)
  await client.until(/^\* OK .*\r\n/)
  await say(client, `LOGIN ${ALICE} x`)
  return client
}

let commands = 0

async function say(client: WireClient, command: string): Promise<string> {
  const tag = `v${++commands}`
  await client.write(`${tag} ${command}\r\n`)
  const answer = await client.until(new RegExp(`^${tag} .*\\r\\n`, "m"))
  if (!answer.includes(`${tag} OK`)) throw new Error(`${command}: ${answer}`)
  return answer
}

/** Everything in INBOX and Archive. */
async function view(client: WireClient): Promise<Seen[]> {
  const seen: Seen[] = []
  for (const mailbox of ["INBOX", "Archive"]) {
    const selected = await say(client, `EXAMINE ${mailbox}`)
    const uidValidity = /UIDVALIDITY (\d+)/.exec(selected)?.[1] ?? ""
    const listed = await say(client, "UID FETCH 1:* (FLAGS INTERNALDATE)")
    for (const line of listed.split("\r\n").filter((text) => text.includes("FETCH ("))) {
      const uid = Number(/UID (\d+)/.exec(line)?.[1])
      const flags = (/FLAGS \(([^)]*)\)/.exec(line)?.[1] ?? "")
        .split(" ")
        .filter((flag) => !/^(?:\\Recent)?$/.test(flag))
      const internalDate = new Date(/INTERNALDATE "([^"]*)"/.exec(line)?.[1] ?? "").toISOString()
      await client.write(`f${uid} UID FETCH ${uid} (BODY.PEEK[])\r\n`)
      const head = await client.until(/\{\d+\}\r\n/)
      const octets = await client.take(Number(/\{(\d+)\}\r\n$/.exec(head)?.[1]))
      await client.until(new RegExp(`^f${uid} OK.*\\r\\n`, "m"))
      seen.push({ mailbox, uidValidity, uid, flags: flags.sort().join(" "), internalDate, octets })
    }
  }
  return seen
}
