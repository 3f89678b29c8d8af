import { once } from "node:events"
import { readdir, rename, unlink, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { type Duplex, duplexPair } from "node:stream"
import { describe, expect, test } from "vitest"
import { maildirOf } from "../../src/mailbox/paths.ts"
import { MailStore } from "../../src/mailbox/store.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { ImapClient } from "./imap-client.ts"
import { ACCOUNT, deliver, serveStore } from "./served-store.ts"

/** A store with `messages`, and a client that has selected INBOX. */
async function opened(messages: readonly string[], readOnly = false) {
  const stack = new AsyncDisposableStack()
  const folder = stack.use(await temporaryFolder())
  const served = stack.use(await serveStore(folder.path, { readOnly }))
  for (const message of messages) await deliver(served.store, message)
  const client = stack.use(await ImapClient.connect(served.port))
  await client.ok("SELECT INBOX")
  return {
    client,
    store: served.store,
    maildir: maildirOf(folder.path, ACCOUNT),
    connect: async () => stack.use(await ImapClient.connect(served.port)),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

const THREE = ["Subject: one\n\nfirst\n", "Subject: two\n\nsecond\n", "Subject: three\n\nthird\n"]

describe("FETCH", () => {
  test("sections, partials and \\Seen", async () => {
    await using mail = await opened(["Subject: one\nTo: a@b\n\nfirst line\n"])
    const { client } = mail
    expect(await client.ok("FETCH 1 (BODY.PEEK[TEXT]<6.100> BODY.PEEK[]<1000.5> BODY.PEEK[1]<0.5>)")).toContain(
      "* 1 FETCH (BODY[TEXT]<6> {6}\r\nline\r\n BODY[]<1000> {0}\r\n BODY[1]<0> {5}\r\nfirst)",
    )
    expect(await client.ok("FETCH 1 (BODY.PEEK[HEADER.FIELDS.NOT (To)] BODY.PEEK[3])")).toContain(
      "BODY[HEADER.FIELDS.NOT (To)] {16}\r\nSubject: one\r\n\r\n BODY[3] NIL)",
    )
    expect(await client.ok("FETCH 1 RFC822.HEADER")).not.toContain("Seen")
    expect(await client.ok("FETCH 1 BODY[1]")).toContain("first line\r\n FLAGS (\\Seen \\Recent))")
    expect(await client.ok("FETCH 1 BODY[1]")).not.toContain("FLAGS")
  })

  test("the section's field name goes back quoted when it is no atom", async () => {
    await using mail = await opened(["Subject: one\n\n"])
    expect(await mail.client.ok('FETCH 1 BODY.PEEK[HEADER.FIELDS ("a b" {7+}\r\nsubject)]')).toContain(
      'BODY[HEADER.FIELDS ("a b" subject)] {16}\r\n',
    )
  })

  test("a message removed by another is told with EXPUNGEISSUED, and its number stays until EXPUNGE", async () => {
    await using mail = await opened(THREE)
    const other = await mail.connect()
    await other.ok("SELECT INBOX")
    await other.ok("STORE 1 +FLAGS.SILENT \\Deleted")
    await other.ok("EXPUNGE")
    expect(await mail.client.command("FETCH 1:3 (UID BODY.PEEK[TEXT])")).toMatch(
      /^\* 2 FETCH[\s\S]*\* 3 FETCH[\s\S]*NO \[EXPUNGEISSUED\]/,
    )
    expect(await mail.client.ok("NOOP")).toMatch(/^\* 1 EXPUNGE\r\n/)
    expect(await mail.client.ok("FETCH 1 UID")).toContain("* 1 FETCH (UID 2)")
  })

  test("a file renamed by another program is found", async () => {
    await using mail = await opened(["Subject: one\n\nx\n"])
    const [name = ""] = await readdir(join(mail.maildir, "new"))
    await rename(join(mail.maildir, "new", name), join(mail.maildir, "cur", `${name}:2,RF`))
    expect(await mail.client.ok("UID FETCH 1 BODY.PEEK[TEXT]")).toContain("{3}\r\nx\r\n)")
    expect(await mail.client.ok("NOOP")).toBe("t3 OK NOOP completed\r\n")
    expect(await mail.client.ok("FETCH 1 FLAGS")).toContain("FLAGS (\\Answered \\Flagged \\Recent)")
  })

  test("a file whose name tells no size, or a wrong one, is measured", async () => {
    await using mail = await opened([])
    await writeFile(join(mail.maildir, "new", "1700000000.a.host"), "A: b\n\nx\n")
    await writeFile(join(mail.maildir, "new", "1700000001.b.host,S=5,W=5"), "A: b\r\n\r\nlonger\r\n")
    await mail.client.ok("NOOP")
    expect(await mail.client.ok("FETCH 1:2 (RFC822.SIZE BODY.PEEK[])")).toContain(
      "* 1 FETCH (RFC822.SIZE 11 BODY[] {11}\r\nA: b\r\n\r\nx\r\n)\r\n* 2 FETCH (RFC822.SIZE 16 BODY[] {16}\r\n",
    )
  })
})

describe("flags", () => {
  test("STORE replaces, adds, removes; SILENT says nothing; unknown Maildir letters are kept", async () => {
    await using mail = await opened(THREE)
    const { client } = mail
    expect(await client.ok("STORE 1:2 FLAGS (\\Seen $Junk)")).toContain("* 2 FETCH (FLAGS (\\Seen $Junk \\Recent))")
    expect(await client.ok("UID STORE 2 -FLAGS \\Seen")).toContain("* 2 FETCH (UID 2 FLAGS ($Junk \\Recent))")
    expect(await client.ok("STORE 3 +FLAGS.SILENT (\\Draft \\Recent)")).toBe("t4 OK STORE completed\r\n")
    const [name = ""] = (await readdir(join(mail.maildir, "cur"))).filter((candidate) => candidate.endsWith("Sa"))
    await rename(join(mail.maildir, "cur", name), join(mail.maildir, "cur", `${name}P`))
    await client.ok("NOOP")
    await client.ok("STORE 1 FLAGS \\Flagged")
    expect((await readdir(join(mail.maildir, "cur"))).filter((candidate) => candidate.endsWith(":2,FP"))).toHaveLength(
      1,
    )
  })

  test("keywords beyond the 26 letters of Maildir are not kept, and nothing breaks", async () => {
    await using mail = await opened(THREE)
    const keywords = Array.from({ length: 40 }, (_, index) => `word${index}`)
    const told = await mail.client.ok(`STORE 1 FLAGS (${keywords.join(" ")})`)
    expect(told.match(/^\* 1 FETCH \(FLAGS \((.*) \\Recent\)\)/m)?.[1]?.split(" ")).toEqual(keywords.slice(0, 26))
  })

  test("changes of another session come with the next command, expunges not within FETCH", async () => {
    await using mail = await opened(THREE)
    const other = await mail.connect()
    await other.ok("SELECT INBOX")
    await other.ok("STORE 2 FLAGS.SILENT (\\Answered new)")
    expect(await mail.client.ok("NOOP")).toMatch(
      /FLAGS \(.* new\)[\s\S]*\* 2 FETCH \(UID 2 FLAGS \(\\Answered new \\Recent\)\)/,
    )
    await other.ok("STORE 1 +FLAGS \\Deleted")
    await other.ok("EXPUNGE")
    expect(await mail.client.ok("FETCH 2 FLAGS")).not.toContain("EXPUNGE")
    expect(await mail.client.ok("UID FETCH 2 FLAGS")).toContain("* 1 EXPUNGE")
  })
})

describe("IDLE", () => {
  test("tells deliveries, flags and expunges of others, also of other programs, at once", async () => {
    await using mail = await opened(THREE)
    const other = await mail.connect()
    await other.ok("SELECT INBOX")
    mail.client.send("i IDLE\r\n")
    await mail.client.until(/\+ idling\r\n/)
    // Four times: where nothing tells of a change it is looked for every 10 s.
    const started = performance.now()
    await deliver(mail.store, "Subject: four\n\nx\n")
    await mail.client.until(/\* 4 EXISTS\r\n/)
    await other.ok("UID STORE 2 +FLAGS.SILENT (\\Flagged \\Deleted)")
    await mail.client.until(/\* 2 FETCH \(UID 2 FLAGS \(\\Flagged \\Deleted \\Recent\)\)\r\n/)
    await other.ok("EXPUNGE")
    await mail.client.until(/\* 2 EXPUNGE\r\n/)
    const [name = ""] = await readdir(join(mail.maildir, "new"))
    await unlink(join(mail.maildir, "new", name))
    await mail.client.until(/\* \d EXPUNGE\r\n/)
    expect(performance.now() - started).toBeLessThan(8_000)
    mail.client.send("DONE\r\n")
    await mail.client.until(/i OK IDLE completed\r\n/)
  })
})

describe("mailboxes", () => {
  test("special mailboxes, hierarchy, subscriptions, rename and delete", async () => {
    await using mail = await opened([])
    const { client } = mail
    expect(await client.ok('LIST (SPECIAL-USE) "" "*"')).toMatch(
      /\* LIST \(\\HasNoChildren \\Archive\) "\." Archive\r\n.*\\Drafts.*\r\n.*\\Junk.*\r\n.*\\Sent.*\r\n.*\\Trash.*\r\nt/,
    )
    await client.ok('CREATE "A.B c.D"')
    expect(await client.ok('LIST "" (% A.%) RETURN (CHILDREN SUBSCRIBED STATUS (MESSAGES))')).toContain(
      '* LIST (\\Noselect \\HasChildren) "." A\r\n* LIST (\\Noselect \\HasChildren) "." "A.B c"\r\n',
    )
    await client.ok("SUBSCRIBE Sent")
    await client.ok('SUBSCRIBE "A.B c.D"')
    expect(await client.ok('LSUB "" %')).toContain('* LSUB (\\Noselect) "." A\r\n')
    expect(await client.ok('LIST (SUBSCRIBED) "" "A*"')).toContain(
      '* LIST (\\HasNoChildren \\Subscribed) "." "A.B c.D"',
    )
    await client.ok('RENAME A "Z"')
    expect(await client.ok('LIST Z. "*"')).toContain('"Z.B c.D"')
    await client.ok('DELETE "Z.B c.D"')
    expect(await client.ok('LIST "" Z*')).toMatch(/^t\d+ OK/)
    expect(await client.ok('LIST "" ""')).toContain('* LIST (\\Noselect) "." ""')
  })

  test("renaming INBOX moves its messages, and INBOX stays", async () => {
    await using mail = await opened(THREE)
    expect(await mail.client.ok("RENAME INBOX Old")).toMatch(/^(?:\* 1 EXPUNGE\r\n){3}/)
    expect(await mail.client.ok("STATUS Old (MESSAGES)")).toContain("MESSAGES 3")
    expect(await mail.client.ok("STATUS INBOX (MESSAGES)")).toContain("MESSAGES 0")
  })

  test("a mailbox made again has another UIDVALIDITY", async () => {
    await using mail = await opened([])
    const validity = async (): Promise<string> =>
      (await mail.client.ok("STATUS again (UIDVALIDITY)")).split("\r\n")[0] ?? ""
    await mail.client.ok("CREATE again")
    const first = await validity()
    await mail.client.ok("DELETE again")
    await mail.client.ok("CREATE again")
    expect(await validity()).not.toBe(first)
  })

  test("deleting a mailbox ends the sessions that have it open", async () => {
    await using mail = await opened([])
    const other = await mail.connect()
    await other.ok("SELECT Junk")
    await mail.client.ok("DELETE Junk")
    other.send("x NOOP\r\n")
    expect(await other.rest()).toContain("* BYE")
  })

  const names: readonly (readonly [name: string, answer: RegExp])[] = [
    ["../../etc", /NO \[CANNOT\]/],
    ["a/b", /NO \[CANNOT\]/],
    ['".."', /NO \[CANNOT\]/],
    ['".hidden"', /NO \[CANNOT\]/],
    ['"a..b"', /NO \[CANNOT\]/],
    ['"&"', /NO \[CANNOT\]/],
    ['"\xfc"', /NO \[CANNOT\]/],
    ['"a*"', /NO \[CANNOT\]/],
    ["x".repeat(250), /NO \[CANNOT\]/],
    ["inbox", /NO \[ALREADYEXISTS\]/],
    ["Sent", /NO \[ALREADYEXISTS\]/],
    ['"a."', /OK/],
    ['"&ZeVnLIqe- &-"', /OK/],
  ]
  test("names that are no folder names are refused", async () => {
    await using mail = await opened([])
    for (const [name, answer] of names) expect(await mail.client.command(`CREATE ${name}`), name).toMatch(answer)
  })
})

describe("APPEND, COPY, MOVE, EXPUNGE", () => {
  test("UIDPLUS codes, dates and flags; \\Deleted others stay with UID EXPUNGE", async () => {
    await using mail = await opened(THREE)
    const { client } = mail
    expect(await client.ok('APPEND INBOX (\\Seen x) "17-Jul-1996 02:44:25 -0700" {5+}\r\nA: b\n')).toMatch(
      /\* 4 EXISTS\r\n[\s\S]*OK \[APPENDUID \d+ 4\]/,
    )
    expect(await client.ok("FETCH 4 (INTERNALDATE FLAGS RFC822.SIZE)")).toContain(
      'INTERNALDATE "17-Jul-1996 09:44:25 +0000" FLAGS (\\Seen x \\Recent) RFC822.SIZE 6',
    )
    expect(await client.ok("COPY 2,4 Archive")).toMatch(/OK \[COPYUID \d+ 2,4 1:2\]/)
    expect(await client.ok("UID MOVE 1,3:4 Trash")).toMatch(
      /^\* OK \[COPYUID \d+ 1,3:4 1:3\] Moved\r\n\* 1 EXPUNGE\r\n\* 2 EXPUNGE\r\n\* 2 EXPUNGE\r\n/,
    )
    await client.ok("SELECT Trash")
    expect(await client.ok("FETCH 3 (INTERNALDATE FLAGS)")).toContain(
      'INTERNALDATE "17-Jul-1996 09:44:25 +0000" FLAGS (\\Seen x \\Recent)',
    )
    await client.ok("STORE 1:2 +FLAGS.SILENT \\Deleted")
    expect(await client.ok("UID EXPUNGE 2")).toMatch(/^\* 2 EXPUNGE\r\nt/)
    expect(await client.ok("CLOSE")).not.toContain("EXPUNGE")
    expect(await client.ok("STATUS Trash (MESSAGES UIDNEXT)")).toContain("(MESSAGES 1 UIDNEXT 4)")
  })

  test("a message is streamed in, octet by octet as well, and refused before its octets when that is possible", async () => {
    await using mail = await opened([])
    const { client } = mail
    client.send("a APPEND Nowhere {5}\r\n")
    await client.until(/a NO \[TRYCREATE\].*\r\n/)
    client.send("b APPEND Nowhere {5+}\r\nhello\r\nc NOOP\r\n")
    await client.until(/b NO \[TRYCREATE\].*\r\nc OK.*\r\n/)
    client.send("d APPEND Sent {300000000}\r\n")
    await client.until(/d NO \[TOOBIG\].*\r\n/)
    client.send("e APPEND {4}\r\n")
    await client.until(/\+ OK\r\n/)
    client.send("Sent (\\Seen) {5}\r\n")
    await client.until(/\+ OK\r\n/)
    for (const c of "he\r\nl\r\n") client.send(c)
    await client.until(/e OK \[APPENDUID .*\r\n/)
  })

  test("nothing is left when the client leaves within a message", async () => {
    await using mail = await opened([])
    const other = await mail.connect()
    other.send("a APPEND Sent {100}\r\n")
    await other.until(/\+ OK\r\n/)
    other.send("half")
    await other[Symbol.asyncDispose]()
    await expect.poll(() => readdir(join(mail.maildir, ".Sent", "tmp"))).toEqual([])
    expect(await mail.client.ok("STATUS Sent (MESSAGES)")).toContain("MESSAGES 0")
  })
})

describe("SEARCH", () => {
  const MAIL = [
    "From: Bob <bob@example.org>\nTo: alice@example.test\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= =?iso-8859-1?Q?_aus_K=F6ln?=\nDate: Mon, 01 Jan 2024 23:00:00 -0800\n\nHello WORLD\n",
    "From: carol@example.org\nCc: bob@example.org\nSubject: plain\nX-Mark: yes\nDate: Fri, 5 Jan 2024 00:00:00 +0000\n\nnothing ä\n",
    `Subject: long\n\n${"0123456789\n".repeat(20_000)}needle\n`,
  ]
  const rows: readonly (readonly [keys: string, want: string])[] = [
    ["ALL", "1 2 3"],
    ["2:*", "2 3"],
    ["UID 1,3", "1 3"],
    ["FROM bob", "1"],
    ["OR FROM bob CC bob", "1 2"],
    ["NOT FROM bob", "2 3"],
    ['SUBJECT "gr\xc3\xbc\xc3\x9fe aus k\xc3\xb6ln"', "1"],
    ["CHARSET UTF-8 SUBJECT {5+}\r\nK\xc3\xb6ln", "1"],
    ['HEADER X-Mark ""', "2"],
    ["TEXT world", "1"],
    ["BODY subject", ""],
    ["BODY needle", "3"],
    ["BODY \xc3\xa4", "2"],
    ["LARGER 1000", "3"],
    ["SMALLER 1000 (SUBJECT plain)", "2"],
    ["SENTON 1-Jan-2024", "1"],
    ["SENTSINCE 2-Jan-2024", "2"],
    ["SENTBEFORE 2-Jan-2024", "1"],
    ["SINCE 1-Jan-2020 BEFORE 1-Jan-2100", "1 2 3"],
    ["ON 1-Jan-2000", ""],
    ["FLAGGED", "2"],
    ["UNFLAGGED KEYWORD work", "3"],
    ["UNKEYWORD work UNSEEN", "1 2"],
    ["NEW", "1 2 3"],
    ["OLD", ""],
  ]
  test("every key", async () => {
    await using mail = await opened(MAIL)
    await mail.client.ok("STORE 2 +FLAGS.SILENT \\Flagged")
    await mail.client.ok("STORE 3 +FLAGS.SILENT work")
    for (const [keys, want] of rows) {
      const line = (await mail.client.ok(`SEARCH ${keys}`)).split("\r\n")[0]
      expect(line, keys).toBe(want === "" ? "* SEARCH" : `* SEARCH ${want}`)
    }
    expect(await mail.client.command("SEARCH CHARSET KOI8-R ALL")).toContain("NO [BADCHARSET")
  })
})

describe("read-only", () => {
  test("nothing can be changed", async () => {
    await using mail = await opened(THREE, true)
    await mail.client.command("CREATE Sent")
    for (const command of [
      "STORE 1 FLAGS \\Seen",
      "EXPUNGE",
      "APPEND INBOX {1+}\r\nx",
      "COPY 1 INBOX",
      "MOVE 1 INBOX",
      "CREATE x",
      "RENAME Sent y",
      "DELETE Sent",
      "SUBSCRIBE INBOX",
    ]) {
      expect(await mail.client.command(command), command).toMatch(/t\d+ NO \[(?:READ-ONLY|NOPERM)\]/)
    }
    expect(await mail.client.ok("FETCH 1 BODY[]")).not.toContain("Seen")
    expect(await mail.client.ok("SELECT INBOX")).toContain("OK [READ-ONLY]")
  })
})

describe("hostile input", () => {
  const BAD = [
    "",
    "FETCH",
    "FETCH 1",
    "FETCH 0 FLAGS",
    "FETCH 9 FLAGS",
    "FETCH 1 NONSENSE",
    "FETCH 1 ()",
    "FETCH 1 BINARY[1]",
    "FETCH 1 BODY[]<5>",
    "STORE 1 FLAGS",
    "STORE 1 FLAGS (\\Seen",
    "SEARCH",
    "SEARCH NOT",
    "SEARCH XYZZY",
    "SEARCH SINCE yesterday",
    "STATUS INBOX ()",
    "STATUS INBOX (NONSENSE)",
    "LIST",
    "SELECT",
    "__proto__",
    "constructor",
    "NOSUCH",
    "LOGIN a b",
    `SEARCH ${"(".repeat(100)}ALL${")".repeat(100)}`,
    `SEARCH ${"NOT ".repeat(5000)}ALL`,
    "UID",
    "UID NOOP",
    "ENABLE",
    "COPY 1",
    "CAPABILITY\0",
  ]
  test("is answered BAD, and the session goes on", async () => {
    for (const half of [BAD.slice(0, 15), BAD.slice(15)]) {
      await using mail = await opened(THREE)
      for (const command of half) expect(await mail.client.command(command), command.slice(0, 50)).toMatch(/BAD/)
      expect(await mail.client.ok("FETCH 1 UID")).toContain("UID 1")
    }
  })

  test("a line too long ends the session with BYE; a literal too long is refused", async () => {
    await using mail = await opened([])
    mail.client.send("a SEARCH TEXT {70000}\r\n")
    await mail.client.until(/a BAD .*\r\n/)
    mail.client.send(`b SEARCH ${"x".repeat(70_000)}`)
    expect(await mail.client.rest()).toContain("* BYE")
  })
})

test("a large message goes to a client that does not read without being held in memory", async () => {
  await using mail = await opened([])
  const size = 50_000_000
  mail.client.send(`a APPEND INBOX {${size}+}\r\n${"x".repeat(76)}\r\n`)
  const piece = `${"y".repeat(998)}\r\n`.repeat(1000)
  let sent = 78
  for (; sent + piece.length <= size; sent += piece.length) mail.client.send(piece)
  mail.client.send(`${"z".repeat(size - sent)}\r\n`)
  await mail.client.until(/a OK \[APPENDUID.*\r\n/)
  const before = process.memoryUsage.rss()
  const slow = await mail.connect()
  await slow.ok("SELECT INBOX")
  slow.pause()
  slow.send("b FETCH 1 BODY.PEEK[]\r\n")
  // Another session is served meanwhile.
  for (let round = 0; round < 200; round += 1) await mail.client.ok("NOOP")
  expect(process.memoryUsage.rss() - before).toBeLessThan(30_000_000)
})

test("a session over a pipe in this process ends with either side, and when its signal says so", async () => {
  await using folder = await temporaryFolder()
  await using store = new MailStore(folder.path)
  for (const end of [
    (ours: Duplex) => ours.end(),
    (ours: Duplex) => ours.destroy(),
    (_: Duplex, stop: AbortController) => stop.abort(),
  ]) {
    const [ours, theirs] = duplexPair()
    const stop = new AbortController()
    const session = store.serve(ACCOUNT, theirs, { signal: stop.signal })
    await once(ours, "data")
    ours.write("a IDLE\r\n")
    await once(ours, "data")
    end(ours, stop)
    await session
  }
})

test("sessions end with BYE when the server stops", async () => {
  await using folder = await temporaryFolder()
  const served = await serveStore(folder.path)
  const client = await ImapClient.connect(served.port)
  await client.ok("SELECT INBOX")
  const rest = client.rest()
  await served[Symbol.asyncDispose]()
  expect(await rest).toContain("* BYE")
})
