import { mkdir, readdir, readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { ImapFlow } from "imapflow"
import { describe, expect, test } from "vitest"
import { maildirOf } from "../../src/mailbox/paths.ts"
import { mustRun, peer, run, temporaryFolder } from "../harness/peers.ts"
import { ACCOUNT, crlf, deliver, serveStore } from "./served-store.ts"

const MESSAGE = `From: Bob <bob@example.org>
To: alice@example.test
Subject: for every client
Date: Mon, 01 Jan 2024 00:00:00 +0000
Message-ID: <1@example.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain; charset=utf-8

Hello wörld
--b
Content-Type: application/octet-stream; name=a.bin
Content-Transfer-Encoding: base64

AAECAwQ=
--b--
`

describe("clients nobody here wrote", () => {
  test("imapflow lists, fetches, downloads, searches, flags, moves, appends and is told of new mail", async () => {
    await using folder = await temporaryFolder()
    await using served = await serveStore(folder.path)
    await deliver(served.store, MESSAGE)
    await using client = await connect(served.port)
    expect((await client.list()).map(({ path, specialUse }) => `${path} ${specialUse ?? ""}`)).toContain("Sent \\Sent")
    const lock = await client.getMailboxLock("INBOX")
    const found = await client.fetchOne("1", {
      envelope: true,
      bodyStructure: true,
      source: true,
      uid: true,
      size: true,
    })
    if (!found) throw new Error("imapflow found no message")
    expect(found.envelope?.subject).toBe("for every client")
    expect(found.bodyStructure?.childNodes?.map(({ type }) => type)).toEqual(["text/plain", "application/octet-stream"])
    expect(found.source && Buffer.from(found.source)).toEqual(crlf(MESSAGE))
    const { meta, content } = await client.download("1", "2")
    if (!meta || !content) throw new Error("imapflow found no part")
    expect(meta.contentType).toBe("application/octet-stream")
    expect(Buffer.concat(await content.toArray())).toEqual(Buffer.from([0, 1, 2, 3, 4]))
    expect(await client.search({ subject: "every" })).toEqual([1])
    const told = new Promise((resolve) => client.once("exists", resolve))
    const idling = client.idle()
    await deliver(served.store, MESSAGE)
    await told
    client.noop().catch(() => undefined)
    await idling
    await client.messageFlagsAdd("1", ["\\Flagged", "$label"])
    expect(await client.messageMove("1", "Archive")).toMatchObject({ path: "INBOX", destination: "Archive" })
    expect(await client.append("Sent", Buffer.from("A: b\r\n\r\nx"), ["\\Seen"])).toMatchObject({ uid: 1 })
    expect(await client.status("Archive", { messages: true, unseen: true })).toMatchObject({ messages: 1 })
    lock.release()
    await client.logout()
  })

  test.skipIf(!peer("python3"))("Python's imaplib", async () => {
    await using folder = await temporaryFolder()
    await using served = await serveStore(folder.path)
    await deliver(served.store, MESSAGE)
    const seen: unknown = JSON.parse(
      Buffer.from(await mustRun("python3", ["-c", IMAPLIB, `${served.port}`])).toString(),
    )
    expect(seen).toMatchObject({
      state: "AUTH",
      select: ["OK", ["1"]],
      text: "Hello w\u00c3\u00b6rld",
      flags: expect.stringContaining("\\Flagged"),
      append: expect.stringMatching(/^\[APPENDUID \d+ 1\]/),
      search: ["OK", ["1"]],
      expunge: ["OK", ["1"]],
      logout: "BYE",
    })
  })

  test.skipIf(!peer("curl"))("curl", async () => {
    await using folder = await temporaryFolder()
    await using served = await serveStore(folder.path)
    await deliver(served.store, MESSAGE)
    const url = `imap://127.0.0.1:${served.port}/INBOX`
    expect(Buffer.from(await mustRun("curl", ["-s", `${url};UID=1`]))).toEqual(crlf(MESSAGE))
    const part = await mustRun("curl", ["-s", `${url};UID=1;SECTION=2`])
    expect(Buffer.from(part).toString()).toBe("AAECAwQ=")
    expect(Buffer.from(await mustRun("curl", ["-s", "-X", "SEARCH ALL", url])).toString()).toBe("* SEARCH 1\r\n")
    await writeFile(folder.file("upload"), crlf(MESSAGE))
    await mustRun("curl", ["-s", "-T", folder.file("upload"), url])
    expect(Buffer.from(await mustRun("curl", ["-s", `${url};UID=2`]))).toEqual(crlf(MESSAGE))
  })

  test.skipIf(!peer("mbsync"))("mbsync: two ways, and the second time there is nothing to do", async () => {
    await using folder = await temporaryFolder()
    await using served = await serveStore(folder.file("mail"))
    for (let count = 0; count < 20; count += 1) await deliver(served.store, MESSAGE)
    const local = folder.file("local")
    await mkdir(join(local, "inbox"), { recursive: true })
    const configuration = folder.file("mbsyncrc")
    await writeFile(configuration, mbsyncrc(served.port, local))
    const sync = async (): Promise<string> => {
      const { code, stdout, stderr } = await run("mbsync", ["-V", "-c", configuration, "-a"], {
        env: { HOME: folder.path },
      })
      expect(code, stderr).toBe(0)
      return Buffer.from(stdout).toString()
    }
    await sync()
    const inbox = join(local, "inbox")
    const fetched = await readdir(join(inbox, "new"))
    expect(fetched).toHaveLength(20)
    // mbsync adds a field of its own to what it stores.
    const stored = await readFile(join(inbox, "new", fetched[0] ?? ""), "utf8")
    expect(stored.replace(/^X-TUID: .*\n/m, "")).toBe(MESSAGE)
    await writeFile(join(inbox, "new", "1700000000.local.host"), "Subject: from here\n\nx\n")
    await sync()
    const before = await state(folder.file("mail"), local)
    expect(before.filter((name) => name.includes("Maildir/new"))).toHaveLength(21)
    await sync()
    expect(await state(folder.file("mail"), local)).toEqual(before)
  })

  test.skipIf(!peer("mutt") || !peer("script"))("mutt", async () => {
    await using folder = await temporaryFolder()
    await using served = await serveStore(folder.path)
    await deliver(served.store, MESSAGE)
    const saved = folder.file("saved")
    const settings = folder.file("muttrc")
    // Nobody answers prompts; what is displayed goes through the filter.
    await writeFile(
      settings,
      `set folder=${folder.path} ssl_starttls=no ssl_force_tls=no imap_user=alice header_cache=''
set delete=yes quit=yes wait_key=no display_filter="tee ${saved}"
push '<display-message><exit><flag-message><sync-mailbox><quit>'
`,
    )
    const command = `mutt -n -F ${settings} -f imap://127.0.0.1:${served.port}/INBOX`
    const env = { TERM: "xterm", HOME: folder.path, LC_ALL: "C.UTF-8" }
    await run("script", ["-qec", command, "/dev/null"], { env, timeoutMs: 20_000 })
    expect(await readFile(saved, "utf8")).toContain("Hello wörld")
    const names = await readdir(join(maildirOf(folder.path, ACCOUNT), "cur"))
    expect(names.join()).toMatch(/:2,FS?$/)
  })
})

async function connect(port: number): Promise<ImapFlow & AsyncDisposable> {
  const client = new ImapFlow({
    host: "127.0.0.1",
    port,
    secure: false,
    doSTARTTLS: false,
    logger: false,
    auth: { user: "alice", pass: "" },
  })
  await client.connect()
  return Object.assign(client, { [Symbol.asyncDispose]: async () => client.close() })
}

const IMAPLIB = `
import imaplib, json, sys
m = imaplib.IMAP4("127.0.0.1", int(sys.argv[1]))
out = {"state": m.state}
text = lambda reply: [reply[0], [x.decode("latin1") if x else x for x in reply[1]]]
out["select"] = text(m.select())
out["text"] = m.fetch("1", "(UID BODY.PEEK[1] FLAGS)")[1][0][1].decode("latin1")
out["flags"] = m.store("1", "+FLAGS", "\\\\Flagged")[1][0].decode()
out["append"] = m.append("Sent", "(\\\\Seen)", None, b"A: b\\r\\n\\r\\nx")[1][0].decode()
out["search"] = text(m.search(None, "SUBJECT", '"every"'))
m.copy("1", "Archive")
m.store("1", "+FLAGS", "\\\\Deleted")
out["expunge"] = text(m.expunge())
out["logout"] = m.logout()[0]
print(json.dumps(out))
`

function mbsyncrc(port: number, local: string): string {
  return `IMAPAccount store
Host 127.0.0.1
Port ${port}
User alice
Pass none
SSLType None
AuthMechs LOGIN

IMAPStore far
Account store

MaildirStore near
Path ${local}/
Inbox ${local}/inbox
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

async function state(...folders: readonly string[]): Promise<string[]> {
  const names = await Promise.all(
    folders.map(async (path) => (await readdir(path, { recursive: true })).map((name) => join(path, name))),
  )
  return names
    .flat()
    .filter((name) => /\/(?:new|cur)\//.test(name))
    .sort()
}
