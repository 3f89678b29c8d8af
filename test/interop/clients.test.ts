import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { ImapFlow } from "imapflow"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { mustRun, peer, run, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { ImapSession, openWithOpenssl, openWithRnp } from "../harness/reading.ts"
import { sendMail } from "../harness/wire.ts"

type Device = DeviceSettings & { readonly folder: string }

const ALICE = "alice@example.test"
const BOB = "bob@example.test"
const SECRET = "what every client shows and no disk holds"
/** Folders are looked at every 10 s where nothing tells of a change. */
const AT_ONCE_MS = 5_000

let folder: TemporaryFolder
let gateway: Instance
let laptop: Device
let phone: Device
let desktop: Device

beforeAll(async () => {
  folder = await temporaryFolder()
  gateway = await Instance.create()
  await gateway.must("account", "add", ALICE)
  await gateway.must("account", "add", BOB, "--format", "openpgp")
  laptop = await gateway.device(ALICE, "laptop")
  phone = await gateway.device(ALICE, "phone")
  desktop = await gateway.device(BOB, "desktop")
  await gateway.serve()
  for (const name of ["one", "two", "three"]) await arrive(name, ALICE)
})

afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]()
  await folder?.[Symbol.asyncDispose]()
})

describe("imapflow", () => {
  test("lists, fetches every item, downloads, appends with flags and date, moves", async () => {
    await using client = await flow(laptop)
    const listed = (await client.list()).map(({ path, specialUse }) => `${path} ${specialUse ?? ""}`.trim())
    expect(listed).toEqual(expect.arrayContaining(["INBOX \\Inbox", "Sent \\Sent", "Drafts \\Drafts", "Trash \\Trash"]))
    await using _lock = await locked(client, "INBOX")
    const found = await client.fetchOne(String(await uidOf(client, "one")), EVERYTHING, { uid: true })
    if (!found) throw new Error("imapflow: not found")
    expect(found.envelope).toMatchObject({ subject: "one", messageId: "<one@elsewhere.test>" })
    expect(found.bodyStructure).toMatchObject({ type: "application/pkcs7-mime", encoding: "base64" })
    expect(Math.abs(Date.now() - new Date(found.internalDate ?? 0).getTime())).toBeLessThan(120_000)
    const source = found.source ?? Buffer.alloc(0)
    expect(source.length).toBe(found.size)
    expect(await openWithOpenssl(source, laptop)).toEqual(message("one", ALICE))
    expect(found.headers?.toString()).toBe(source.subarray(0, source.indexOf("\r\n\r\n") + 4).toString())
    const part = await client.fetchOne(String(found.uid), { source: { start: 700, maxLength: 333 } }, { uid: true })
    if (!part) throw new Error("imapflow: not found")
    expect(part.source).toEqual(source.subarray(700, 1033))
    const { content } = await client.download(String(found.uid), "1", { uid: true })
    if (!content) throw new Error("imapflow: no content")
    // imapflow decodes the base64: DER, as OpenSSL takes it.
    const der = Buffer.concat(await content.toArray())
    const wrapped = Buffer.from(`Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\n`)
    const lines = Buffer.from(der.toString("base64").replace(/.{64}/g, "$&\r\n"))
    const opened = await openWithOpenssl(Buffer.concat([wrapped, lines]), laptop)
    expect(opened).toEqual(message("one", ALICE))
  })

  test("what it appends in clear is stored encrypted, with flags and date; the other device reads it; and it moves", async () => {
    const date = new Date("2024-02-03T04:05:06Z")
    await using client = await flow(laptop)
    const appended = await client.append("Sent", message("by-flow", BOB), ["\\Seen", "$Forwarded"], date)
    expect(appended).toMatchObject({ destination: "Sent", uid: expect.any(Number) })
    await using other = await flow(phone)
    await using _lock = await locked(other, "Sent")
    const query = { flags: true, internalDate: true, source: true }
    const seen = await other.fetchOne(String(appended ? appended.uid : 0), query, { uid: true })
    if (!seen) throw new Error("imapflow: not found")
    expect([...(seen.flags ?? [])].filter((flag) => flag !== "\\Recent").sort()).toEqual(["$Forwarded", "\\Seen"])
    expect(new Date(seen.internalDate ?? 0)).toEqual(date)
    expect(await openWithOpenssl(seen.source ?? Buffer.alloc(0), phone)).toEqual(message("by-flow", BOB))
    for (const text of filesOf(ALICE, ".Sent")) expect(text).not.toContain(SECRET)
    const moved = await other.messageMove(String(seen.uid), "Archive", { uid: true })
    expect(moved).toMatchObject({ path: "Sent", destination: "Archive", uidMap: expect.any(Map) })
    expect(await client.status("Archive", { messages: true })).toMatchObject({ messages: 1 })
    expect(await client.status("Sent", { messages: true })).toMatchObject({ messages: 0 })
  })

  test("IDLE tells of new mail at once, and of flags that another device sets", async () => {
    await using client = await flow(laptop)
    await using _lock = await locked(client, "INBOX")
    const told = new Promise<number>((resolve) => client.once("exists", () => resolve(Date.now())))
    const idling = client.idle()
    // Nothing tells a client that the server has begun to wait; what came earlier is told as well.
    const reply = await sendMail(gateway.port, "carol@elsewhere.test", [ALICE], message("four", ALICE))
    const acceptedAt = Date.now()
    expect(reply).toMatch(/^250 /)
    expect((await told) - acceptedAt).toBeLessThan(AT_ONCE_MS)
    const flagged = new Promise<string>((resolve) =>
      client.once("flags", ({ seq, flags }) => resolve(`${seq} ${[...flags].join(" ")}`)),
    )
    using session = await ImapSession.open(phone)
    await session.must("SELECT INBOX")
    await session.must("STORE 2 +FLAGS (\\Flagged)")
    expect(await flagged).toMatch(/^2 .*\\Flagged/)
    client.noop().catch(() => undefined)
    await idling
  })

  test("a device that was away sees the flags that another set, and the same UIDs", async () => {
    using before = await ImapSession.open(laptop)
    const uids = await before.uids()
    await before.must(`UID STORE ${uids[0]} +FLAGS (\\Answered $MDNSent)`)
    await before.must("LOGOUT")
    using after = await ImapSession.open(phone)
    expect(await after.uids()).toEqual(uids)
    expect(await after.must(`UID FETCH ${uids[0]} (FLAGS)`)).toMatch(/FLAGS \([^)]*\\Answered[^)]*\$MDNSent/)
  })
})

describe.skipIf(!peer("python3"))("Python's imaplib", () => {
  test("LIST, STATUS, STORE, COPY, MOVE, EXPUNGE, SEARCH and the UID forms", async () => {
    const seen: unknown = JSON.parse(await python(IMAPLIB, desktop))
    expect(seen).toEqual({
      list: expect.arrayContaining([expect.stringContaining("\\Sent"), expect.stringContaining("INBOX")]),
      append: ["OK", "OK", "OK"],
      status: expect.stringMatching(/"?Work"? \(MESSAGES 3 UNSEEN 2 UIDNEXT 4\)/),
      search: [["1 2 3"], ["2"], ["1"], ["3"], [""]],
      uidSearch: ["2 3"],
      store: expect.stringMatching(/\\Seen.*\\Flagged|\\Flagged.*\\Seen/),
      copyuid: expect.stringMatching(/^\d+ 1:2 1:2$/),
      move: "OK",
      expunged: ["1"],
      left: "3",
      sizes: true,
      encrypted: true,
      peeked: true,
      deleted: "OK",
      logout: "BYE",
    })
  })
})

describe.skipIf(!peer("curl"))("curl", () => {
  test("sections and partials are pieces of the same octets; an upload in clear is stored encrypted", async () => {
    const url = `imaps://localhost:${laptop.imap.port}/INBOX`
    const curl = (...args: readonly string[]) =>
      mustRun("curl", [
        ...["-sS", "--cacert", join(gateway.folder, "tls", "ca.pem"), "--user", `${ALICE}:${laptop.password}`],
        ...args,
      ])
    const uid = await uidOfMessage(laptop, "two")
    const whole = Buffer.from(await curl(`${url};UID=${uid}`))
    const body = whole.indexOf("\r\n\r\n") + 4
    expect(await openWithOpenssl(whole, laptop)).toEqual(message("two", ALICE))
    expect(await curl(`${url};UID=${uid};SECTION=HEADER`)).toEqual(whole.subarray(0, body))
    expect(await curl(`${url};UID=${uid};SECTION=TEXT`)).toEqual(whole.subarray(body))
    expect(await curl(`${url};UID=${uid};SECTION=1`)).toEqual(whole.subarray(body))
    // The patch window and its edges, octet by octet of the base64 lines.
    for (const [start, length] of [
      [0, 100],
      [body + 60, 77],
      [body + 137, 400],
      [whole.length - 10, 100],
    ] as const)
      expect(await curl(`${url};UID=${uid};PARTIAL=${start}.${length}`)).toEqual(whole.subarray(start, start + length))
    expect(await curl(`${url};UID=${uid};SECTION=1;PARTIAL=80.200`)).toEqual(whole.subarray(body + 80, body + 280))
    writeFileSync(folder.file("upload.eml"), message("by-curl", ALICE))
    await curl("-T", folder.file("upload.eml"), url.replace("INBOX", "Drafts"))
    expect(filesOf(ALICE, ".Drafts").join()).toContain("<by-curl@elsewhere.test>")
    expect(filesOf(ALICE, ".Drafts").join()).not.toContain(SECRET)
  })
})

describe.skipIf(!peer("mbsync"))("mbsync", () => {
  test("two ways; what it uploads is stored encrypted and found by its X-TUID; then there is nothing to do", async () => {
    for (let number = 1; number <= 12; number += 1) await arrive(`sync-${number}`, BOB)
    const near = folder.file("near")
    const inbox = join(near, "inbox")
    mkdirSync(inbox, { recursive: true })
    const configuration = folder.file("mbsyncrc")
    writeFileSync(configuration, mbsyncrc(desktop, near), { mode: 0o600 })
    const sync = async () => {
      const { code, stdout, stderr } = await run("mbsync", ["-V", "-c", configuration, "-a"], {
        env: { HOME: folder.path },
      })
      expect(stderr).toBe("")
      expect(code).toBe(0)
      return Buffer.from(stdout).toString()
    }
    await sync()
    const fetched = readdirSync(join(inbox, "new")).map((name) => readFileSync(join(inbox, "new", name)))
    expect(fetched).toHaveLength(12)
    const third = fetched.find((octets) => octets.includes("<sync-3@elsewhere.test>")) ?? Buffer.alloc(0)
    expect(await openWithRnp(third, desktop)).toEqual(message("sync-3", BOB))
    expect(third.toString()).not.toContain(SECRET)

    const clear = message("from-here", ALICE).toString().replaceAll("\r\n", "\n")
    writeFileSync(join(inbox, "new", "1700000000.1_1.near"), clear)
    const [first = ""] = readdirSync(join(inbox, "new")).filter((name) => /,U=1(?::|$)/.test(name))
    renameSync(join(inbox, "new", first), join(inbox, "cur", `${first.split(":")[0]}:2,FS`))
    await sync()
    const [uploaded = ""] = filesOf(BOB).filter((text) => text.includes("<from-here@elsewhere.test>"))
    expect(uploaded).toMatch(/^Content-Type: multipart\/encrypted/m)
    expect(uploaded).not.toContain(SECRET)
    const tuid = /^X-TUID: (\S+)\r$/m.exec(uploaded)?.[1]
    using session = await ImapSession.open(desktop)
    const uids = await session.uids()
    expect(uids).toHaveLength(13)
    expect(await session.must("FETCH 1 (FLAGS)")).toMatch(/\\Flagged/)
    expect(await session.must(`UID SEARCH HEADER X-TUID ${tuid}`)).toContain(`* SEARCH ${uids.at(-1)}\r\n`)

    const before = [...names(gateway.maildir(BOB)), ...names(near)]
    await sync()
    expect([...names(gateway.maildir(BOB)), ...names(near)]).toEqual(before)
  })
})

describe.skipIf(!peer("mutt") || !peer("script") || !peer("sq"))("mutt", () => {
  test("opens with Sequoia and the device's key, searches, copies, flags and quits", async () => {
    await arrive("for-mutt", BOB)
    const [settings, shown] = [folder.file("muttrc"), folder.file("shown")]
    writeFileSync(settings, muttrc(desktop, shown))
    const command = `mutt -n -F ${settings} -f imaps://localhost:${desktop.imap.port}/INBOX`
    const env = { TERM: "xterm", HOME: folder.path, LC_ALL: "C.UTF-8" }
    const { stdout } = await run("script", ["-qec", command, "/dev/null"], { env, timeoutMs: 30_000 })
    expect(existsSync(shown), Buffer.from(stdout).toString()).toBe(true)
    expect(readFileSync(shown, "utf8")).toContain(SECRET)
    using session = await ImapSession.open(desktop)
    await session.must("SELECT INBOX")
    expect(await session.must('SEARCH FLAGGED HEADER Message-ID "for-mutt"')).toMatch(/^\* SEARCH \d+\r$/m)
    await session.must("SELECT Archive")
    expect(await session.must('SEARCH HEADER Message-ID "for-mutt"')).toMatch(/^\* SEARCH \d+\r$/m)
  })
})

const EVERYTHING = {
  uid: true,
  flags: true,
  envelope: true,
  bodyStructure: true,
  internalDate: true,
  size: true,
  source: true,
  headers: true,
} as const

function message(name: string, to: string): Buffer {
  return Buffer.from(
    `From: Carol <carol@elsewhere.test>\r\nTo: ${to}\r\nSubject: ${name}\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n` +
      `Message-ID: <${name}@elsewhere.test>\r\n\r\n${SECRET}\r\n${"filling line of a longer message\r\n".repeat(40)}`,
  )
}

/** Sends a message and waits until it is stored. */
async function arrive(name: string, to: string): Promise<void> {
  expect(await sendMail(gateway.port, "carol@elsewhere.test", [to], message(name, to))).toMatch(/^250 /)
  await eventually(`${name} is stored`, () => filesOf(to).some((text) => text.includes(`<${name}@elsewhere.test>`)))
}

/** The messages of a mailbox as they lie on disk. */
function filesOf(account: string, mailbox = ""): string[] {
  const maildir = join(gateway.maildir(account), mailbox)
  return names(maildir)
    .filter((path) => path.startsWith(join(maildir, "new")) || path.startsWith(join(maildir, "cur")))
    .map((path) => readFileSync(path, "latin1"))
}

/** Files with messages below a folder. */
function names(path: string): string[] {
  if (!existsSync(path)) return []
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.startsWith("."))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((name) => !/dovecot|subscriptions|maildirfolder/.test(name))
    .sort()
}

async function flow(device: Device): Promise<ImapFlow & AsyncDisposable> {
  const client = new ImapFlow({
    host: "localhost",
    port: device.imap.port,
    secure: true,
    tls: { ca: readFileSync(join(gateway.folder, "tls", "ca.pem")) },
    logger: false,
    auth: { user: device.username, pass: device.password },
  })
  await client.connect()
  return Object.assign(client, { [Symbol.asyncDispose]: async () => client.close() })
}

async function locked(client: ImapFlow, mailbox: string): Promise<AsyncDisposable> {
  const lock = await client.getMailboxLock(mailbox)
  return { [Symbol.asyncDispose]: async () => lock.release() }
}

async function uidOf(client: ImapFlow, subject: string): Promise<number> {
  const found = await client.search({ subject }, { uid: true })
  return found ? (found[0] ?? 0) : 0
}

async function uidOfMessage(device: Device, name: string): Promise<number> {
  using session = await ImapSession.open(device)
  await session.must("SELECT INBOX")
  const answer = await session.must(`UID SEARCH HEADER Message-ID "<${name}@elsewhere.test>"`)
  return Number(/^\* SEARCH (\d+)/m.exec(answer)?.[1])
}

async function python(script: string, { imap, username, password }: Device): Promise<string> {
  const ca = join(gateway.folder, "tls", "ca.pem")
  return Buffer.from(await mustRun("python3", ["-c", script, String(imap.port), username, password, ca])).toString()
}

const IMAPLIB = `
import imaplib, json, ssl, sys
port, user, password, ca = sys.argv[1:]
m = imaplib.IMAP4_SSL("localhost", int(port), ssl_context=ssl.create_default_context(cafile=ca))
m.login(user, password)
text = lambda data: [x.decode("latin1") if x else "" for x in data]
out = {"list": text(m.list()[1])}
m.create("Work")
mail = lambda name: ("Message-ID: <%s@elsewhere.test>\\r\\nSubject: %s\\r\\n\\r\\nplain words\\r\\n" % (name, name)).encode()
out["append"] = [m.append("Work", flags, None, mail(name))[0] for name, flags in (("a", "(\\\\Seen)"), ("b", None), ("c", "(\\\\Draft)"))]
out["status"] = m.status("Work", "(MESSAGES UNSEEN UIDNEXT)")[1][0].decode()
m.select("Work")
out["search"] = [text(m.search(None, *key)[1]) for key in (("ALL",), ("SUBJECT", "b"), ("SEEN",), ("DRAFT",), ("SINCE", "1-Jan-2099"))]
out["uidSearch"] = text(m.uid("SEARCH", "UNSEEN")[1])
out["store"] = m.uid("STORE", "1", "+FLAGS", "(\\\\Flagged)")[1][0].decode()
m.create("Other")
m.copy("1:2", "Other")
out["copyuid"] = m.response("COPYUID")[1][0].decode()
out["move"] = m.uid("MOVE", "2", "Other")[0]
m.store("1", "+FLAGS", "\\\\Deleted")
m.untagged_responses.pop("EXPUNGE", None)
out["expunged"] = text(m.expunge()[1])
left = m.fetch("1:*", "(UID RFC822.SIZE BODY.PEEK[])")[1]
out["left"] = left[0][0].decode().split("UID ")[1].split()[0].rstrip(")")
octets = left[0][1]
out["sizes"] = len(octets) == int(left[0][0].decode().split("RFC822.SIZE ")[1].split()[0])
out["encrypted"] = b"BEGIN PGP MESSAGE" in octets and b"plain words" not in octets
header = m.uid("FETCH", "3", "(BODY.PEEK[HEADER] FLAGS)")[1]
out["peeked"] = octets.startswith(header[0][1]) and b"Seen" not in b"".join(x if isinstance(x, bytes) else x[0] for x in header)
m.close()
out["deleted"] = m.delete("Work")[0]
m.delete("Other")
out["logout"] = m.logout()[0]
print(json.dumps(out))
`

function mbsyncrc({ imap, username, password }: Device, near: string): string {
  return `IMAPAccount gateway
Host localhost
Port ${imap.port}
User ${username}
Pass ${password}
SSLType IMAPS
CertificateFile ${join(gateway.folder, "tls", "ca.pem")}

IMAPStore far
Account gateway

MaildirStore near
Path ${near}/
Inbox ${near}/inbox
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
`
}

/** Nobody answers prompts: every key is pushed beforehand. What is displayed goes through the filter. */
function muttrc({ imap, username, password, folder, files }: Device, shown: string): string {
  return `set folder=imaps://localhost:${imap.port}/ imap_user=${username} imap_pass=${password}
set ssl_force_tls=yes certificate_file=${join(gateway.folder, "tls", "ca.pem")} ssl_verify_host=yes
set header_cache='' quit=yes wait_key=no confirmappend=no confirmcreate=no delete=yes crypt_use_gpgme=no pgp_use_gpg_agent=yes
set pgp_check_gpg_decrypt_status_fd=no
set pgp_decrypt_command="sq decrypt --recipient-key ${join(folder, files.openpgp ?? "")} %f"
set display_filter="tee ${shown}"
push '<search>~s for-mutt<enter><display-message><exit><copy-message>=Archive<enter><flag-message><sync-mailbox><quit>'
`
}
