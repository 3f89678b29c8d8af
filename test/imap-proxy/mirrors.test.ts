import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { rename, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { testCertificate } from "../harness/certificate.ts"
import { Dovecot, dovecotPossible } from "../harness/dovecot.ts"
import { eventually } from "../harness/instance.ts"
import { mustRun, peer, run, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { upstreamAt } from "../harness/upstream.ts"
import { BareClient } from "./client.ts"
import { crlf, MESSAGES, patched } from "./messages.ts"
import { ACCOUNT, LAPTOP, PHONE, type Rig, startRig } from "./rig.ts"

/** 2,000 in a run by hand; each run of the suite has time for fewer. */
const COUNT = Number(process.env["MIRROR_MESSAGES"] ?? 500)
const KINDS = ["smime", "pgp", "list", "clear"] as const
/** Of a Maildir's file, in the order that it asks for. */
const FLAGS = ["", "S", "FS", "RS", "DFRS"] as const

/** A message as it lies in the store, each another one. */
function message(index: number): string {
  const text = MESSAGES[KINDS[index % KINDS.length] ?? ""] ?? ""
  return crlf(`Message-ID: <${index}@example.test>\nX-Filler: ${"x".repeat(index % 900)}\n`) + text
}

const flagsOf = (index: number): string => FLAGS[index % FLAGS.length] ?? ""

describe.skipIf(!dovecotPossible)("a mailbox in Dovecot, mirrored through the proxy", () => {
  let folder: TemporaryFolder
  let dovecot: Dovecot
  let rig: Rig

  beforeAll(async () => {
    folder = await temporaryFolder()
    const inbox = folder.file(`mail/${ACCOUNT}/Maildir/cur`)
    mkdirSync(inbox, { recursive: true })
    for (const kind of ["new", "tmp"]) mkdirSync(join(inbox, "..", kind))
    // Dovecot numbers them in the order of their names.
    for (let index = 0; index < COUNT; index += 1)
      writeFileSync(join(inbox, `${1_700_000_000 + index}.M1P1.test:2,${flagsOf(index)}`), message(index), "latin1")
    dovecot = await Dovecot.start(folder.file("dovecot"), folder.file("mail"), { tls: await testCertificate() })
    rig = await startRig({
      upstream: upstreamAt({ kind: "tcp", host: "127.0.0.1", port: dovecot.imapPort, security: "plain" }),
    })
    writeFileSync(folder.file("ca.pem"), rig.certificate.certificate)
  })

  afterAll(async () => {
    await rig[Symbol.asyncDispose]()
    await dovecot[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  describe.skipIf(!peer("mbsync"))("by mbsync", () => {
    const throughProxy = (): string =>
      `Port ${rig.port}\nPassCmd "printf %s phone"\nSSLType STARTTLS\nCertificateFile ${folder.file("ca.pem")}`
    const direct = (): string => `Port ${dovecot.imapPort}\nPassCmd "printf %s x"\nSSLType None\nAuthMechs LOGIN`

    /** Arguments for a mirror in a folder of its own, which is made. */
    async function mirror(
      name: string,
      far: string,
    ): Promise<{ readonly arguments: string[]; readonly inbox: string }> {
      mkdirSync(folder.file(name))
      const config = folder.file(`${name}.rc`)
      await writeFile(
        config,
        `FSync no

IMAPAccount a
Host localhost
User ${ACCOUNT}
${far}

IMAPStore far
Account a

MaildirStore near
Path ${folder.file(name)}/
Inbox ${folder.file(`${name}/INBOX`)}

Channel all
Far :far:
Near :near:
Patterns INBOX
Create Near
Sync All
SyncState *
`,
      )
      return { arguments: ["-c", config, "all"], inbox: folder.file(`${name}/INBOX`) }
    }

    test("flags, UIDs, sizes and octets are those of a direct mirror, but for what is patched", async () => {
      const [proxied, plain] = [await mirror("proxied", throughProxy()), await mirror("direct", direct())]
      await Promise.all([proxied, plain].map((one) => mustRun("mbsync", one.arguments)))
      const [seen, stored] = [mirrored(proxied.inbox), mirrored(plain.inbox)]
      expect([...seen.keys()]).toEqual([...stored.keys()])
      expect(seen.size).toBe(COUNT)
      for (const [uid, { flags, text }] of seen) {
        const original = stored.get(uid)
        expect([uid, flags, text.length]).toEqual([uid, original?.flags, original?.text.length])
        if (text !== expected(original?.text ?? "")) throw new Error(`UID ${uid} differs`)
      }
    })

    test("killed in the middle and started again it has each message once", async () => {
      const { arguments: args, inbox } = await mirror("killed", throughProxy())
      const child = spawn("mbsync", args, { stdio: "ignore" })
      const ended = once(child, "exit")
      await eventually("a part of the messages", () => pathsIn(inbox).length > COUNT / 8)
      child.kill("SIGKILL")
      await ended
      const atKill = pathsIn(inbox).length
      expect(atKill).toBeLessThan(COUNT)
      await mustRun("mbsync", args)
      const seen = mirrored(inbox)
      expect(pathsIn(inbox)).toHaveLength(COUNT)
      expect(seen.size).toBe(COUNT)
      const texts = [...seen.values()].map(({ text }) => text).sort()
      const wanted = Array.from({ length: COUNT }, (_, index) =>
        expected(message(index).replaceAll("\r\n", "\n")),
      ).sort()
      expect(texts.every((text, at) => text === wanted[at])).toBe(true)
    })
  })

  test.skipIf(!peer("offlineimap"))("by offlineimap, both ways", { timeout: 150_000 }, async () => {
    await using laptop = await BareClient.loggedIn(rig, LAPTOP)
    await laptop.ok("CREATE Small")
    await laptop.ok("SELECT INBOX")
    await laptop.ok("UID COPY 1:4 Small")
    mkdirSync(folder.file("offline"))
    await writeFile(
      folder.file("offlineimaprc"),
      `[general]
accounts = a
metadata = ${folder.file("offline.state")}
[Account a]
localrepository = near
remoterepository = far
[Repository near]
type = Maildir
localfolders = ${folder.file("offline")}
[Repository far]
type = IMAP
remotehost = localhost
remoteport = ${rig.port}
remoteuser = ${ACCOUNT}
remotepass = ${PHONE}
ssl = no
starttls = yes
sslcacertfile = ${folder.file("ca.pem")}
folderfilter = lambda name: name == "Small"
`,
    )
    // Now and then it hangs or fails behind its own handshake, before it has logged in: its CAPABILITY never leaves it (ss counts what it has
    // sent: all up to Finished). Two threads of imaplib2 use one OpenSSL object then, without a lock. It is made to be run again.
    const sync = async (): Promise<void> => {
      const args = ["-o", "-u", "quiet", "-c", folder.file("offlineimaprc")]
      for (let attempt = 1; ; attempt++) {
        const { code, stderr } = await run("offlineimap", args, { env: { HOME: folder.path }, timeoutMs: 8_000 })
        if (code === 0) return
        if (attempt === 6) throw new Error(`offlineimap: exit ${code}: ${stderr}`)
      }
    }
    await sync()
    const near = folder.file("offline/Small")
    const texts = new Map(pathsIn(near).map((path) => [readFileSync(path, "latin1"), path]))
    const wanted = [0, 1, 2, 3].map((index) => patched(message(index), "phone").replaceAll("\r\n", "\n"))
    expect([...texts.keys()].sort()).toEqual([...wanted].sort())

    const first = texts.get(wanted[0] ?? "") ?? ""
    await rename(first, first.replace("/new/", "/cur/").replace(/(?::2,[A-Z]*)?$/, ":2,FS"))
    await writeFile(join(near, "new/1.up.test"), "Message-ID: <up@example.test>\nSubject: up\n\nsecret upload\n")
    await sync()
    await laptop.ok("SELECT Small")
    expect(await laptop.ok("FETCH 1 FLAGS")).toMatch(/\\Flagged/)
    const uploaded = readMaildir(join(dovecot.maildir(ACCOUNT), ".Small"))
    expect(uploaded).toHaveLength(5)
    expect(uploaded.join("")).not.toContain("secret upload")

    await laptop.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
    await laptop.ok("EXPUNGE")
    await sync()
    expect(pathsIn(near)).toHaveLength(4)
    expect(pathsIn(near).map((path) => readFileSync(path, "latin1"))).not.toContain(wanted[1])
  })

  test("a flag and an expunge by one device are seen by the other in IDLE", async () => {
    await using laptop = await BareClient.loggedIn(rig, LAPTOP)
    await laptop.ok("CREATE Two")
    await laptop.ok("SELECT INBOX")
    await laptop.ok("UID COPY 1:3 Two")
    await laptop.ok("SELECT Two")
    await using phone = await BareClient.loggedIn(rig, PHONE)
    await phone.ok("SELECT Two")
    phone.send("i IDLE\r\n")
    await phone.until(/^\+ .*\r\n/m)
    await laptop.ok("STORE 2 +FLAGS ($Forwarded)")
    await phone.until(/\* 2 FETCH \([^\r]*\$Forwarded[^\r]*\)\r\n/)
    await laptop.ok("STORE 1 +FLAGS (\\Deleted)")
    await phone.until(/\* 1 FETCH \([^\r]*\\Deleted[^\r]*\)\r\n/)
    await laptop.ok("EXPUNGE")
    await phone.until("* 1 EXPUNGE\r\n")
    phone.send("DONE\r\n")
    expect(await phone.tagged("i")).toContain("i OK")
    // What was 2 is 1 now, and still flagged.
    expect(await phone.ok("FETCH 1 FLAGS")).toMatch(/\* 1 FETCH \([^\r]*\$Forwarded/)
  })
})

/** What the phone sees of a message whose line ends are LF. */
function expected(stored: string): string {
  return patched(stored, "phone")
}

interface Mirrored {
  readonly flags: string
  readonly text: string
}

/** mbsync's copies by the UIDs of the far side, in their order. */
function mirrored(inbox: string): Map<number, Mirrored> {
  const byNear = new Map(
    pathsIn(inbox).map((path) => {
      const [, uid = "", flags = ""] = /,U=(\d+)(?::2,([A-Z]*))?$/.exec(path) ?? []
      return [uid, { flags, text: readFileSync(path, "latin1").replace(/^X-TUID:.*\n/m, "") }]
    }),
  )
  const [, pairs = ""] = readFileSync(join(inbox, ".mbsyncstate"), "utf8").split("\n\n")
  const found = new Map<number, Mirrored>()
  for (const line of pairs.split("\n")) {
    const [far = "", near = ""] = line.split(" ")
    const copy = byNear.get(near)
    if (copy) found.set(Number(far), copy)
  }
  return new Map([...found].sort(([one], [other]) => one - other))
}

function pathsIn(maildir: string): string[] {
  return ["cur", "new"]
    .map((kind) => join(maildir, kind))
    .filter((path) => existsSync(path))
    .flatMap((path) => readdirSync(path).map((name) => join(path, name)))
}

function readMaildir(maildir: string): string[] {
  return pathsIn(maildir).map((path) => readFileSync(path, "latin1"))
}
