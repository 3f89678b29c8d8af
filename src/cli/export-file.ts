import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"
import { GatewayError } from "../errors.ts"
import { makePrivateFolder, syncFolder, systemCode } from "../store/durable.ts"
import { mboxEntry } from "./mbox.ts"
import { baseOf, lettersOf, type StoredMessage } from "./stored-mail.ts"

/** Where an export is written; everything in it is for its owner only. */
export interface ExportFile {
  /** Makes a mailbox, also one without messages. */
  folder(name: string): void
  add(message: StoredMessage, octets: Uint8Array): void
  /** Makes it durable. */
  finish(): void
  /** Takes everything back: half an export must not be taken for a whole one. */
  discard(): void
}

/**
 * One file for all mailboxes.
 * @throws GatewayError EXPORT_EXISTS
 */
export function mboxFile(path: string): ExportFile {
  const file = created(path, () => openSync(path, "wx", 0o600))
  return {
    folder() {
      // Each message says which one it is from.
    },
    add({ folder, name, modifiedAt }, octets) {
      const entry = mboxEntry({
        octets,
        receivedAt: modifiedAt,
        letters: lettersOf(name),
        folder: folder.name === "INBOX" ? null : folder.name,
      })
      for (let at = 0; at < entry.length; ) at += writeSync(file, entry, at)
    },
    finish() {
      fsyncSync(file)
      closeSync(file)
    },
    discard() {
      closeSync(file)
      rmSync(path)
    },
  }
}

/**
 * A Maildir++ like the stored one, without its UIDs.
 * @throws GatewayError EXPORT_EXISTS
 */
export function maildirFolder(path: string): ExportFile {
  created(path, () => {
    makePrivateFolder(path)
    if (readdirSync(path).length > 0) throw exists(path)
  })
  const pathOf = (name: string) => (name === "INBOX" ? path : join(path, `.${name}`))
  return {
    folder(name) {
      for (const part of ["tmp", "new", "cur"]) mkdirSync(join(pathOf(name), part), { recursive: true, mode: 0o700 })
      if (name !== "INBOX") writeFileSync(join(pathOf(name), "maildirfolder"), "", { mode: 0o600 })
    },
    add({ folder, place, name, modifiedAt }, octets) {
      // The sizes that the name tells are of the message as it was stored.
      const stem = baseOf(name).replaceAll(/,[SW]=\d+/g, "")
      const sized = `${stem},S=${octets.length}${name.slice(baseOf(name).length)}`
      const target = join(pathOf(folder.name), place, sized)
      writeFileSync(target, octets, { mode: 0o600, flag: "wx" })
      utimesSync(target, modifiedAt, modifiedAt)
    },
    finish() {
      syncFolder(path)
    },
    discard() {
      rmSync(path, { recursive: true })
    },
  }
}

function created<T>(path: string, make: () => T): T {
  try {
    return make()
  } catch (error) {
    if (systemCode(error) === "EEXIST" || systemCode(error) === "ENOTDIR") throw exists(path, error)
    throw error
  }
}

function exists(path: string, cause?: unknown): GatewayError {
  return new GatewayError("EXPORT_EXISTS", `export ${path}: is there already; nothing is overwritten`, { cause })
}
