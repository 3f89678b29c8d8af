import { describe, expect, test } from "vitest"
import { encryptStore } from "../../src/cli/remote-encrypt.ts"
import { chooseMailboxes } from "../../src/cli/remote-folders.ts"
import type { RemoteMailbox, RemoteStore, SelectedMailbox } from "../../src/cli/remote-store.ts"
import { HELD_OCTETS } from "../../src/cli/remote-swap.ts"
import { replacementToken, replacesField, tokenIn } from "../../src/cli/successor.ts"
import { GatewayError } from "../../src/errors.ts"
import { encryptionTarget } from "../../src/pipeline/at-rest.ts"
import { collect } from "../../src/pipeline/prepared.ts"
import { NO_RESTORERS } from "../../src/pipeline/restore.ts"
import { makeAlice } from "../identity/people.ts"

const { person } = await makeAlice("smime")
const address = person.address
const rest = {
  account: address,
  target: encryptionTarget("smime", person.smime[0]?.certificate ?? new Uint8Array(0)),
  subject: "hidden" as const,
  markerKey: new Uint8Array(32).fill(5),
  restorers: NO_RESTORERS,
}
const INBOX: RemoteMailbox = { name: "INBOX", wireName: "INBOX", separator: "/", attributes: [], messages: 0 }

interface Kept {
  readonly uid: number
  flags: readonly string[]
  readonly octets: Uint8Array
}

/** A server's one mailbox in memory. */
class MemoryMailbox implements RemoteStore, SelectedMailbox {
  capabilities: ReadonlySet<string> = new Set(["UIDPLUS"])
  readonly uidValidity = 7n
  readonly changes = this
  messages: Kept[] = []
  /** What APPEND does instead of storing the octets as they came. */
  onAppend = (octets: Uint8Array): Uint8Array => octets
  sizeTold = (octets: Uint8Array): number => octets.length
  #uid = 0

  constructor(...texts: readonly string[]) {
    for (const text of texts) this.#store(Buffer.from(text), [])
  }

  async mailboxes() {
    return [INBOX]
  }

  async select() {
    return this
  }

  async list(fromUid: number) {
    return this.messages
      .filter(({ uid }) => uid >= fromUid)
      .map(({ uid, flags, octets }) => {
        const field = /^Postern-Replaces:.*$/m.exec(Buffer.from(octets).toString("latin1"))?.[0] ?? ""
        return { uid, flags, field, sizeOctets: this.sizeTold(octets), receivedAt: new Date(0) }
      })
  }

  async read(uids: readonly number[]) {
    return new Map(this.#some(uids).map(({ uid, octets }) => [uid, octets]))
  }

  async *stream(uid: number) {
    for (const { octets } of this.#some([uid])) yield* [octets.subarray(0, 9), octets.subarray(9)]
  }

  async flags(uids: readonly number[]) {
    return new Map(this.#some(uids).map(({ uid, flags }) => [uid, flags]))
  }

  async append(message: { content(): AsyncIterable<Uint8Array> }, flags: readonly string[]) {
    this.#store(this.onAppend(await collect(message.content())), flags)
  }

  async changeFlags(uid: number, { add, remove }: { add: readonly string[]; remove: readonly string[] }) {
    for (const kept of this.#some([uid])) kept.flags = [...kept.flags.filter((flag) => !remove.includes(flag)), ...add]
  }

  async flagDeleted(uids: readonly number[]) {
    for (const kept of this.#some(uids)) kept.flags = [...kept.flags, "\\Deleted"]
  }

  async expunge(uids: readonly number[]) {
    this.messages = this.messages.filter(({ uid }) => !uids.includes(uid))
    return true
  }

  async [Symbol.asyncDispose]() {
    // Nothing is open.
  }

  get texts(): string[] {
    return this.messages.map(({ octets }) => (/^Postern-Encrypted/m.test(String(octets)) ? "sealed" : String(octets)))
  }

  #some(uids: readonly number[]): Kept[] {
    return this.messages.filter(({ uid }) => uids.includes(uid))
  }

  #store(octets: Uint8Array, flags: readonly string[]): void {
    this.#uid += 1
    this.messages.push({ uid: this.#uid, flags, octets })
  }
}

const encrypt = (mailbox: MemoryMailbox, more = {}) =>
  encryptStore(async () => mailbox, { address, rest, waitsMs: [], ...more })

describe("a server that", () => {
  test("refuses one message: that one is skipped, with its words", async () => {
    const mailbox = new MemoryMailbox("Subject: a\r\n\r\n1", "Subject: b\r\n\r\n2", "Subject: c\r\n\r\n3")
    let appended = 0
    mailbox.onAppend = (octets) => {
      appended += 1
      if (appended === 2) throw new GatewayError("UPSTREAM_REFUSED", "imap: the server refuses: NO [TOOBIG]")
      return octets
    }
    expect(await encrypt(mailbox)).toMatchObject({
      folders: [{ encrypted: 2, skipped: 1 }],
      skipped: [{ folder: "INBOX", uid: 2, reason: "imap: the server refuses: NO [TOOBIG]" }],
    })
    expect(mailbox.texts).toEqual(["Subject: b\r\n\r\n2", "sealed", "sealed"])
  })

  test("has room for one copy: one message after the other; with none, it ends, and nothing is lost", async () => {
    for (const room of [1, 0]) {
      const mailbox = new MemoryMailbox("Subject: a\r\n\r\n1", "Subject: b\r\n\r\n2", "Subject: c\r\n\r\n3")
      mailbox.onAppend = (octets) => {
        if (mailbox.messages.length >= 3 + room) throw new GatewayError("MAILBOX_FULL", "imap: the mailbox is full")
        return octets
      }
      if (room > 0) expect(await encrypt(mailbox)).toMatchObject({ folders: [{ encrypted: 3, skipped: 0 }] })
      else await expect(encrypt(mailbox)).rejects.toMatchObject({ code: "MAILBOX_FULL" })
      expect(mailbox.messages).toHaveLength(3)
      expect(mailbox.texts.filter((text) => text === "sealed")).toHaveLength(room > 0 ? 3 : 0)
    }
  })

  const spoilt: [name: string, spoil: (octets: Uint8Array) => Uint8Array][] = [
    ["cuts the copy off", (octets) => octets.subarray(0, octets.length - 40)],
    ["stores something else", () => Buffer.from("Subject: x\r\n\r\n")],
    ["loses its header", (octets) => octets.subarray(octets.indexOf(0x0a) + 1)],
  ]
  for (const [name, spoil] of spoilt)
    test(`${name}: the old message stays as it was`, async () => {
      const mailbox = new MemoryMailbox("Subject: a\r\n\r\n1")
      mailbox.onAppend = spoil
      expect(await encrypt(mailbox)).toMatchObject({ folders: [{ encrypted: 0, skipped: 1 }] })
      expect(mailbox.messages[0]).toMatchObject({ uid: 1, flags: [], octets: Buffer.from("Subject: a\r\n\r\n1") })
    })

  test("guesses at sizes: the copy is known by its marker, and a message taken for large is read in pieces", async () => {
    for (const told of [1, HELD_OCTETS + 1]) {
      const mailbox = new MemoryMailbox("Subject: a\r\n\r\n1", "Subject: b\r\n\r\n2")
      mailbox.sizeTold = () => told
      expect(await encrypt(mailbox)).toMatchObject({ folders: [{ encrypted: 2, already: 0, skipped: 0 }] })
      expect(mailbox.texts).toEqual(["sealed", "sealed"])
      expect(await encrypt(mailbox)).toMatchObject({ folders: [{ encrypted: 0, already: 2, skipped: 0 }] })
    }
  })

  test("keeps labels: nothing is begun, looking is allowed", async () => {
    const mailbox = new MemoryMailbox("Subject: a\r\n\r\n1")
    mailbox.capabilities = new Set(["UIDPLUS", "X-GM-EXT-1"])
    await expect(encrypt(mailbox)).rejects.toThrow(/keeps labels/)
    expect(await encrypt(mailbox, { rest: null })).toMatchObject({ folders: [{ encrypted: 1 }] })
    expect(mailbox.texts).toEqual(["Subject: a\r\n\r\n1"])
  })
})

test("flags that change between copy and removal are carried over; \\Deleted only when it is taken off", async () => {
  const rows: [before: string[], meanwhile: string[], after: string[]][] = [
    [["\\Seen"], ["$Label1"], ["$Label1"]],
    [["\\Deleted", "\\Seen"], ["\\Seen"], ["\\Seen"]],
    [["\\Deleted", "\\Seen"], ["\\Deleted"], ["\\Deleted"]],
    // Set by another run that removes the same message at the same time: the successor must not go with it.
    [["\\Seen"], ["\\Seen", "\\Deleted"], ["\\Seen"]],
  ]
  for (const [before, meanwhile, after] of rows) {
    const mailbox = new MemoryMailbox("Subject: a\r\n\r\n1")
    const [old] = mailbox.messages
    if (old) old.flags = before
    mailbox.onAppend = (octets) => {
      if (old) old.flags = meanwhile
      return octets
    }
    await encrypt(mailbox)
    expect(mailbox.messages).toMatchObject([{ uid: 2, flags: after }])
  }
})

test("a message that is expunged while it is copied comes back as its successor: another run may have replaced it", async () => {
  const mailbox = new MemoryMailbox("Subject: a\r\n\r\n1")
  mailbox.onAppend = (octets) => {
    mailbox.messages = []
    mailbox.onAppend = (more) => more
    return octets
  }
  expect(await encrypt(mailbox)).toMatchObject({ folders: [{ encrypted: 1, skipped: 0 }] })
  expect(mailbox.texts).toEqual(["sealed"])
})

test("virtual mailboxes and levels without mail are left out, unless one is asked for", () => {
  const listed = (
    [
      ["Archive", []],
      ["All", ["\\All"]],
      ["Starred", ["\\Flagged", "\\HasNoChildren"]],
      ["Level", ["\\Noselect"]],
      ["Ghost", ["\\NonExistent"]],
      ["Inbox", []],
      ["Trash", ["\\Trash"]],
    ] as const
  ).map(([name, attributes]) => ({ ...INBOX, name, wireName: name, attributes }))
  const rows: [choice: object, mailboxes: string[], leftOut: string[]][] = [
    [{}, ["Inbox", "Archive", "Trash"], ["All", "Starred"]],
    [{ skip: ["Trash", "All"] }, ["Inbox", "Archive"], ["Starred"]],
    [{ folder: ["All", "INBOX"] }, ["Inbox", "All"], []],
    [{ folder: ["Inbox", "Archive"], skip: ["Archive"] }, ["Inbox"], []],
  ]
  for (const [choice, mailboxes, leftOut] of rows) {
    const chosen = chooseMailboxes(listed, choice, address)
    expect(chosen.mailboxes.map(({ name }) => name)).toEqual(mailboxes)
    expect(chosen.leftOut.map(({ name }) => name)).toEqual(leftOut)
  }
  expect(() => chooseMailboxes(listed, { folder: ["Level"] }, address)).toThrow(/has no folder Level/)
})

test("a token names one message, and is read back", () => {
  const header = Buffer.from("Subject: a\r\n\r\n")
  const replaced = { account: address, uidValidity: 1n, uid: 1, sizeOctets: 9, receivedAt: new Date(0), header }
  const key = rest.markerKey
  const token = replacementToken(key, replaced)
  expect(replacementToken(key, replaced)).toBe(token)
  // What is hidden must not be guessed at by it.
  expect(replacementToken(key, { ...replaced, header: Buffer.from("Subject: b\r\n\r\n") })).toBe(token)
  for (const other of [
    { account: "bob@example.test" },
    { uidValidity: 2n },
    { uid: 2 },
    { sizeOctets: 10 },
    { receivedAt: null },
    { header: Buffer.from("From: a\r\n\r\n") },
  ])
    expect(replacementToken(key, { ...replaced, ...other })).not.toBe(token)
  expect(tokenIn(Buffer.from(replacesField(token)).toString())).toBe(token)
  for (const field of ["", "Postern-Replaces: v=2; id=x", `X: v=1; id=${token}`]) expect(tokenIn(field)).toBeNull()
})
