import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { exportTo } from "../../src/cli/export-file.ts"
import { openingKeysOf, openMessage } from "../../src/cli/open-message.ts"
import { encryptStore } from "../../src/cli/remote-encrypt.ts"
import { exportStore } from "../../src/cli/remote-export.ts"
import type { OpenStore } from "../../src/cli/remote-store.ts"
import { ImapStore } from "../../src/deliver/imap-store.ts"
import type { Person } from "../../src/identity/person.ts"
import { encryptionTarget } from "../../src/pipeline/at-rest.ts"
import type { AtRest } from "../../src/pipeline/protect.ts"
import { NO_RESTORERS } from "../../src/pipeline/restore.ts"
import { Dovecot, dovecotPossible, MASTER } from "../harness/dovecot.ts"
import { imapRelay, type RelayRules } from "../harness/imap-relay.ts"
import { Instance } from "../harness/instance.ts"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { upstreamAt } from "../harness/upstream.ts"
import { makeAlice } from "../identity/people.ts"
import { ImapClient } from "../mailbox/imap-client.ts"

const OLD = "02-Feb-2020 02:02:02 +0000"
const markerKey = new Uint8Array(32).fill(3)

const { person } = await makeAlice("smime", "openpgp")
const keys = openingKeysOf(person)

let folder: TemporaryFolder
let dovecot: Dovecot
let accounts = 0

const rows: [name: string, text: string, flags: string, opens: "encrypted" | "already"][] = [
  [
    "plain",
    "From: c@else.test\nSubject: plain\nMessage-ID: <1@else.test>\n\ncanary text\n",
    "\\Seen $Forwarded",
    "encrypted",
  ],
  [
    "multipart",
    'Subject: m\nContent-Type: multipart/mixed; boundary="b"\n\n--b\n\ncanary\n--b--\n',
    "\\Flagged",
    "encrypted",
  ],
  [
    "signed",
    'Content-Type: multipart/signed; boundary="s"; protocol="application/pgp-signature"\n\n--s\n\ncanary\n--s--\n',
    "",
    "encrypted",
  ],
  ["torn armor", "Subject: torn\n\n-----BEGIN PGP MESSAGE-----\n\ncanary\n", "\\Deleted", "encrypted"],
  ["no header", "\ncanary body alone\n", "\\Draft custom", "encrypted"],
  ["header alone", "Subject: canary\n", "\\Answered", "encrypted"],
  [
    "forged marker",
    "Postern-Encrypted: by this gateway; v=1; n=1;\n mac=AAAAAAAAAAAAAAAAAAAAAA\nSubject: f\n\ncanary\n",
    "",
    "encrypted",
  ],
  ["8 bit, NUL-free, long line", `Subject: b\n\n\xe9\xff canary ${"x".repeat(5000)}\n`, "", "encrypted"],
]

const octetsOf = (text: string) => Buffer.from(text.replaceAll("\n", "\r\n"), "latin1")

function restOf({ address, smime, openpgp }: Person, format: "smime" | "openpgp", account = address): AtRest {
  const certificate = format === "smime" ? smime[0]?.certificate : openpgp?.certificate
  return {
    account,
    target: encryptionTarget(format, certificate ?? new Uint8Array(0)),
    subject: "clear",
    markerKey,
    restorers: NO_RESTORERS,
  }
}

/** An account of its own at Dovecot. */
function newAccount() {
  accounts += 1
  const address = `user${accounts}@example.test`
  return { address, rest: { ...restOf(person, "smime"), account: address } }
}

function storeAt(address: string, port = dovecot.imapPort): OpenStore {
  const upstream = upstreamAt({ kind: "tcp", host: "127.0.0.1", port, security: "plain" })
  const signal = new AbortController().signal
  return () => ImapStore.open((account, within) => upstream.connect(account, null, within), address, signal)
}

async function client(address: string): Promise<ImapClient> {
  const opened = await ImapClient.connect(dovecot.imapPort)
  await opened.ok(`LOGIN ${address} x`)
  return opened
}

async function append(to: ImapClient, mailbox: string, text: string, flags = "", date = OLD): Promise<void> {
  const octets = octetsOf(text)
  await to.ok(`APPEND ${mailbox} (${flags}) "${date}" {${octets.length}+}\r\n${octets.toString("latin1")}`)
}

interface Found {
  readonly uid: number
  readonly flags: string
  readonly date: string
  readonly octets: Uint8Array
}

/** Everything in a mailbox. */
async function contents(address: string, mailbox = "INBOX"): Promise<Found[]> {
  await using reader = await client(address)
  const opened = await reader.ok(`EXAMINE ${mailbox}`)
  if (/\* 0 EXISTS/.test(opened)) return []
  const answer = await reader.ok("UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])")
  const found: Found[] = []
  const item = /UID (\d+) FLAGS \(([^)]*)\) INTERNALDATE "([^"]*)" BODY\[\] \{(\d+)\}\r\n/g
  for (let match = item.exec(answer); match !== null; match = item.exec(answer)) {
    const [, uid, flags = "", date = "", size] = match
    const octets = Buffer.from(answer.slice(item.lastIndex, item.lastIndex + Number(size)), "latin1")
    item.lastIndex += Number(size)
    const set = flags.split(" ").filter((flag) => flag !== "" && flag !== "\\Recent")
    found.push({ uid: Number(uid), flags: set.sort().join(" "), date, octets })
  }
  return found
}

async function opened(octets: Uint8Array): Promise<string> {
  const readable = await openMessage(octets, keys)
  return Buffer.from(readable.octets).toString("latin1")
}

/** Each message once, encrypted, with its octets, flags and date. */
async function expectAllEncrypted(address: string, texts: readonly (readonly [text: string, flags: string])[]) {
  const found = await contents(address)
  const read = await Promise.all(
    found.map(async ({ octets, flags, date }) => {
      expect(Buffer.from(octets).toString("latin1")).toMatch(/^Postern-Encrypted: by this gateway/m)
      return [await opened(octets), flags, date]
    }),
  )
  const want = texts.map(([text, flags]) => [octetsOf(text).toString("latin1"), flags, OLD])
  expect(read.sort()).toEqual(want.sort())
}

const some = (count: number) =>
  Array.from(
    { length: count },
    (_, at) =>
      [`Subject: ${at}\nMessage-ID: <${at}@else.test>\n\ncanary ${at}\n`, at % 2 ? "\\Seen" : "$Label1"] as const,
  )

async function filled(count: number) {
  const account = newAccount()
  const messages = some(count)
  await using writer = await client(account.address)
  for (const [text, flags] of messages) await append(writer, "INBOX", text, flags)
  return { ...account, messages }
}

describe.skipIf(!dovecotPossible)("existing mail at Dovecot", () => {
  beforeAll(async () => {
    folder = await temporaryFolder()
    dovecot = await Dovecot.start(folder.file("dovecot"), folder.file("mail"))
  })
  afterAll(async () => {
    await dovecot?.[Symbol.asyncDispose]()
    await folder?.[Symbol.asyncDispose]()
  })

  for (const format of ["smime", "openpgp"] as const)
    test(`${format}: whatever is in clear is encrypted, with flags, keywords and date, and opens to the same octets`, async () => {
      const { address } = newAccount()
      const rest = restOf(person, format, address)
      await using writer = await client(address)
      for (const [, text, flags] of rows) await append(writer, "INBOX", text, flags)
      expect(await encryptStore(storeAt(address), { address, rest: null })).toMatchObject({
        folders: [{ name: "INBOX", encrypted: rows.length, already: 0 }],
      })
      const done = await encryptStore(storeAt(address), { address, rest })
      expect(done).toEqual({
        folders: [{ name: "INBOX", encrypted: rows.length, already: 0, skipped: 0 }],
        leftOut: [],
        skipped: [],
        awaitingExpunge: 0,
      })
      const found = await contents(address)
      expect(found.map(({ octets }) => Buffer.from(octets).toString("latin1")).join("\n")).not.toMatch(
        /canary (?:text|body)/,
      )
      expect(found.map(({ flags, date }) => [flags, date])).toEqual(
        rows.map(([, , flags]) => [flags.split(" ").sort().join(" "), OLD]),
      )
      for (const [at, [, text]] of rows.entries())
        expect(await opened(found[at]?.octets ?? new Uint8Array(0))).toBe(octetsOf(text).toString("latin1"))
      const again = await encryptStore(storeAt(address), { address, rest })
      expect(again.folders).toEqual([{ name: "INBOX", encrypted: 0, already: rows.length, skipped: 0 }])
      expect(await contents(address)).toEqual(found)
    })

  test("every mailbox, nested ones and other alphabets too; what came encrypted stays octet for octet", async () => {
    const { address, rest } = newAccount()
    const names = ["Reisen", "Reisen.2020", "Z&APw-rich", "&ZeVnLIqe-", "a &- b", '"quo\\"ted"']
    await using writer = await client(address)
    for (const name of names) await writer.ok(`CREATE ${name.startsWith('"') ? name : `"${name}"`}`)
    await writer.ok("CREATE Level.Below")
    for (const name of [...names, "Level.Below"])
      await append(writer, name.startsWith('"') ? name : `"${name}"`, `Subject: in ${name}\n\ncanary\n`)
    const other = await filled(1)
    await encryptStore(storeAt(other.address), other)
    const [arrived] = await contents(other.address)
    const encrypted = Buffer.from(arrived?.octets ?? [])
      .toString("latin1")
      .replaceAll("\r\n", "\n")
    await append(writer, "INBOX", encrypted, "\\Seen")
    const skipping = { address, rest, skip: ["a & b"] }
    const done = await encryptStore(storeAt(address), skipping)
    expect(done.folders).toEqual([
      { name: "INBOX", encrypted: 0, already: 1, skipped: 0 },
      ...["Level.Below", "Reisen", "Reisen.2020", "Z\u00fcrich", 'quo"ted', "\u65e5\u672c\u8a9e"]
        .map((name) => ({ name, encrypted: 1, already: 0, skipped: 0 }))
        .sort((a, b) => (a.name < b.name ? -1 : 1)),
    ])
    expect((await contents(address))[0]?.octets).toEqual(arrived?.octets)
    const one = await encryptStore(storeAt(address), { address, rest, folder: ["a & b"] })
    expect(one.folders).toEqual([{ name: "a & b", encrypted: 1, already: 0, skipped: 0 }])
    await expect(encryptStore(storeAt(address), { address, rest, folder: ["Nix"] })).rejects.toMatchObject({
      code: "MAILBOX_UNKNOWN",
    })
  })

  const cuts: [name: string, cut: NonNullable<RelayRules["cut"]>][] = [
    ["before APPEND", { of: "client", at: /a1 APPEND/, passedOn: false }],
    ["within the message of an APPEND", { of: "client", at: /application\/pkcs7-mime/, passedOn: false }],
    ["behind an APPEND whose answer nobody hears", { of: "server", at: /a2 OK/, passedOn: false }],
    ["behind the last APPEND", { of: "server", at: /a3 OK/, passedOn: true }],
    ["before the old ones are flagged", { of: "client", at: /UID STORE/, passedOn: false }],
    ["when they are flagged", { of: "server", at: /FETCH \(UID \d+ FLAGS \([^)]*\\Deleted/, passedOn: false }],
    ["before UID EXPUNGE", { of: "client", at: /UID EXPUNGE/, passedOn: false }],
    ["within UID EXPUNGE", { of: "client", at: /UID EXPUNGE/, passedOn: true }],
    ["behind it", { of: "server", at: /\* \d+ EXPUNGE/, passedOn: false }],
  ]
  for (const [name, cut] of cuts)
    test(`ended ${name}: nothing is lost, and the next run leaves nothing twice`, async () => {
      const { address, rest, messages } = await filled(3)
      await using relay = await imapRelay(dovecot.imapPort, { cut })
      const ended = encryptStore(storeAt(address, relay.port), { address, rest, waitsMs: [] })
      await expect(ended).rejects.toMatchObject({ code: "UPSTREAM_UNAVAILABLE" })
      const texts = await Promise.all((await contents(address)).map(({ octets }) => opened(octets)))
      expect(new Set(texts).size).toBe(3)
      expect(await encryptStore(storeAt(address), { address, rest })).toMatchObject({ skipped: [], awaitingExpunge: 0 })
      await expectAllEncrypted(address, messages)
    })

  test("a lost connection is made again, and the run goes on", async () => {
    const { address, rest, messages } = await filled(20)
    await using relay = await imapRelay(dovecot.imapPort, {
      cut: { of: "server", at: /a18 OK/, passedOn: false },
      onCut: () => setImmediate(() => relay.heal()),
    })
    const done = await encryptStore(storeAt(address, relay.port), { address, rest, waitsMs: [1, 20, 20, 20, 20] })
    expect(done).toMatchObject({ folders: [{ encrypted: 20, already: 0 }], skipped: [] })
    await expectAllEncrypted(address, messages)
  })

  test("two runs at once leave each message once", async () => {
    const { address, rest, messages } = await filled(20)
    const runs = await Promise.all([1, 2].map(() => encryptStore(storeAt(address), { address, rest })))
    expect(runs.map(({ skipped }) => skipped)).toEqual([[], []])
    await encryptStore(storeAt(address), { address, rest })
    await expectAllEncrypted(address, messages)
  })

  test("a client that changes flags, or undeletes, while a message is replaced changes those of its successor", async () => {
    const { address, rest } = newAccount()
    await using writer = await client(address)
    await append(writer, "INBOX", "Subject: one\n\ncanary\n", "\\Seen \\Deleted $Label1")
    await writer.ok("SELECT INBOX")
    await using relay = await imapRelay(dovecot.imapPort, {
      cut: { of: "server", at: /a1 OK/, passedOn: false },
      onCut: () => undefined,
    })
    await expect(encryptStore(storeAt(address, relay.port), { address, rest, waitsMs: [] })).rejects.toThrow()
    // The successor of a run that ended has what is set on either; what \Deleted says of the old one is not known.
    await writer.ok("STORE 1 FLAGS (\\Seen \\Flagged)")
    await encryptStore(storeAt(address), { address, rest })
    expect(await contents(address)).toMatchObject([{ flags: "$Label1 \\Deleted \\Flagged \\Seen" }])
  })

  test("without UIDPLUS old messages are flagged, never expunged with those of others; again does no harm", async () => {
    const { address, rest, messages } = await filled(3)
    await using writer = await client(address)
    await append(writer, "INBOX", "Subject: removed by its owner\n\nnot by us\n", "\\Deleted")
    await using relay = await imapRelay(dovecot.imapPort, { rewrite: (text) => text.replaceAll("UIDPLUS", "XIDPLUS") })
    for (let run = 0; run < 2; run++) {
      const done = await encryptStore(storeAt(address, relay.port), { address, rest })
      expect(done).toMatchObject({ folders: [{ encrypted: 4, already: 0, skipped: 0 }], awaitingExpunge: 4 })
      expect(await contents(address)).toHaveLength(8)
    }
    expect(relay.said).not.toMatch(/ EXPUNGE/)
    await writer.ok("SELECT INBOX")
    await writer.ok("EXPUNGE")
    await expectAllEncrypted(address, messages)
  })

  test("a large message is read in pieces", async () => {
    const { address } = newAccount()
    const text = "Subject: large\n\n0123456789 0123456789\n".repeat(60_000)
    await using writer = await client(address)
    await append(writer, "INBOX", text)
    await using store = await storeAt(address)()
    const [inbox] = await store.mailboxes()
    const selected = await store.select(inbox ?? expect.fail(), "read")
    const parts: Uint8Array[] = []
    for await (const part of selected.stream(1)) parts.push(part)
    expect(parts.length).toBeGreaterThan(2)
    expect(Buffer.concat(parts).equals(octetsOf(text))).toBe(true)
    await expect(selected.stream(2)[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: "UPSTREAM_REFUSED" })
  })

  test("export: folders, flags, keywords, dates and octets come back, whatever the form; nothing changes on the server", async () => {
    const { address, rest, messages } = await filled(3)
    await using writer = await client(address)
    await writer.ok('CREATE "Z&APw-rich.2020"')
    await append(writer, '"Z&APw-rich.2020"', "Subject: abroad\n\ncanary\n", "\\Flagged $Forwarded")
    await encryptStore(storeAt(address), { address, rest })
    await append(writer, "INBOX", "Subject: torn\n\n-----BEGIN PGP MESSAGE-----\n\nx\n")
    const before = await contents(address)
    for (const format of ["eml", "maildir", "mbox"] as const) {
      const out = folder.file(`${address}.${format}`)
      const target = exportTo(out, format)
      const done = await exportStore(storeAt(address), { address, keys, target })
      expect(readdirSync(folder.path)).toContain(`${address}.${format}.partial`)
      target.finish()
      expect(readdirSync(folder.path)).not.toContain(`${address}.${format}.partial`)
      expect(done).toMatchObject({ exported: 5, opened: 4, clear: 0, failed: [{ folder: "INBOX", uid: 7 }] })
      expect(statSync(out).mode & 0o077).toBe(0)
    }
    expect(await contents(address)).toEqual(before)
    // What a run that was killed left, and what is there already, is touched by nobody.
    for (const format of ["eml", "maildir", "mbox"] as const) {
      expect(() => exportTo(folder.file(`${address}.${format}`), format)).toThrow(/is there already/)
      mkdirSync(folder.file(`${format}.partial`))
      expect(() => exportTo(folder.file(format), format)).toThrow(/\.partial: is there already/)
    }
    const eml = folder.file(`${address}.eml`)
    const told = (path: string) => JSON.parse(readFileSync(join(eml, path, "flags.json"), "utf8"))
    const written = told("INBOX").map(({ file, flags }: { file: string; flags: string[] }) => [
      readFileSync(join(eml, "INBOX", file), "latin1"),
      flags.join(" "),
      statSync(join(eml, "INBOX", file)).mtime,
    ])
    expect(written.slice(0, 3)).toEqual(
      messages.map(([text, flags]) => [octetsOf(text).toString("latin1"), flags, new Date(OLD)]),
    )
    expect(told(join("Z\u00fcrich", "2020"))).toMatchObject([{ flags: ["\\Flagged", "$Forwarded"] }])
    const maildir = folder.file(`${address}.maildir`)
    expect(readdirSync(join(maildir, ".Z&APw-rich.2020", "cur"))).toEqual([expect.stringMatching(/:2,Fa$/)])
    expect(readFileSync(join(maildir, ".Z&APw-rich.2020", "dovecot-keywords"), "utf8")).toBe("0 $Forwarded\n")
    expect(readFileSync(folder.file(`${address}.mbox`), "utf8")).toMatch(
      /^X-Status: F\nX-Keywords: \$Forwarded\nX-Folder: Z\u00fcrich\.2020$/m,
    )
  })

  test("the whole way by the command line: killed, run again, exported", async () => {
    await using instance = await Instance.create()
    await instance.must("account", "add", "alice@example.test")
    writeFileSync(join(instance.folder, "secrets", "master"), `${MASTER.password}\n`)
    let kill = () => undefined as unknown
    await using relay = await imapRelay(dovecot.imapPort, {
      cut: { of: "client", at: /UID EXPUNGE/, passedOn: false },
      onCut: () => kill(),
    })
    instance.configure(
      'imap = "embedded:"',
      `imap = "imap://127.0.0.1:${relay.port}"\nmasterUser = "${MASTER.user}"\nmasterPasswordFile = "secrets/master"`,
    )
    await using writer = await client("alice@example.test")
    for (const [text, flags] of some(4)) await append(writer, "INBOX", text, flags)
    const killed = await instance.killed((child) => (kill = child), "mailbox", "encrypt", "alice@example.test")
    expect(killed).toBe("SIGKILL")
    relay.heal()
    const done = JSON.parse(await instance.must("mailbox", "encrypt", "alice@example.test", "--json"))
    expect(done).toMatchObject({
      encrypted: 4,
      already: 0,
      skipped: [],
      awaitingExpunge: 0,
      folders: [{ name: "INBOX" }],
    })
    expect(await contents("alice@example.test")).toHaveLength(4)
    const out = join(instance.folder, "out")
    await instance.must("mailbox", "export", "alice@example.test", "--format", "eml", "--out", out)
    const texts = readdirSync(join(out, "INBOX")).filter((name) => name.endsWith(".eml"))
    expect(texts.map((name) => readFileSync(join(out, "INBOX", name), "latin1")).sort()).toEqual(
      some(4).map(([text]) => octetsOf(text).toString("latin1")),
    )
  })
})
