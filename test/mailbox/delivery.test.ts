import { readdirSync } from "node:fs"
import { chmod, mkdir, readdir, readFile, stat, truncate, utimes, writeFile } from "node:fs/promises"
import { hostname } from "node:os"
import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { isModifiedUtf7, mailboxName, maildirOf, safeName } from "../../src/mailbox/paths.ts"
import { MailStore, type NewMessage } from "../../src/mailbox/store.ts"
import { parseEntry, parseHeader } from "../../src/mailbox/uidlist.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { ImapClient } from "./imap-client.ts"
import { ACCOUNT, crlf, deliver, serveStore } from "./served-store.ts"

const AT = new Date(1_700_000_000_000)

function message(uniqueName: string, text: string, more: Partial<NewMessage> = {}): NewMessage {
  const octets = crlf(text)
  return {
    uniqueName,
    sizeOctets: octets.length,
    content: inPieces(octets),
    internalDate: AT,
    repeated: false,
    ...more,
  }
}

async function* inPieces(octets: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < octets.length; at += 5) yield octets.subarray(at, at + 5)
}

describe("deliver", () => {
  test("one file with the octets as they came, 0600 in folders 0700, its sizes in the name, its date as time", async () => {
    await using folder = await temporaryFolder()
    await using store = new MailStore(folder.path, { now: () => AT })
    await store.deliver(ACCOUNT, message("spool1", "A: b\n\nbody\n"))
    const maildir = maildirOf(folder.path, ACCOUNT)
    const [name = ""] = await readdir(join(maildir, "new"))
    expect(name).toBe(`1700000000.spool1.${hostname()},S=14,W=14`)
    expect(await readFile(join(maildir, "new", name), "latin1")).toBe("A: b\r\n\r\nbody\r\n")
    const { mode, mtimeMs } = await stat(join(maildir, "new", name))
    expect([mode & 0o777, mtimeMs]).toEqual([0o600, AT.getTime()])
    expect((await stat(join(maildir, "new"))).mode & 0o777).toBe(0o700)
    expect(await readdir(join(maildir, "tmp"))).toEqual([])
  })

  test("repeated does nothing when the message is there, wherever it is and whatever its flags", async () => {
    await using folder = await temporaryFolder()
    await using served = await serveStore(folder.path)
    const text = "A: b\n\nbody\n"
    await served.store.deliver(ACCOUNT, message("spool1", text))
    await served.store.deliver(ACCOUNT, message("spool1", text, { repeated: true }))
    await using client = await ImapClient.connect(served.port)
    await client.ok("SELECT INBOX")
    await client.ok("STORE 1 FLAGS \\Seen")
    await served.store.deliver(ACCOUNT, message("spool1", text, { repeated: true }))
    await served.store.deliver(ACCOUNT, message("spool", text, { repeated: true }))
    expect(await client.ok("NOOP")).toContain("* 2 EXISTS")
  })

  test("junk goes into Junk where there is one, and is not doubled when there was none before", async () => {
    await using folder = await temporaryFolder()
    await using served = await serveStore(folder.path)
    const junk = (name: string, repeated = false) =>
      served.store.deliver(ACCOUNT, message(name, "A: b\n\nbody\n", { junk: true, repeated }))
    await junk("before")
    await using client = await ImapClient.connect(served.port)
    await junk("after")
    await junk("after", true)
    await junk("before", true)
    expect(await client.ok("SELECT Junk")).toContain("* 1 EXISTS")
    expect(await client.ok("SELECT INBOX")).toContain("* 1 EXISTS")
  })

  test("repeated replaces a message that a power cut left short", async () => {
    await using folder = await temporaryFolder()
    await using store = new MailStore(folder.path, { now: () => AT })
    await store.deliver(ACCOUNT, message("spool1", "A: b\n\nbody\n"))
    const inbox = join(maildirOf(folder.path, ACCOUNT), "new")
    const [name = ""] = await readdir(inbox)
    await truncate(join(inbox, name), 3)
    await store.deliver(ACCOUNT, message("spool1", "A: b\n\nbody\n", { repeated: true }))
    expect(await readdir(inbox)).toEqual([name])
    expect(await readFile(join(inbox, name), "latin1")).toBe("A: b\r\n\r\nbody\r\n")
  })

  test("content of another length is refused, and nothing is left", async () => {
    await using folder = await temporaryFolder()
    await using store = new MailStore(folder.path)
    for (const sizeOctets of [3, 30]) {
      await expect(store.deliver(ACCOUNT, message("spool1", "body\n", { sizeOctets }))).rejects.toMatchObject({
        code: "LENGTH_MISMATCH",
      })
    }
    const maildir = maildirOf(folder.path, ACCOUNT)
    expect([...(await readdir(join(maildir, "new"))), ...(await readdir(join(maildir, "tmp")))]).toEqual([])
  })

  test.each([10, 50_000])(
    "what is missing is written when the end has been read, %d lines of it, before anybody sees the message",
    async (lines) => {
      await using folder = await temporaryFolder()
      await using store = new MailStore(folder.path)
      const maildir = maildirOf(folder.path, ACCOUNT)
      const body = "0123456\r\n".repeat(lines)
      let isRead = false
      async function* content(): AsyncGenerator<Uint8Array> {
        yield Buffer.from("A: b\r\n         \r\n")
        yield Buffer.from(body)
        isRead = true
      }
      const missing = () => {
        expect([isRead, readdirSync(join(maildir, "new"))]).toEqual([true, []])
        return { at: 6, octets: Buffer.from("C: late\r\n") }
      }
      const sizeOctets = 17 + body.length
      await store.deliver(ACCOUNT, { ...message("spool1", ""), sizeOctets, content: content(), missing })
      const [name = ""] = await readdir(join(maildir, "new"))
      expect(await readFile(join(maildir, "new", name), "latin1")).toBe(`A: b\r\nC: late\r\n\r\n${body}`)
      expect(name).toContain(`,S=${sizeOctets},W=${sizeOctets}`)
    },
  )

  test("names that mean something in Maildir are refused", async () => {
    await using folder = await temporaryFolder()
    await using store = new MailStore(folder.path)
    for (const name of ["", "../x", "a.b", "a,S=1", "a:2,S", "x".repeat(151)]) {
      await expect(store.deliver(ACCOUNT, message(name, "x"))).rejects.toMatchObject({ code: "MAILBOX_NAME" })
    }
  })

  test("many at once to many accounts all arrive", async () => {
    await using folder = await temporaryFolder()
    await using store = new MailStore(folder.path)
    const accounts = ["a@x", "b@x", "c@x"]
    await Promise.all(
      accounts.flatMap((account) =>
        Array.from({ length: 50 }, (_, index) => store.deliver(account, message(`m${index}`, "x\n"))),
      ),
    )
    for (const account of accounts) expect(await readdir(join(maildirOf(folder.path, account), "new"))).toHaveLength(50)
  })

  test("what a crash left in tmp/ goes at the first use: of dead processes, or older than 36 hours", async () => {
    await using folder = await temporaryFolder()
    const maildir = maildirOf(folder.path, ACCOUNT)
    for (const name of ["tmp", "new", "cur"]) await mkdir(join(maildir, name), { recursive: true })
    const old = join(maildir, "tmp", "1.foreign.elsewhere")
    const names = [
      `${Math.floor(Date.now() / 1000)}.P999999999.a.${hostname()}`,
      `${Math.floor(Date.now() / 1000)}.P${process.ppid}.a.${hostname()}`,
      "2.foreign.elsewhere",
    ]
    for (const path of [old, ...names.map((name) => join(maildir, "tmp", name))]) await writeFile(path, "x")
    await utimes(old, 0, 0)
    await using store = new MailStore(folder.path)
    await store.deliver(ACCOUNT, message("m", "x\n"))
    expect((await readdir(join(maildir, "tmp"))).sort()).toEqual(names.slice(1).sort())
  })

  test("a folder that cannot be written rejects", async () => {
    await using folder = await temporaryFolder()
    await writeFile(folder.file("file"), "")
    await chmod(folder.path, 0o700)
    await using store = new MailStore(folder.file("file"))
    await expect(store.deliver(ACCOUNT, message("m", "x\n"))).rejects.toThrow()
  })
})

describe("UIDs", () => {
  test("are stable over restarts, never given twice, and the same in two processes' stores", async () => {
    await using folder = await temporaryFolder()
    const list = join(maildirOf(folder.path, ACCOUNT), "dovecot-uidlist")
    {
      await using served = await serveStore(folder.path)
      for (const text of ["1", "2", "3"]) await deliver(served.store, `Subject: ${text}\n\n`)
      await using client = await ImapClient.connect(served.port)
      await client.ok("SELECT INBOX")
      await client.ok("STORE 3 +FLAGS \\Deleted")
      await client.ok("EXPUNGE")
    }
    // A writer died within a line.
    await writeFile(list, `${await readFile(list, "latin1")}4 :17`, "latin1")
    await using one = await serveStore(folder.path)
    await using two = await serveStore(folder.path)
    await Promise.all(
      Array.from({ length: 30 }, (_, index) => deliver(index % 2 ? one.store : two.store, `Subject: x${index}\n\n`)),
    )
    await using a = await ImapClient.connect(one.port)
    await using b = await ImapClient.connect(two.port)
    await Promise.all([a.ok("SELECT INBOX"), b.ok("SELECT INBOX")])
    const append = async (client: ImapClient): Promise<void> => {
      for (let index = 0; index < 5; index += 1) await client.ok(`APPEND INBOX {2+}\r\na${index}`)
    }
    await Promise.all([append(a), append(b)])
    const uids = async (client: ImapClient): Promise<string[]> => {
      await client.ok("NOOP")
      const answer = await client.ok("UID FETCH 1:* (UID BODY.PEEK[])")
      return answer
        .split("\r\n* ")
        .map((line) => line.replace(/\r\nt\d+ OK.*\r\n$/, ""))
        .sort()
    }
    const seen = await uids(a)
    expect(await uids(b)).toEqual(seen)
    const numbers = seen.map((line) => Number(/UID (\d+)/.exec(line)?.[1])).sort((x, y) => x - y)
    expect(numbers).toEqual([1, 2, ...Array.from({ length: 40 }, (_, index) => index + 4)])
  })

  test("a lock left by a dead process is broken", async () => {
    await using folder = await temporaryFolder()
    await using served = await serveStore(folder.path)
    await deliver(served.store, "A: b\n\n")
    await writeFile(join(maildirOf(folder.path, ACCOUNT), "dovecot-uidlist.lock"), `999999999:${hostname()}`)
    await using client = await ImapClient.connect(served.port)
    expect(await client.ok("SELECT INBOX")).toContain("* 1 EXISTS")
  })

  test("the list is written anew when most of its messages are gone, and the next UID stays", async () => {
    await using folder = await temporaryFolder()
    const maildir = maildirOf(folder.path, ACCOUNT)
    await using served = await serveStore(folder.path)
    await using client = await ImapClient.connect(served.port)
    for (let index = 0; index < 1100; index += 1)
      await writeFile(join(maildir, "cur", `${1_600_000_000 + index}.x.h,S=2,W=2:2,${index < 5 ? "" : "T"}`), "\r\n")
    await client.ok("SELECT INBOX")
    await client.ok("EXPUNGE")
    await deliver(served.store, "A: b\n\n")
    await client.ok("NOOP")
    const lines = (await readFile(join(maildir, "dovecot-uidlist"), "latin1")).trim().split("\n")
    expect(lines).toHaveLength(7)
    expect(parseHeader(lines[0] ?? "")?.nextUid).toBe(1101)
    expect(parseEntry(lines[6] ?? "")?.uid).toBe(1101)
  })

  test("lines of Dovecot's own making are read", () => {
    expect(parseHeader("3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1")).toEqual({
      uidValidity: 1275660208,
      nextUid: 25022,
      rest: "G3085f01b7f11094c501100008c4a11c1",
    })
    expect(parseEntry("25006 W2481 G00 :1276528487.M364837P9451.kurkku,S=1355,W=1394:2,")).toEqual({
      uid: 25006,
      base: "1276528487.M364837P9451.kurkku,S=1355,W=1394",
    })
    for (const line of ["", "1 V1 N1", "3 N1", "3 V0 N1"]) expect(parseHeader(line)).toBeNull()
    for (const line of ["", "x :y", "0 :y", "5 y", "-1 :y"]) expect(parseEntry(line)).toBeNull()
  })
})

describe("names", () => {
  const rows: readonly (readonly [account: string, want: string])[] = [
    ["alice@example.test", "alice@example.test"],
    ["a/../b@x", "a%2F..%2Fb@x"],
    ["..", "%2E."],
    ["ü@x", "%C3%BC@x"],
    ["a%b@x", "a%25b@x"],
  ]
  test.each(rows)("%s", (account, want) => {
    expect(safeName(account)).toBe(want)
  })

  test("mailbox names are modified UTF-7 without empty levels", () => {
    expect(["inbox", "A.B", "&AOk-", "a&-b"].map(mailboxName)).toEqual(["INBOX", "A.B", "&AOk-", "a&-b"])
    expect(["", ".", "a.", ".a", "a..b", "a/b", "a\0", "é"].map(mailboxName)).toEqual(Array(8).fill(null))
    expect(["&", "&AOk", "&A-", "&/-"].map(isModifiedUtf7)).toEqual([false, false, false, false])
  })
})
