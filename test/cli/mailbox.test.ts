import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { foldersOf, maildirOf, messagesOf } from "../../src/cli/stored-mail.ts"
import { maildirOf as madeBy } from "../../src/mailbox/paths.ts"
import { eventually, Instance } from "../harness/instance.ts"
import { peer, run } from "../harness/peers.ts"
import { ImapSession } from "../harness/reading.ts"

/** Members of a `--json` answer. */
type Json = Readonly<Record<string, unknown>>

const ALICE = "alice@example.test"
const BOB = "bob@example.test"
/** Stored by another server long ago. */
const OLD = new Date("2020-02-02T02:02:02Z")

let instance: Instance
beforeAll(async () => {
  instance = await Instance.create()
  writeFileSync(passphrase(), "open sesame\n")
  await instance.must("account", "add", ALICE)
  await instance.must("account", "add", BOB, "--format", "openpgp", "--passphrase-file", passphrase())
})
afterAll(() => instance[Symbol.asyncDispose]())

const passphrase = () => join(instance.folder, "passphrase")
const out = (name: string) => join(instance.folder, "..", name)
const json = async (...args: string[]): Promise<Json> => JSON.parse(await instance.must(...args, "--json"))

/** Puts a message into a folder as an old server left it. @returns its path */
function place(address: string, folder: string, name: string, text: string): string {
  const path = join(instance.maildir(address), folder)
  for (const part of ["tmp", "new", "cur"]) mkdirSync(join(path, part), { recursive: true, mode: 0o700 })
  const file = join(path, name)
  writeFileSync(file, text)
  utimesSync(file, OLD, OLD)
  return file
}

const oldMail = (number: number, body: string) =>
  `Return-Path: <carol@elsewhere.test>\nFrom: carol@elsewhere.test\nSubject: old ${number}\nMessage-ID: <${number}@elsewhere.test>\n\n${body}\n`

/** All octets under a folder. */
function everything(folder: string): string {
  return readdirSync(folder, { recursive: true, encoding: "utf8", withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), "latin1"))
    .join("\n")
}

describe("mailbox encrypt", () => {
  test("encrypts what lies in clear, keeps flags, date and folder, reports what it skips; again does no harm", async () => {
    const maildir = instance.maildir(ALICE)
    place(ALICE, "", "cur/1500000001.M1P1.old,S=9,W=9:2,FSa", oldMail(1, "canary-one"))
    place(ALICE, "", "new/1500000002.M1P1.old", oldMail(2, `canary-two ${"x".repeat(1_200_000)}`))
    place(ALICE, ".Sent", "cur/1500000003.M1P1.old:2,S", oldMail(3, "canary-three"))
    mkdirSync(join(maildir, "cur", "1500000004.folder.old"))
    symlinkSync("/nowhere", join(maildir, "cur", "1500000005.link.old:2,"))

    const looked = await instance.postern("mailbox", "encrypt", ALICE, "--dry-run", "--json")
    expect([looked.code, JSON.parse(Buffer.from(looked.stdout).toString())]).toMatchObject([
      1,
      { dryRun: true, encrypted: 3, already: 0 },
    ])
    expect(everything(maildir)).toContain("canary-one")

    const done = await instance.postern("mailbox", "encrypt", ALICE, "--json")
    expect(done.code).toBe(1)
    // On a slow machine it also says how far it is.
    expect(done.stderr.replace(/^postern: \d+ of \d+ messages.*\n/gm, "")).toBe(
      "postern: INBOX cur/1500000004.folder.old: skipped: is no file\npostern: INBOX cur/1500000005.link.old:2,: skipped: is no file\n",
    )
    expect(JSON.parse(Buffer.from(done.stdout).toString())).toMatchObject({
      address: ALICE,
      encrypted: 3,
      already: 0,
      skipped: [{ folder: "INBOX", file: "1500000004.folder.old", reason: "is no file" }, {}],
    })
    expect(everything(maildir)).not.toMatch(/canary/)
    const found = foldersOf(maildir)
      .flatMap(messagesOf)
      .filter(({ isFile }) => isFile)
    expect(found.map(({ folder, place: where, name }) => `${folder.name} ${where}/${name}`)).toEqual([
      expect.stringMatching(/^INBOX cur\/1500000001\.E[0-9a-f]{24}\..*,S=(\d+),W=\1:2,FSa$/),
      expect.stringMatching(/^INBOX new\/1500000002\.E[0-9a-f]{24}\..*,S=(\d+),W=\1$/),
      expect.stringMatching(/^Sent cur\/1500000003\.E[0-9a-f]{24}\..*,S=(\d+),W=\1:2,S$/),
    ])
    for (const { folder, place: where, name, modifiedAt } of found) {
      const { size, mode } = statSync(join(folder.path, where, name))
      expect([modifiedAt, mode & 0o777, size]).toEqual([OLD, 0o600, Number(/,S=(\d+)/.exec(name)?.[1])])
    }
    expect(readdirSync(join(maildir, "tmp"))).toEqual([])

    const again = await instance.postern("mailbox", "encrypt", ALICE)
    expect([again.code, Buffer.from(again.stdout).toString()]).toEqual([
      1,
      expect.stringMatching(/: 0 encrypted, 3 encrypted before\n2 skipped/),
    ])
    expect(
      foldersOf(maildir)
        .flatMap(messagesOf)
        .filter(({ isFile }) => isFile),
    ).toEqual(found)
  })

  test("a run that was killed before it removed the old message leaves no double", async () => {
    const name = "cur/1500000010.M1P1.old:2,S"
    place(BOB, "", name, oldMail(10, "canary-ten"))
    expect(await json("mailbox", "encrypt", BOB)).toMatchObject({ encrypted: 1, skipped: [] })
    const [successor] = readdirSync(join(instance.maildir(BOB), "cur"))
    place(BOB, "", name, oldMail(10, "canary-ten"))
    expect(await json("mailbox", "encrypt", BOB)).toMatchObject({ encrypted: 1, already: 1, skipped: [] })
    expect(readdirSync(join(instance.maildir(BOB), "cur"))).toEqual([successor])
  })

  test("beside a server: clients see the same message under a new UID", async () => {
    const device = await instance.device(ALICE, "laptop")
    await instance.serve()
    using session = await ImapSession.open(device)
    const before = await session.uids("INBOX")
    const file = place(ALICE, "", "cur/1500000020.M1P1.old:2,F", oldMail(20, "canary-twenty"))
    const [arrived = 0] = await eventually("the message in clear", async () => {
      const fresh = (await session.uids("INBOX")).filter((uid) => !before.includes(uid))
      return fresh.length > 0 ? fresh : null
    })
    await instance.postern("mailbox", "encrypt", ALICE)
    const [encrypted = 0] = await eventually("its successor alone", async () => {
      const fresh = (await session.uids("INBOX")).filter((uid) => !before.includes(uid) && uid !== arrived)
      return fresh.length === 1 ? fresh : null
    })
    expect(await session.must(`UID FETCH ${encrypted} (FLAGS INTERNALDATE)`)).toMatch(
      /FLAGS \(\\Flagged(?: \\Recent)?\) INTERNALDATE "[ 0]2-Feb-2020 02:02:02 \+0000"/,
    )
    expect(Buffer.from(await session.fetch(encrypted, "BODY.PEEK[]")).toString()).toMatch(
      /^Postern-Encrypted: by this/m,
    )
    expect(() => statSync(file)).toThrow(/ENOENT/)
    await instance.stop()
  })

  test("unknown people and empty mailboxes", async () => {
    const rows: [args: string[], code: number, message: RegExp][] = [
      [["mailbox", "encrypt", "nobody@example.test"], 1, /^postern: account nobody@example.test: unknown/],
      [
        ["mailbox", "export", "dave@example.test", "--out", out("d")],
        1,
        /^postern: mailbox dave@example.test: nothing is stored for it/,
      ],
      [["mailbox", "export", ALICE, "--out", out("d"), "--folder", "Nix"], 1, /has no folder Nix; there are INBOX, /],
      [["mailbox", "export", ALICE], 2, /required option '--out <path>' not specified/],
      [["mailbox", "export", ALICE, "--out", out("d"), "--format", "pst"], 2, /Allowed choices are mbox, maildir/],
    ]
    const done = await Promise.all(rows.map(([args]) => instance.postern(...args)))
    for (const [index, [args, code, message]] of rows.entries())
      expect([args, done[index]?.code, done[index]?.stderr]).toEqual([args, code, expect.stringMatching(message)])
  })
})

describe("mailbox export", () => {
  test("mbox: everything in clear in one file for its owner only; what stays closed is reported", async () => {
    place(ALICE, "", "cur/1500000030.M1P1.old:2,", "Subject: torn\n\n-----BEGIN PGP MESSAGE-----\n\nxyz\n")
    const done = await instance.postern("mailbox", "export", ALICE, "--out", out("alice.mbox"), "--json")
    expect(done.code).toBe(1)
    expect(done.stderr).toContain("postern: INBOX cur/1500000030.M1P1.old:2,: armor: block is cut off\n")
    expect(JSON.parse(Buffer.from(done.stdout).toString())).toMatchObject({
      address: ALICE,
      format: "mbox",
      out: out("alice.mbox"),
      exported: 5,
      opened: 4,
      clear: 0,
      failed: [{ reason: "is no file" }, { reason: "is no file" }, { file: "1500000030.M1P1.old:2," }],
    })
    expect(statSync(out("alice.mbox")).mode & 0o777).toBe(0o600)
    const text = readFileSync(out("alice.mbox"), "latin1")
    for (const word of ["canary-one", "canary-two", "canary-three", "canary-twenty"]) expect(text).toContain(word)
    const twice = await instance.postern("mailbox", "export", ALICE, "--out", out("alice.mbox"))
    expect([twice.code, twice.stderr]).toEqual([1, expect.stringMatching(/alice.mbox: is there already/)])
    expect(readFileSync(out("alice.mbox"), "latin1")).toBe(text)
  })

  test.skipIf(!peer("python3"))(
    "Python reads the mbox: messages, dates, flags, folders, quoted From lines",
    async () => {
      const script = `
import json, mailbox, sys
print(json.dumps([[m["subject"], m.get_from(), m.get_flags(), m["x-folder"], len(m.get_payload())] for m in mailbox.mbox(sys.argv[1])]))`
      const read = await run("python3", ["-c", script, out("alice.mbox")])
      expect(read.stderr).toBe("")
      const from = `carol@elsewhere.test Sun Feb  2 02:02:02 2020`
      expect(JSON.parse(Buffer.from(read.stdout).toString())).toEqual([
        ["old 1", from, "ROF", null, "canary-one\n".length],
        ["old 2", from, "O", null, "canary-two \n".length + 1_200_000],
        ["old 20", from, "OF", null, "canary-twenty\n".length],
        ["torn", "MAILER-DAEMON Sun Feb  2 02:02:02 2020", "O", null, expect.any(Number)],
        ["old 3", from, "RO", "Sent", "canary-three\n".length],
      ])
    },
  )

  test("maildir: with the keyring elsewhere, sealed; the account itself may be gone", async () => {
    place(BOB, ".Archive", "cur/1500000040.M1P1.old,S=1,W=1:2,RS", oldMail(40, "canary-forty"))
    const locked = await instance.postern("mailbox", "export", BOB, "--out", out("bob"), "--format", "maildir")
    expect([locked.code, locked.stderr]).toEqual([1, expect.stringMatching(/sealed, and no passphrase was given/)])
    await instance.must("account", "remove", BOB)
    const args = ["--format", "maildir", "--passphrase-file", passphrase(), "--keyring", `${instance.folder}/keyring`]
    const done = await json("mailbox", "export", BOB, "--out", out("bob"), ...args)
    expect(done).toMatchObject({ exported: 2, opened: 1, clear: 1, failed: [] })
    const found = foldersOf(out("bob")).flatMap(messagesOf)
    expect(found.map(({ folder, name, modifiedAt }) => [folder.name, name, modifiedAt])).toEqual([
      ["INBOX", expect.stringMatching(/^1500000010\.E.*,S=\d+:2,S$/), OLD],
      ["Archive", expect.stringMatching(/^1500000040\.M1P1\.old,S=\d+:2,RS$/), OLD],
    ])
    for (const { folder, place: where, name } of found) {
      const { mode, size } = statSync(join(folder.path, where, name))
      expect([mode & 0o777, size]).toEqual([0o600, Number(/,S=(\d+)/.exec(name)?.[1])])
    }
    expect(statSync(out("bob")).mode & 0o777).toBe(0o700)
    expect(readFileSync(join(out("bob"), "cur", found[0]?.name ?? ""), "latin1")).toBe(
      oldMail(10, "canary-ten").replaceAll("\n", "\r\n"),
    )
    const full = await instance.postern("mailbox", "export", BOB, "--out", out("bob"), ...args)
    expect([full.code, full.stderr]).toEqual([1, expect.stringMatching(/is there already/)])
  })
})

test("finds the folder that the store makes for an address, whatever is in it", () => {
  const data = out("data")
  const config = { data, deliver: { kind: "embedded" as const } }
  for (const address of ["a@b.test", '"a/b"@b.test', "b\u00fccher@b.test", ".x@b.test", "50%~!@b.test"]) {
    const made = madeBy(join(data, "mail"), address)
    mkdirSync(join(made, "cur"), { recursive: true })
    expect(maildirOf(config, address)).toBe(made)
  }
})
