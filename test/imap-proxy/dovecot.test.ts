import { mkdir, readdir, readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { ImapFlow } from "imapflow"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { Upstream } from "../../src/imap-proxy/ports.ts"
import { masterLogins } from "../../src/imap-proxy/upstream/logins.ts"
import type { UpstreamEndpoint } from "../../src/imap-proxy/upstream.ts"
import { testCertificate } from "../harness/certificate.ts"
import { Dovecot, dovecotPossible, MASTER } from "../harness/dovecot.ts"
import { mustRun, peer, run, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { upstreamAt } from "../harness/upstream.ts"
import { BareClient, literalOf } from "./client.ts"
import { MESSAGES, patched } from "./messages.ts"
import { ACCOUNT, HEX_HEAD, LAPTOP, PHONE, type Rig, startRig } from "./rig.ts"

const names = Object.keys(MESSAGES)
const smime = MESSAGES["smime"] ?? ""

describe.skipIf(!dovecotPossible)("in front of a Dovecot with a master user", () => {
  let folder: TemporaryFolder
  let dovecot: Dovecot
  let rig: Rig
  let authority = ""

  beforeAll(async () => {
    folder = await temporaryFolder()
    const tls = await testCertificate()
    dovecot = await Dovecot.start(folder.file("dovecot"), folder.file("mail"), { tls, more: SENT })
    authority = tls.certificate
    rig = await startRig({ upstream: dovecotOver("plain") })
    await writeFile(folder.file("ca.pem"), rig.certificate.certificate)
    await using client = await BareClient.loggedIn(rig, LAPTOP)
    for (const text of Object.values(MESSAGES)) {
      // Restored on the way in, so the store has the account's form; the clear one is protected.
      await client.ok(`APPEND INBOX (\\Seen) {${text.length}+}\r\n${text}`)
    }
  })

  afterAll(async () => {
    await rig[Symbol.asyncDispose]()
    await dovecot[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  function dovecotOver(
    security: (UpstreamEndpoint & { kind: "tcp" })["security"],
    master: { readonly user: string; readonly password: string } = MASTER,
    trust = true,
  ): Upstream {
    const endpoint = { kind: "tcp", host: "127.0.0.1", port: dovecot.imapPort, security } as const
    const logins = masterLogins({ ...master, form: "separator" })
    return upstreamAt(endpoint, { logins, authority: trust ? authority : null })
  }

  // What holds a part in clear is protected as a whole.
  const stored = (name: string): string => {
    const text = MESSAGES[name] ?? ""
    return name === "clear" || name === "list" ? HEX_HEAD + Buffer.from(text, "latin1").toString("hex") : text
  }

  test("the capabilities are Dovecot's, less what could carry data past the patch", async () => {
    await using client = await BareClient.loggedIn(rig, LAPTOP)
    const told = await client.ok("CAPABILITY")
    expect(told).toMatch(/ IDLE .* MOVE | MOVE .* IDLE /)
    expect(told).toContain("CONDSTORE QRESYNC ESEARCH")
    expect(told).not.toMatch(/BINARY|CATENATE|NOTIFY|URLAUTH|COMPRESS|PREVIEW|REFERRALS|CONTEXT|LITERAL-/)
  })

  test("each message is the patched stored one, whole and in parts", async () => {
    await using client = await BareClient.loggedIn(rig, LAPTOP)
    await client.ok("SELECT INBOX")
    for (const [index, name] of names.entries()) {
      const whole = patched(stored(name), "laptop")
      const answer = await client.ok(`UID FETCH ${index + 1} (BODY.PEEK[] RFC822.SIZE BODYSTRUCTURE)`)
      expect(literalOf(answer, "BODY[]")).toBe(whole)
      await using chunked = await BareClient.loggedIn(rig, LAPTOP)
      await chunked.ok("SELECT INBOX")
      let joined = ""
      for (const size of [1000, 61, 65_536, 64, 999_999]) {
        const part = await chunked.ok(`UID FETCH ${index + 1} BODY.PEEK[]<${joined.length}.${size}>`)
        joined += literalOf(part, `BODY[]<${joined.length}>`) ?? ""
      }
      expect(joined).toBe(whole)
    }
  })

  test("nothing in clear lies in the store", async () => {
    const root = join(dovecot.maildir(ACCOUNT), "cur")
    const files = await readdir(root)
    expect(files.length).toBeGreaterThanOrEqual(names.length)
    for (const file of files) expect(await readFile(`${root}/${file}`, "latin1")).not.toContain("nothing to see")
  })

  test.each(["starttls", "plain"] as const)("over %s upstream", async (security) => {
    await using other = await startRig({ upstream: dovecotOver(security) })
    await using client = await BareClient.loggedIn(other, PHONE)
    await client.ok("SELECT INBOX")
    expect(literalOf(await client.ok("FETCH 1 BODY.PEEK[]"), "BODY[]")).toBe(patched(smime, "phone"))
  })

  test.each([
    ["a certificate that is not trusted", () => dovecotOver("starttls", MASTER, false), "UNAVAILABLE"],
    ["a wrong master password", () => dovecotOver("plain", { user: MASTER.user, password: "wrong" }), "CONTACTADMIN"],
    ["TLS where none is spoken", () => dovecotOver("tls"), "UNAVAILABLE"],
  ])("%s is no wrong password of the client's", async (_name, upstream, code) => {
    await using other = await startRig({ upstream: upstream() })
    await using client = await BareClient.secure(other)
    expect(await client.command(`LOGIN ${ACCOUNT} phone`)).toContain(`NO [${code}]`)
  })

  test("CONDSTORE, ESEARCH, SORT, THREAD and MOVE pass", async () => {
    await using client = await BareClient.loggedIn(rig, LAPTOP)
    await client.ok("ENABLE CONDSTORE QRESYNC")
    await client.ok("SELECT INBOX")
    expect(await client.ok("UID SEARCH RETURN (COUNT) ALL")).toContain("* ESEARCH ")
    await client.ok("SORT (REVERSE DATE) UTF-8 ALL")
    await client.ok("UID THREAD REFERENCES UTF-8 ALL")
    expect(await client.ok("UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1)")).toContain("MODSEQ")
    await client.ok("CREATE Other")
    await client.ok("UID COPY 1 Other")
    await client.ok("SELECT Other")
    expect(await client.ok("UID MOVE 1 INBOX")).toContain("COPYUID")
  })

  describe("writing", () => {
    const literal = (text: string, sign = "+"): string => `{${text.length}${sign}}\r\n${text}`
    const message = (text: string): string => `Subject: x\r\n\r\n${text}\r\n`

    async function messages(client: BareClient, mailbox: string): Promise<number> {
      return Number(/MESSAGES (\d+)/.exec(await client.ok(`STATUS ${mailbox} (MESSAGES)`))?.[1])
    }

    test("several messages in one APPEND: each with its flags and date, and the UIDs of all", async () => {
      await using client = await BareClient.loggedIn(rig, LAPTOP)
      await client.ok("CREATE Multi")
      const answer = await client.ok(
        `APPEND Multi (\\Seen) " 1-Feb-2024 03:04:05 +0000" ${literal(message("one"))} UTF8 (~${literal(message("two"))}) (\\Flagged) ~${literal(smime)}`,
      )
      expect(answer).toMatch(/OK \[APPENDUID \d+ 1:3\]/)
      await client.ok("SELECT Multi")
      const seen = await client.ok("FETCH 1:3 (FLAGS INTERNALDATE BODY.PEEK[])")
      expect(seen).toMatch(/\* 1 FETCH \(.*\\Seen/)
      expect(seen).toMatch(/" ?0?1-Feb-2024 03:04:05 \+0000"/)
      expect(seen).toMatch(/\* 3 FETCH \(.*\\Flagged/)
      expect(seen).toContain(HEX_HEAD + Buffer.from(message("two")).toString("hex"))
      expect(seen).toContain(patched(smime, "laptop"))
    })

    test.each([
      ["too large", `{999999999}\r\n`, /NO \[TOOBIG\]/],
      ["refused by the plan", `${literal(message("refuse me"))}\r\n`, /NO not this one/],
      ["cancelled by the client", `${literal("")}\r\n`, /NO message is empty/],
      ["not by the grammar", `Multi ${literal(message("two"))}\r\n`, /BAD/],
    ])("one %s: none is stored, and the session goes on", async (_name, second, answer) => {
      await using client = await BareClient.loggedIn(rig, LAPTOP)
      const before = await messages(client, "INBOX")
      client.send(`a APPEND INBOX ${literal(message("one"))} ${second}b NOOP\r\n`)
      const answers = await client.tagged("b")
      expect(answers).toMatch(answer)
      expect(answers.match(/^\w (?:OK|NO|BAD)/gm)).toHaveLength(2)
      expect(await messages(client, "INBOX")).toBe(before)
    })

    test("to a mailbox that is not there: TRYCREATE, behind all messages", async () => {
      await using client = await BareClient.loggedIn(rig, LAPTOP)
      client.send(`a APPEND Nowhere ${literal(message("one"))} ${literal(message("two"))}\r\nb NOOP\r\n`)
      expect(await client.tagged("b")).toMatch(/^a NO \[TRYCREATE\][^\n]*\r\nb OK/)
    })

    test("a client that goes away within the second message leaves nothing", async () => {
      await using client = await BareClient.loggedIn(rig, LAPTOP)
      const before = await messages(client, "INBOX")
      client.send(`a APPEND INBOX ${literal(message("one"))} {500+}\r\nabc`)
      client.end()
      await client.rest()
      await using again = await BareClient.loggedIn(rig, LAPTOP)
      expect(await messages(again, "INBOX")).toBe(before)
    })

    test("over quota: the code is the client's, and the session goes on", async () => {
      const more = `mail_plugins = quota\nplugin {\n  quota = maildir:User\n  quota_rule = *:storage=8K\n}\n`
      await using full = await Dovecot.start(folder.file("full"), folder.file("full-mail"), { more })
      const endpoint = { kind: "tcp", host: "127.0.0.1", port: full.imapPort, security: "plain" } as const
      await using other = await startRig({
        upstream: upstreamAt(endpoint, { logins: masterLogins({ ...MASTER, form: "separator" }), authority: null }),
      })
      await using client = await BareClient.loggedIn(other, LAPTOP)
      const large = message("x".repeat(10_000))
      client.send(
        `a APPEND INBOX ${literal(large)}\r\nb APPEND INBOX ${literal(message("y"))} ${literal(large)}\r\nc NOOP\r\n`,
      )
      const answers = await client.tagged("c")
      expect(answers).toMatch(/^a NO \[OVERQUOTA\]/m)
      expect(answers).toMatch(/^b NO \[OVERQUOTA\]/m)
      expect(await messages(client, "INBOX")).toBe(0)
    })
  })

  test.skipIf(!peer("curl"))("curl", async () => {
    const url = `imap://127.0.0.1:${rig.port}/INBOX`
    const common = ["-sS", "--ssl-reqd", "--cacert", folder.file("ca.pem"), "-u", `${ACCOUNT}:${LAPTOP}`]
    const whole = await mustRun("curl", [...common, `${url};UID=1`])
    expect(Buffer.from(whole).toString("latin1")).toBe(patched(smime, "laptop"))
    const part = await mustRun("curl", [...common, `${url};UID=1;SECTION=TEXT;PARTIAL=50.200`])
    const text = patched(smime, "laptop").slice(smime.indexOf("\r\n\r\n") + 4)
    expect(Buffer.from(part).toString("latin1")).toBe(text.slice(50, 250))
    expect((await run("curl", [...common.slice(0, -1), `${ACCOUNT}:wrong`, `${url};UID=1`])).code).toBe(67)
    await writeFile(folder.file("upload.eml"), "Subject: by curl\r\n\r\nin clear\r\n")
    await mustRun("curl", [...common, "-T", folder.file("upload.eml"), `imap://127.0.0.1:${rig.port}/Sent`])
  })

  test.skipIf(!peer("python3"))("Python's imaplib", async () => {
    const script = `
import imaplib, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
client = imaplib.IMAP4("127.0.0.1", int(sys.argv[1]))
client.starttls(context)
client.login(sys.argv[3], sys.argv[4])
client.select("INBOX")
kind, data = client.fetch("1", "(BODY.PEEK[]<0.100> BODYSTRUCTURE RFC822.SIZE BODY.PEEK[1]<0.64>)")
assert kind == "OK" and len(data[0][1]) == 100, data
kind, data = client.append("Sent", "(\\\\Seen)", None, b"Subject: x\\r\\n\\r\\nfrom python\\r\\n")
assert kind == "OK" and b"APPENDUID" in data[0], data
kind, data = client.uid("FETCH", "1", "(BODY.PEEK[])")
sys.stdout.buffer.write(data[0][1])
client.logout()
`
    const args = ["-c", script, String(rig.port), folder.file("ca.pem"), ACCOUNT, LAPTOP]
    expect(Buffer.from(await mustRun("python3", args)).toString("latin1")).toBe(patched(smime, "laptop"))
  })

  test.skipIf(!peer("mbsync"))("mbsync mirrors the mailbox, and uploads are protected", async () => {
    await mkdir(folder.file("mirror"))
    await writeFile(
      folder.file("mbsyncrc"),
      `IMAPAccount a
Host localhost
Port ${rig.port}
User ${ACCOUNT}
PassCmd "printf %s phone"
SSLType STARTTLS
CertificateFile ${folder.file("ca.pem")}

IMAPStore far
Account a

MaildirStore near
Path ${folder.file("mirror")}/
Inbox ${folder.file("mirror")}/INBOX

Channel all
Far :far:
Near :near:
Patterns INBOX
Create Near
Sync All
SyncState *
`,
    )
    const sync = ["-c", folder.file("mbsyncrc"), "all"]
    await mustRun("mbsync", sync)
    const files = await Promise.all(
      ["cur", "new"].map(async (kind) => {
        const names = await readdir(folder.file(`mirror/INBOX/${kind}`))
        return Promise.all(names.map((name) => readFile(folder.file(`mirror/INBOX/${kind}/${name}`), "latin1")))
      }),
    )
    const expected = patched(smime, "phone").replaceAll("\r\n", "\n")
    expect(files.flat().map((text) => text.replace(/^X-TUID:.*\n/m, ""))).toContain(expected)
    await writeFile(folder.file("mirror/INBOX/new/1.x.y"), "Subject: up\n\nsecret upload\n")
    await mustRun("mbsync", sync)
    const root = dovecot.maildir(ACCOUNT)
    for (const kind of ["cur", "new"]) {
      for (const name of await readdir(`${root}/${kind}`)) {
        expect(await readFile(`${root}/${kind}/${name}`, "latin1")).not.toContain("secret upload")
      }
    }
  })

  test("imapflow reads, appends, flags, moves and idles", async () => {
    const client = new ImapFlow({
      host: "127.0.0.1",
      port: rig.port,
      secure: false,
      tls: { ca: rig.certificate.certificate },
      auth: { user: ACCOUNT, pass: LAPTOP },
      logger: false,
    })
    await client.connect()
    const lock = await client.getMailboxLock("INBOX")
    try {
      const uids: number[] = []
      for await (const message of client.fetch("1:*", { uid: true, bodyStructure: true, source: { maxLength: 400 } })) {
        uids.push(message.uid)
      }
      expect(uids.length).toBeGreaterThanOrEqual(names.length)
      const appended = await client.append("INBOX", "Subject: flow\r\n\r\nbody\r\n", ["\\Flagged"])
      const uid = String((appended || undefined)?.uid)
      expect(await client.messageMove(uid, "Sent", { uid: true })).toMatchObject({ destination: "Sent" })
    } finally {
      lock.release()
      await client.logout()
    }
  })

  test("IDLE tells one device what the other does", async () => {
    await using phone = await BareClient.loggedIn(rig, PHONE)
    await phone.ok("SELECT Sent")
    phone.send("i IDLE\r\n")
    await phone.until(/^\+ .*\r\n/m)
    await using laptop = await BareClient.loggedIn(rig, LAPTOP)
    await laptop.ok("APPEND Sent {9+}\r\na: b\r\n\r\nc")
    await phone.until(/\* \d+ EXISTS\r\n/)
    phone.send("DONE\r\n")
    await phone.tagged("i")
  })
})

const SENT = `namespace inbox {
  separator = /
  mailbox Sent {
    auto = subscribe
    special_use = \\Sent
  }
}
`
