import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  statSync,
  unlink,
  unlinkSync,
  writeSync,
} from "node:fs"
import { dirname } from "node:path"
import { getSystemErrorMessage, promisify } from "node:util"
import { randomOctets } from "../crypto/primitives/random.ts"

const unlinkFile = promisify(unlink)

/** Makes `path` with mode 0700, and those above it, unless they exist. */
export function makePrivateFolder(path: string): void {
  makeFolder(path, 0o700)
}

/**
 * Makes `path`, and those above it, unless they exist. Not by Node's own recursion: where a file system says of a folder that is there that it is not
 * (/proc, when something is to be made in it) that never ends.
 */
export function makeFolder(path: string, mode = 0o777): void {
  const above = dirname(path)
  if (above !== path && !existsSync(above)) makeFolder(above, mode)
  try {
    mkdirSync(path, { mode })
  } catch (error) {
    if (!existsSync(path) || !statSync(path).isDirectory()) throw error
  }
}

/** Writes a file of mode 0600 that is whole or absent after a power cut, replacing what stood there. */
export function writeDurably(path: string, octets: Uint8Array): void {
  const temporary = `${path}.${Buffer.from(randomOctets(6)).toString("hex")}.tmp`
  const file = openSync(temporary, "wx", 0o600)
  try {
    for (let at = 0; at < octets.length; ) at += writeSync(file, octets, at)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(temporary, path)
  syncFolder(dirname(path))
}

/** Overwrites the file, and removes its name. The caller makes the removal durable with {@link syncFolder}. */
export function destroyFile(path: string): void {
  const file = openSync(path, "r+")
  try {
    // In place: on a copy-on-write disk or flash the old octets may live on below, which no program can help.
    writeSync(file, randomOctets(Math.max(1, fstatSync(file).size)), 0)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  unlinkSync(path)
}

/** Makes the names in a folder durable. */
export function syncFolder(path: string): void {
  const folder = openSync(path, "r")
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}

/** Opens a file. @returns null when there is none */
export function openIfThere(path: string, flags: "r" | "r+" = "r"): number | null {
  try {
    return openSync(path, flags)
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null
    throw error
  }
}

/** Changes whenever the file does: its name, octets or mode. */
export function filePrint(path: string): string {
  const found = statSync(path, { throwIfNoEntry: false, bigint: true })
  return found === undefined ? "absent" : `${found.ino}:${found.size}:${found.mtimeNs}:${found.ctimeNs}`
}

/** Removes a file, off the main thread: it may wait for the file system's journal. Removing what is not there does nothing. */
export async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlinkFile(path)
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error
  }
}

/** The error's system code (`ENOENT`), or null. */
export function systemCode(error: unknown): string | null {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : null
}

/** Why the system refused, in its words: `no such file or directory`. */
export function systemReason(error: unknown): string {
  if (error instanceof Error && "errno" in error && typeof error.errno === "number")
    return getSystemErrorMessage(error.errno) ?? error.message
  return error instanceof Error ? error.message : String(error)
}
