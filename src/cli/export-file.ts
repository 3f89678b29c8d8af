import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs"
import { dirname, join } from "node:path"
import { GatewayError } from "../errors.ts"
import { makePrivateFolder, syncFolder, systemCode } from "../store/durable.ts"
import { mboxEntry } from "./mbox.ts"

/** Forms that an export can have. */
export type ExportFormat = "mbox" | "maildir" | "eml"

/** A mailbox as an export names it. */
export interface ExportedFolder {
  /** As people read it. */
  readonly name: string
  /** From the top of the hierarchy down. */
  readonly levels: readonly string[]
  /** The same in modified UTF-7, as Maildir++ has it. */
  readonly wireLevels: readonly string[]
}

/** A message to be written, but for its octets. */
export interface ExportedMessage {
  readonly folder: ExportedFolder
  /** INTERNALDATE. */
  readonly receivedAt: Date
  /** No client has seen it listed. */
  readonly isNew: boolean
  /** Maildir flag letters. */
  readonly letters: string
  readonly keywords: readonly string[]
  /** A file name that no other message of the folder has, without what follows its first comma or colon. */
  readonly stem: string
}

/** Where an export is written; everything in it is for its owner only, and nothing has the final name before {@link ExportFile.finish}. */
export interface ExportFile {
  /** Makes a mailbox, also one without messages. */
  folder(folder: ExportedFolder): void
  add(message: ExportedMessage, octets: Uint8Array): void
  /** Makes it durable, and gives it its name. */
  finish(): void
  /** Takes everything back: half an export must not be taken for a whole one. */
  discard(): void
}

/** An export that begins. @throws GatewayError EXPORT_EXISTS */
export function exportTo(path: string, format: ExportFormat): ExportFile {
  if (format === "mbox") return mboxFile(path)
  return format === "maildir" ? maildirFolder(path) : emlFolder(path)
}

/** One file for all mailboxes. */
function mboxFile(path: string): ExportFile {
  if (existsSync(path)) throw exists(path)
  const partial = `${path}${PARTIAL}`
  const file = created(partial, () => openSync(partial, "wx", 0o600))
  return {
    folder() {
      // Each message says which one it is from.
    },
    add({ folder, receivedAt, letters, keywords }, octets) {
      const name = folder.name === "INBOX" ? null : folder.name
      const entry = mboxEntry({ octets, receivedAt, letters, keywords, folder: name })
      for (let at = 0; at < entry.length; ) at += writeSync(file, entry, at)
    },
    finish() {
      fsyncSync(file)
      closeSync(file)
      // link, not rename: what somebody put there meanwhile stays.
      created(path, () => linkSync(partial, path))
      unlinkSync(partial)
      syncFolder(dirname(path))
    },
    discard() {
      closeSync(file)
      rmSync(partial)
    },
  }
}

/** A Maildir++ like the embedded store's, without its UIDs. Keywords are named as Dovecot does. */
function maildirFolder(path: string): ExportFile {
  const staged = stagedFolder(path)
  const pathOf = pathsOnce(({ name, wireLevels }) =>
    name === "INBOX"
      ? staged.path
      : join(staged.path, wireLevels.map((level) => `.${fileName(level, /[./]/g)}`).join("")),
  )
  const keywords = new Map<string, string[]>()
  return {
    folder(folder) {
      const target = pathOf(folder)
      for (const part of ["tmp", "new", "cur"]) makePrivateFolder(join(target, part))
      if (folder.name !== "INBOX") writeFileSync(join(target, "maildirfolder"), "", { mode: 0o600 })
    },
    add(message, octets) {
      const target = pathOf(message.folder)
      const known = keywords.get(target) ?? []
      keywords.set(target, known)
      const letters = [...new Set(message.letters + keywordLetters(message.keywords, known))].sort().join("")
      const name = `${message.stem},S=${octets.length}${message.isNew ? "" : `:2,${letters}`}`
      write(join(target, message.isNew ? "new" : "cur", name), octets, message.receivedAt)
    },
    finish() {
      for (const [target, names] of keywords)
        if (names.length > 0)
          writeFileSync(join(target, "dovecot-keywords"), names.map((name, at) => `${at} ${name}\n`).join(""), {
            mode: 0o600,
          })
      staged.finish()
    },
    discard: staged.discard,
  }
}

/** A folder for each mailbox, a file for each message, and flags and dates in a `flags.json`. */
function emlFolder(path: string): ExportFile {
  const staged = stagedFolder(path)
  const pathOf = pathsOnce(({ levels }) =>
    join(staged.path, ...levels.map((level) => fileName(level, /[/\\]|^\.+|\.+$/g))),
  )
  const told = new Map<string, object[]>()
  return {
    folder(folder) {
      makePrivateFolder(pathOf(folder))
      told.set(pathOf(folder), told.get(pathOf(folder)) ?? [])
    },
    add({ folder, stem, receivedAt, letters, keywords }, octets) {
      const target = pathOf(folder)
      const file = `${stem}.eml`
      write(join(target, file), octets, receivedAt)
      told.get(target)?.push({ file, receivedAt, flags: [...flagsOf(letters), ...keywords] })
    },
    finish() {
      for (const [target, messages] of told)
        writeFileSync(join(target, "flags.json"), `${JSON.stringify(messages, null, 1)}\n`, { mode: 0o600 })
      staged.finish()
    },
    discard: staged.discard,
  }
}

/** A folder under another name until it is finished. An empty one that stands there already is taken over. */
function stagedFolder(path: string) {
  if (existsSync(path)) {
    const entries = created(path, () => readdirSync(path))
    if (entries.length > 0) throw exists(path)
  }
  const partial = `${path}${PARTIAL}`
  makePrivateFolder(dirname(partial))
  created(partial, () => mkdirSync(partial, { mode: 0o700 }))
  return {
    path: partial,
    finish() {
      syncFolder(partial)
      created(path, () => renameSync(partial, path))
      syncFolder(dirname(path))
    },
    discard: () => rmSync(partial, { recursive: true }),
  }
}

/** Folders whose names differ in unsafe characters only get paths that differ. */
function pathsOnce(pathOf: (folder: ExportedFolder) => string): (folder: ExportedFolder) => string {
  const paths = new Map<string, string>()
  return (folder) => {
    const known = paths.get(folder.name)
    if (known !== undefined) return known
    let path = pathOf(folder)
    while ([...paths.values()].includes(path)) path += "_"
    paths.set(folder.name, path)
    return path
  }
}

function write(path: string, octets: Uint8Array, modifiedAt: Date): void {
  writeFileSync(path, octets, { mode: 0o600, flag: "wx" })
  utimesSync(path, modifiedAt, modifiedAt)
}

/** Dovecot's letters a to z for the first 26 keywords of a folder, which `known` is told of; more have none. */
function keywordLetters(keywords: readonly string[], known: string[]): string {
  for (const keyword of keywords) if (!known.includes(keyword) && known.length < 26) known.push(keyword)
  const letters = keywords.map((keyword) => known.indexOf(keyword)).filter((at) => at >= 0)
  return String.fromCharCode(...letters.map((at) => "a".charCodeAt(0) + at))
}

/** What a server calls a mailbox is no path. */
function fileName(level: string, unsafe: RegExp): string {
  const name = level.replaceAll(/[\x00-\x1f\x7f]/g, "_").replaceAll(unsafe, "_")
  return name === "" ? "_" : name
}

/** Flags of RFC 9051 §2.3.2 as Maildir letters, and back. */
const LETTERS: Readonly<Record<string, string>> = {
  "\\Answered": "R",
  "\\Deleted": "T",
  "\\Draft": "D",
  "\\Flagged": "F",
  "\\Seen": "S",
}

/** Maildir letters of flags; keywords have none here. */
export function lettersFor(flags: readonly string[]): string {
  return flags.map((flag) => LETTERS[flag] ?? "").join("")
}

function flagsOf(letters: string): string[] {
  return Object.keys(LETTERS).filter((flag) => letters.includes(LETTERS[flag] ?? "-"))
}

function created<T>(path: string, make: () => T): T {
  try {
    return make()
  } catch (error) {
    const code = systemCode(error)
    if (code === "EEXIST" || code === "ENOTDIR" || code === "ENOTEMPTY") throw exists(path, error)
    throw error
  }
}

function exists(path: string, cause?: unknown): GatewayError {
  return new GatewayError("EXPORT_EXISTS", `export ${path}: is there already; nothing is overwritten`, { cause })
}

/** What a run that was killed leaves has this name: to be removed by who knows that it is of no use. */
const PARTIAL = ".partial"
