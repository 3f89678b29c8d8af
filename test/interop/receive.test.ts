import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { peer, run } from "../harness/peers.ts"
import { ImapSession, openWithOpenssl, openWithRnp, openWithSequoia } from "../harness/reading.ts"
import { sendMail } from "../harness/wire.ts"

type Device = DeviceSettings & { readonly folder: string }

const TEXT = "Grüße. This line was written by somebody who never heard of encryption."

let gateway: Instance
let laptop: Device
let phone: Device
let desktop: Device

beforeAll(async () => {
  gateway = await Instance.create()
  await gateway.must("account", "add", "alice@example.test", "--name", "Alice Example")
  await gateway.must("account", "add", "bob@example.test", "--format", "openpgp", "--name", "Bob Example")
  laptop = await gateway.device("alice@example.test", "laptop")
  phone = await gateway.device("alice@example.test", "phone")
  desktop = await gateway.device("bob@example.test", "desktop")
  await gateway.serve()
})

afterAll(async () => gateway?.[Symbol.asyncDispose]())

const message = (subject: string, to: string): Buffer =>
  Buffer.from(
    `From: Carol <carol@elsewhere.test>\r\nTo: ${to}\r\nSubject: ${subject}\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <${subject}@elsewhere.test>\r\n` +
      `List-Id: <news.elsewhere.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n${TEXT}\r\n`,
  )

/** The message with this Message-ID, as `device` sees it. */
async function seenBy(device: Device, subject: string, item = "BODY.PEEK[]"): Promise<Uint8Array> {
  using session = await ImapSession.open(device)
  const uid = await eventually(`${subject} is in the mailbox of ${device.address}`, async () => {
    await session.must("SELECT INBOX")
    const answer = await session.must(`UID SEARCH HEADER Message-ID "<${subject}@elsewhere.test>"`)
    return Number(/^\* SEARCH (\d+)\r\n/m.exec(answer)?.[1] ?? 0)
  })
  return await session.fetch(uid, item)
}

/** The message with this Message-ID, as it lies on disk. */
function stored(address: string, subject: string): Buffer {
  const folder = gateway.maildir(address)
  const files = ["new", "cur"].flatMap((name) =>
    readdirSync(join(folder, name)).map((file) => join(folder, name, file)),
  )
  const found = files
    .map((file) => readFileSync(file))
    .filter((octets) => octets.includes(`<${subject}@elsewhere.test>`))
  expect(found).toHaveLength(1)
  return found[0] ?? Buffer.alloc(0)
}

describe("S/MIME", () => {
  test.skipIf(!peer("openssl"))(
    "each device opens it with its own key, and none what was patched for another",
    async () => {
      const sent = message("smime-devices", "alice@example.test")
      expect(await sendMail(gateway.port, "carol@elsewhere.test", ["Alice+news@example.test"], sent)).toMatch(
        /^250 2\./,
      )
      const onLaptop = await seenBy(laptop, "smime-devices")
      const onPhone = await seenBy(phone, "smime-devices")
      expect(await openWithOpenssl(onLaptop, laptop)).toEqual(sent)
      expect(await openWithOpenssl(onPhone, phone)).toEqual(sent)
      expect(await openWithOpenssl(onLaptop, phone)).toBeNull()
      expect(await openWithOpenssl(stored("alice@example.test", "smime-devices"), laptop)).toBeNull()
    },
  )

  test("what is served differs from what is stored inside the patch window only, and has its length", async () => {
    await sendMail(
      gateway.port,
      "carol@elsewhere.test",
      ["alice@example.test"],
      message("smime-window", "alice@example.test"),
    )
    const served = await seenBy(laptop, "smime-window")
    const file = stored("alice@example.test", "smime-window")
    expect(served.length).toBe(file.length)
    const different = [...served.keys()].filter((at) => served[at] !== file[at])
    expect(different.length).toBeGreaterThan(20)
    // Point (65 octets) and serial number (16) with the issuer's name between them, as base64 with line ends.
    const body = file.indexOf("\r\n\r\n") + 4
    expect(different[0]).toBeGreaterThan(body)
    expect((different.at(-1) ?? 0) - (different[0] ?? 0)).toBeLessThan(600)
  })

  test("outside stand the fields of the message, trace and marker; MIME's own are new", async () => {
    await sendMail(
      gateway.port,
      "carol@elsewhere.test",
      ["alice@example.test"],
      message("smime-header", "alice@example.test"),
    )
    await seenBy(laptop, "smime-header")
    const header = stored("alice@example.test", "smime-header").toString("latin1").split("\r\n\r\n")[0] ?? ""
    expect(header).toMatch(/^Return-Path: <carol@elsewhere\.test>\r\nReceived: from /)
    expect(header).toContain("\r\nList-Id: <news.elsewhere.test>\r\n")
    expect(header).toContain("\r\nSubject: smime-header\r\n")
    expect(header).toMatch(/\r\nPostern-Encrypted: by this gateway; v=2;/)
    expect(header).toMatch(/\r\nContent-Type: application\/pkcs7-mime; smime-type=enveloped-data/)
    expect(header.match(/^MIME-Version:/gm)).toHaveLength(1)
  })

  test("partial fetches, BODY[TEXT], BODY[1] and RFC822 are pieces of the same octets", async () => {
    await sendMail(
      gateway.port,
      "carol@elsewhere.test",
      ["alice@example.test"],
      message("smime-parts", "alice@example.test"),
    )
    const whole = Buffer.from(await seenBy(laptop, "smime-parts"))
    const body = whole.subarray(whole.indexOf("\r\n\r\n") + 4)
    expect(await seenBy(laptop, "smime-parts", "BODY.PEEK[TEXT]")).toEqual(body)
    expect(await seenBy(laptop, "smime-parts", "BODY.PEEK[1]")).toEqual(body)
    expect(await seenBy(laptop, "smime-parts", "RFC822")).toEqual(whole)
    for (const [start, length] of [
      [0, 100],
      [body.byteOffset - whole.byteOffset + 90, 40],
      [body.byteOffset - whole.byteOffset + 133, 7],
    ] as const)
      expect(await seenBy(laptop, "smime-parts", `BODY.PEEK[]<${start}.${length}>`)).toEqual(
        whole.subarray(start, start + length),
      )
    expect(await seenBy(phone, "smime-parts", "BODY.PEEK[1]<100.60>")).not.toEqual(body.subarray(100, 160))
  })
})

describe("OpenPGP", () => {
  test.skipIf(!peer("rnp") || !peer("sq"))(
    "RNP and Sequoia open it with the device's key, and the stored form not",
    async () => {
      const sent = message("openpgp-device", "bob@example.test")
      expect(await sendMail(gateway.port, "carol@elsewhere.test", ["bob@example.test"], sent)).toMatch(/^250 2\./)
      const served = await seenBy(desktop, "openpgp-device")
      expect(await openWithRnp(served, desktop)).toEqual(sent)
      expect(await openWithRnp(stored("bob@example.test", "openpgp-device"), desktop)).toBeNull()
      expect(Buffer.from(served).toString("latin1")).toMatch(/protocol="application\/pgp-encrypted"/)
      expect(desktop.openpgpPassword).toBeUndefined()
      expect(await openWithSequoia(served, desktop)).toEqual(sent)
    },
  )
})

describe("programs nobody here wrote", () => {
  test.skipIf(!peer("swaks") || !peer("curl"))("swaks sends, curl reads", async () => {
    const sent = await run("swaks", [
      "--server",
      `127.0.0.1:${gateway.port}`,
      "--from",
      "swaks@elsewhere.test",
      "--to",
      "alice@example.test",
      "--header",
      "Message-ID: <swaks@elsewhere.test>",
      "--body",
      TEXT,
      "--tls",
    ])
    expect(sent.stderr + Buffer.from(sent.stdout)).toContain("250 2.")
    await seenBy(laptop, "swaks")
    const url = `imaps://localhost:${laptop.imap.port}/INBOX`
    const login = ["--cacert", join(gateway.folder, "tls", "ca.pem"), "--user", `${laptop.username}:${laptop.password}`]
    const listed = await run("curl", [
      "-sS",
      ...login,
      url,
      "-X",
      'UID SEARCH HEADER Message-ID "<swaks@elsewhere.test>"',
    ])
    expect(listed.stderr).toBe("")
    const uid = /SEARCH (\d+)/.exec(Buffer.from(listed.stdout).toString())?.[1]
    const fetched = await run("curl", ["-sS", ...login, `${url};UID=${uid}`])
    const opened = await openWithOpenssl(fetched.stdout, laptop)
    expect(Buffer.from(opened ?? []).toString()).toContain(TEXT)
  })

  test.skipIf(!peer("python3"))("smtplib sends, imaplib reads", async () => {
    const script = `
import imaplib, smtplib, ssl, sys, time
mx, imap, user, password, ca = sys.argv[1:]
with smtplib.SMTP("127.0.0.1", int(mx)) as smtp:
    smtp.sendmail("py@elsewhere.test", ["bob@example.test"], "Message-ID: <python@elsewhere.test>\\r\\nSubject: python\\r\\n\\r\\nfrom smtplib\\r\\n.leading dot\\r\\n")
box = imaplib.IMAP4_SSL("localhost", int(imap), ssl_context=ssl.create_default_context(cafile=ca))
box.login(user, password)
for _ in range(100):
    box.select("INBOX")
    found = box.search(None, "HEADER", "Message-ID", '"<python@elsewhere.test>"')[1][0].split()
    if found: break
    time.sleep(0.05)
sys.stdout.buffer.write(box.fetch(found[0], "(RFC822)")[1][0][1])
box.logout()
`
    const args = [
      String(gateway.port),
      String(desktop.imap.port),
      desktop.username,
      desktop.password,
      join(gateway.folder, "tls", "ca.pem"),
    ]
    const { stdout, stderr } = await run("python3", ["-c", script, ...args])
    expect(stderr).toBe("")
    const opened = await openWithRnp(stdout, desktop)
    expect(Buffer.from(opened ?? []).toString()).toBe(
      "Message-ID: <python@elsewhere.test>\r\nSubject: python\r\n\r\nfrom smtplib\r\n.leading dot\r\n",
    )
  })
})
