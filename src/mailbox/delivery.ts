import { close, closeSync, fsync, futimesSync, open, rename, write, writeSync } from "node:fs"
import { readdir, stat, unlink } from "node:fs/promises"
import { hostname } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { GatewayError } from "../errors.ts"
import { BareLineEnds } from "../mime/line-ends.ts"
import { EarlySync } from "../store/early-sync.ts"
import type { DirectorySync } from "./directory-sync.ts"
import { isAlive } from "./dotlock.ts"
import { isCode } from "./fs-errors.ts"
import { sortedLetters } from "./paths.ts"

const openFile = promisify(open)
const closeFile = promisify(close)
const writeFile = promisify(write)
const syncFile = promisify(fsync)
const renameFile = promisify(rename)

/** What is written as one file of a Maildir. */
export interface Delivery {
  /** Unique in this folder and stable for one message; no `/`, `:` or `,`. */
  readonly uniqueName: string
  readonly seconds: number
  readonly sizeOctets: number
  /** A piece of what is longer than {@link WHOLE_OCTETS} is good until the next is asked for. */
  readonly content: AsyncIterable<Uint8Array>
  /** What is written over blanks in the content, when all of it has been read. */
  readonly missing?: () => { readonly at: number; readonly octets: Uint8Array }
  /** Line ends in it that lack their CR, where that is known; else they are counted. */
  readonly bareLineEnds?: number
  /** Maildir flag letters; with any the file goes to cur/. */
  readonly letters: string
  /** INTERNALDATE; kept as the time of the file. */
  readonly internalDate: Date
}

/** Where a delivery went. */
export interface Delivered {
  readonly base: string
  readonly place: "new" | "cur"
  readonly name: string
  readonly letters: string
}

/** Up to this size a message is collected and written with one call; an envelope of a 10 KB mail has 14 KB. */
const WHOLE_OCTETS = 262_144

/** Maildir's own rule for what is left in tmp/. */
const ABANDONED_MS = 36 * 3600 * 1000

/**
 * Writes a message so that it survives a crash: tmp/, fsync, rename, fsync of the directory.
 * @throws LENGTH_MISMATCH when the content is not sizeOctets long; nothing is left then
 */
export async function writeMessage(folder: string, delivery: Delivery, directories: DirectorySync): Promise<Delivered> {
  const stem = `${delivery.seconds}.${delivery.uniqueName}.${HOST}`
  const temporary = join(folder, "tmp", `${delivery.seconds}.P${process.pid}.${delivery.uniqueName}.${HOST}`)
  const letters = sortedLetters(delivery.letters)
  const place = letters === "" ? "new" : "cur"
  const nameOf = (wireOctets: number) => {
    const base = `${stem},S=${delivery.sizeOctets},W=${wireOctets}`
    return { base, name: letters === "" ? base : `${base}:2,${letters}` }
  }
  const wireOctets = await writeTemporary(temporary, delivery, {
    target: (octets) => join(folder, place, nameOf(octets).name),
    syncNames: () => directories.sync(join(folder, place)),
  })
  return { ...nameOf(wireOctets), place, letters }
}

/**
 * Whether a message of this unique name is already in the folder, whatever its flags, and whole: a power cut between its naming and its
 * fsync can leave it short. Such a one is removed.
 */
export async function isDelivered(folder: string, uniqueName: string): Promise<boolean> {
  const part = `.${uniqueName}.`
  for (const place of ["new", "cur"]) {
    for (const name of await readdir(join(folder, place))) {
      const dot = name.indexOf(".")
      if (dot < 0 || !name.startsWith(part, dot)) continue
      const path = join(folder, place, name)
      // In cur/ somebody has handled it, and may keep it in another form (Dovecot compresses).
      if (place === "cur" || (await stat(path)).size === Number(/,S=(\d+)/.exec(name)?.[1])) return true
      await unlink(path)
    }
  }
  return false
}

/** Removes what earlier deliveries left in tmp/: files of our own dead processes, and of anybody after 36 hours. */
export async function cleanTemporary(folder: string, nowMs: number): Promise<void> {
  const names = await readdir(join(folder, "tmp"))
  for (const name of names) {
    const path = join(folder, "tmp", name)
    try {
      if (isCrashed(name) || nowMs - (await stat(path)).mtimeMs > ABANDONED_MS) await unlink(path)
    } catch (error) {
      // Somebody else cleans too, or it is a folder: neither is ours.
      if (!isCode(error, "ENOENT") && !isCode(error, "EISDIR") && !isCode(error, "EPERM")) throw error
    }
  }
}

/** Characters that mean something in a Maildir name are \ooo in a host (Maildir). */
export const HOST = hostname().replaceAll(/[/:,]/g, (c) => `\\${c.charCodeAt(0).toString(8).padStart(3, "0")}`)

/**
 * Writes the message, names it, and waits until both are on the disk: in this order one commit of the file system's journal serves both.
 * @returns octets on the wire
 */
async function writeTemporary(
  path: string,
  delivery: Delivery,
  { target, syncNames }: { target(wireOctets: number): string; syncNames(): Promise<void> },
): Promise<number> {
  // Making a file waits for the journal while it is being committed, milliseconds under load: not on the main thread.
  const file = await openFile(path, "wx", 0o600)
  let isOpen = true
  try {
    const wireOctets = await writeContent(file, delivery)
    const seconds = delivery.internalDate.getTime() / 1000
    // RFC 3501 knows seconds; a change of the time may wait for the file system's journal.
    if (Math.floor(seconds) !== Math.floor(Date.now() / 1000)) futimesSync(file, seconds, seconds)
    await renameFile(path, target(wireOctets))
    await Promise.all([syncFile(file), syncNames()])
    closeSync(file)
    isOpen = false
    return wireOctets
  } catch (error) {
    if (isOpen) await closeFile(file)
    await unlink(path).catch(() => undefined)
    throw error
  }
}

async function writeContent(file: number, { sizeOctets, content, missing, bareLineEnds }: Delivery): Promise<number> {
  await using early = new EarlySync(file)
  const bare = new BareLineEnds()
  const pieces: Uint8Array[] = []
  let octets = 0
  for await (const piece of content) {
    octets += piece.length
    if (bareLineEnds === undefined) bare.push(piece)
    if (octets > sizeOctets) break
    if (sizeOctets <= WHOLE_OCTETS) pieces.push(piece)
    else {
      await writeAll(file, piece)
      early.wrote(piece.length)
    }
  }
  await early.end()
  if (octets !== sizeOctets)
    throw new GatewayError("LENGTH_MISMATCH", `mailbox: message is not ${sizeOctets} octets long`)
  const whole = pieces.length === 1 && pieces[0] ? pieces[0] : Buffer.concat(pieces)
  for (let at = 0; at < whole.length; ) at += writeSync(file, whole, at)
  if (missing !== undefined) writeOver(file, missing())
  return octets + (bareLineEnds ?? bare.count)
}

function writeOver(file: number, { at, octets }: { readonly at: number; readonly octets: Uint8Array }): void {
  for (let done = 0; done < octets.length; ) done += writeSync(file, octets, done, octets.length - done, at + done)
}

async function writeAll(file: number, octets: Uint8Array): Promise<void> {
  for (let at = 0; at < octets.length; ) at += (await writeFile(file, octets, at, octets.length - at)).bytesWritten
}

/** Written by a process of this machine that is dead, or by an earlier one that had our number. */
function isCrashed(name: string): boolean {
  const found = /^(\d+)\.P(\d+)\./.exec(name)
  if (found === null || !name.endsWith(`.${HOST}`)) return false
  const pid = Number(found[2])
  return pid === process.pid ? Number(found[1]) * 1000 < performance.timeOrigin - 60_000 : !isAlive(pid)
}
