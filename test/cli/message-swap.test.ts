import { mkdirSync, readdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from "node:fs"
import { open } from "node:fs/promises"
import { join } from "node:path"
import { expect, test } from "vitest"
import { mboxEntry } from "../../src/cli/mbox.ts"
import { contentOf, removeOld, writeSuccessor } from "../../src/cli/message-swap.ts"
import { messagesOf, type StoredMessage } from "../../src/cli/stored-mail.ts"
import { CrlfLines } from "../../src/mime/line-ends.ts"
import { preparedOf } from "../../src/pipeline/prepared.ts"
import { temporaryFolder } from "../harness/peers.ts"

const SEALED = preparedOf(Buffer.from("sealed\r\n"))

/** A folder with one message, which has its successor, but is still there. */
async function halfway(path: string, place: "new" | "cur", name: string): Promise<StoredMessage> {
  for (const part of ["tmp", "new", "cur"]) mkdirSync(join(path, part))
  writeFileSync(join(path, place, name), "clear\n")
  const [message] = messagesOf({ name: "INBOX", path })
  if (!message) throw new Error("the message was not met")
  await writeSuccessor(message, SEALED)
  return message
}

const names = (path: string) =>
  ["new", "cur"].flatMap((place) => readdirSync(join(path, place)).map((name) => `${place}/${name}`))

test("a client that changes flags meanwhile changes those of the successor", async () => {
  const rows: [from: "new" | "cur", name: string, to: string, want: RegExp][] = [
    ["cur", "1.M1.h:2,", "cur/1.M1.h:2,FS", /^cur\/1\.E\w+\.\S+,S=8,W=8:2,FS$/],
    ["cur", "1.M1.h:2,S", "cur/1.M1.h:2,", /^cur\/1\.E\w+\.\S+,S=8,W=8:2,$/],
    ["new", "1.M1.h", "cur/1.M1.h:2,S", /^cur\/1\.E\w+\.\S+,S=8,W=8:2,S$/],
  ]
  for (const [from, name, to, want] of rows) {
    await using folder = await temporaryFolder()
    const message = await halfway(folder.path, from, name)
    renameSync(join(folder.path, from, name), join(folder.path, to))
    await removeOld(message)
    expect(names(folder.path)).toEqual([expect.stringMatching(want)])
  }
})

test("two runs at once, or an expunge meanwhile: the successor stays", async () => {
  await using folder = await temporaryFolder()
  const message = await halfway(folder.path, "cur", "1.M1.h:2,")
  unlinkSync(join(folder.path, "cur", "1.M1.h:2,"))
  await removeOld(message)
  expect(names(folder.path)).toEqual([expect.stringMatching(/^cur\/1\.E/)])
})

test("content that is not as long as it says leaves nothing", async () => {
  await using folder = await temporaryFolder()
  const message = await halfway(folder.path, "cur", "1.M1.h:2,")
  const before = names(folder.path)
  await expect(writeSuccessor(message, { ...SEALED, sizeOctets: 9 })).rejects.toThrow(/8 octets came where 9 were told/)
  expect([names(folder.path), readdirSync(join(folder.path, "tmp"))]).toEqual([before, []])
})

test("stored LF is CRLF on the wire, wherever a piece ends", async () => {
  await using folder = await temporaryFolder()
  const text = "a\nb\r\nc\rd\n\n\r\r\ne"
  const want = "a\r\nb\r\nc\rd\r\n\r\n\r\r\ne"
  writeFileSync(folder.file("message"), text)
  await using file = await open(folder.file("message"), "r")
  const content = await contentOf(file)
  const read: Uint8Array[] = []
  for await (const octets of content.content()) read.push(octets)
  expect([content.sizeOctets, Buffer.concat(read).toString()]).toEqual([want.length, want])
  for (let size = 1; size < text.length; size++) {
    const crlf = new CrlfLines()
    const pieces: Uint8Array[] = []
    for (let at = 0; at < text.length; at += size) pieces.push(crlf.push(Buffer.from(text.slice(at, at + size))))
    expect(Buffer.concat(pieces).toString()).toBe(want)
  }
  expect(readFileSync(folder.file("message"), "latin1")).toBe(text)
})

test("mbox entries: separator, flags, folder; forged ones go", () => {
  const receivedAt = new Date("2026-01-02T03:04:05Z")
  const rows: [text: string, letters: string, folder: string | null, want: string][] = [
    [
      "Subject: x\r\n\r\nFrom me\r\n>From me\r\nFrommage\r\n",
      "",
      null,
      "Subject: x\nStatus: O\n\n>From me\n>>From me\nFrommage\n\n",
    ],
    [
      "Subject: x\r\nStatus: RO\r\nX-Folder: y\r\n\r\nno end",
      "RS",
      "Sent",
      "Subject: x\nStatus: RO\nX-Status: A\nX-Folder: Sent\n\nno end\n\n",
    ],
    ["Subject: x", "TFD", null, "Subject: x\nStatus: O\nX-Status: FDT\n\n\n"],
  ]
  for (const [text, letters, folder, want] of rows)
    expect(
      Buffer.from(mboxEntry({ octets: Buffer.from(text), receivedAt, letters, keywords: [], folder })).toString(),
    ).toBe(`From MAILER-DAEMON Fri Jan  2 03:04:05 2026\n${want}`)
  const bounce = mboxEntry({
    octets: Buffer.from("Return-Path: <>\n\n"),
    receivedAt,
    letters: "",
    keywords: ["$x", "y"],
    folder: "B\u00fc\ncher",
  })
  expect(Buffer.from(bounce).toString()).toMatch(
    /^From MAILER-DAEMON .*\n.*\nStatus: O\nX-Keywords: \$x y\nX-Folder: B\u00fc_cher\n\n\n$/,
  )
})
