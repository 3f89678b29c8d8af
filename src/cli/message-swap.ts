import { type FileHandle, open, rename, unlink } from "node:fs/promises"
import { hostname } from "node:os"
import { join } from "node:path"
import { sha256 } from "../crypto/primitives/hash.ts"
import { CrlfLines } from "../mime/line-ends.ts"
import type { Prepared } from "../pipeline/prepared.ts"
import { systemCode } from "../store/durable.ts"
import { baseOf, findFile, lettersOf, onFile, pathOf, type StoredMessage, secondsOf } from "./stored-mail.ts"

/** One read of a stored message. */
const CHUNK_OCTETS = 65_536

/** Opens a stored message for reading as often as wanted, with CRLF as on the wire; the caller closes `file`. */
export async function contentOf(file: FileHandle): Promise<Prepared> {
  const content = async function* () {
    const text = new CrlfLines()
    for await (const octets of readAll(file)) yield text.push(octets)
  }
  let sizeOctets = 0
  for await (const octets of content()) sizeOctets += octets.length
  return { sizeOctets, content }
}

/**
 * Writes `content` as the message that takes the place of `message`: same folder, date and flags, a name of its own, which depends on
 * the old one only. It is on the disk when this resolves, but for its name: the caller syncs the folder, then calls {@link removeOld}.
 */
export async function writeSuccessor(message: StoredMessage, content: Prepared): Promise<void> {
  const { folder, place, name, modifiedAt } = message
  const stem = `${secondsOf(name) || Math.floor(modifiedAt.getTime() / 1000)}.${successorName(message)}.${HOST}`
  const flags = place === "new" ? "" : `:2,${lettersOf(name)}`
  const successor = join(folder.path, place, `${stem},S=${content.sizeOctets},W=${content.sizeOctets}${flags}`)
  // A name that says whose it is: a server that starts meanwhile removes what dead processes left in tmp/.
  const temporary = join(folder.path, "tmp", `${secondsOf(name)}.P${process.pid}.${successorName(message)}.${HOST}`)
  try {
    await writeFile(temporary, content, modifiedAt)
    await rename(temporary, successor)
  } catch (error) {
    await unlinkIfThere(temporary)
    throw error
  }
}

/**
 * Removes the message that has a successor, which gets the flags that the message has by now. A message that was expunged meanwhile comes
 * back as its successor: to remove that one, too, would lose a message that another run of the same command has replaced.
 */
export async function removeOld(message: StoredMessage): Promise<void> {
  await onFile(message, async (old) => {
    if (old.name !== message.name) await takeFlags(message, old.place, lettersOf(old.name))
    await unlink(pathOf(old))
  })
}

/** Somebody changed the flags of the old message while its successor was written. */
async function takeFlags(message: StoredMessage, place: "new" | "cur", letters: string): Promise<void> {
  const found = findFile(message.folder, (name) => isSuccessor(name, message))
  if (found === null) return
  const name = place === "new" ? baseOf(found.name) : `${baseOf(found.name)}:2,${letters}`
  await onFile(found, (file) => rename(pathOf(file), join(message.folder.path, place, name)))
}

async function writeFile(path: string, { sizeOctets, content }: Prepared, modifiedAt: Date): Promise<void> {
  await using file = await open(path, "wx", 0o600)
  let octets = 0
  for await (const part of content()) {
    octets += part.length
    for (let at = 0; at < part.length; ) at += (await file.write(part, at)).bytesWritten
  }
  if (octets !== sizeOctets) throw new Error(`${octets} octets came where ${sizeOctets} were told`)
  await file.utimes(modifiedAt, modifiedAt)
  await file.sync()
}

async function* readAll(file: FileHandle): AsyncGenerator<Uint8Array> {
  for (let at = 0; ; ) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK_OCTETS), 0, CHUNK_OCTETS, at)
    if (bytesRead === 0) return
    yield buffer.subarray(0, bytesRead)
    at += bytesRead
  }
}

async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error
  }
}

function isSuccessor(name: string, message: StoredMessage): boolean {
  return uniqueOf(name) === successorName(message)
}

/** The part of a Maildir name `time.unique.host` that tells messages of one second apart, or null. */
export function uniqueOf(name: string): string | null {
  return /^\d+\.([^.]+)\./.exec(name)?.[1] ?? null
}

/** The unique part of the name of the message that takes this one's place. */
export function successorName({ name }: StoredMessage): string {
  const digest = sha256(new TextEncoder().encode(baseOf(name)))
  return `E${Buffer.from(digest).toString("hex").slice(0, 24)}`
}

/** Characters that mean something in a Maildir name are \ooo in a host. */
const HOST = hostname().replaceAll(/[/:,]/g, (c) => `\\${c.charCodeAt(0).toString(8).padStart(3, "0")}`)
