import { type Dirent, existsSync, readdirSync, statSync } from "node:fs"
import { join } from "node:path"
import type { Config } from "../config/config.ts"
import { GatewayError } from "../errors.ts"
import { systemCode } from "../store/durable.ts"
import { chosenBy, type FolderChoice } from "./folder-choice.ts"

/** A mailbox of the embedded store: one folder of a Maildir++. */
export interface StoredFolder {
  /** `INBOX`, `Sent`, `A.B`: as it stands on disk (modified UTF-7). */
  readonly name: string
  readonly path: string
}

/** Where one message lies. */
export interface StoredFile {
  readonly folder: StoredFolder
  readonly place: "new" | "cur"
  readonly name: string
}

/** A message met in a folder. */
export interface StoredMessage extends StoredFile {
  /** INTERNALDATE: the time of the file. */
  readonly modifiedAt: Date
  /** False for what is no regular file, and so no message. */
  readonly isFile: boolean
}

/**
 * The Maildir of an address (in its stored form) in the embedded store.
 * @throws GatewayError MAILBOX_UNKNOWN when nothing is stored for it here
 */
export function maildirOf(config: Pick<Config, "data" | "deliver">, address: string): string {
  const root = join(config.data, "mail")
  const folder = existsSync(root) ? readdirSync(root).find((name) => nameOf(name) === address) : undefined
  const maildir = folder === undefined ? null : join(root, folder, "Maildir")
  if (maildir !== null && existsSync(join(maildir, "cur"))) return maildir
  const elsewhere = config.deliver.kind === "embedded" ? "" : `; this instance delivers by ${config.deliver.kind}`
  throw new GatewayError("MAILBOX_UNKNOWN", `mailbox ${address}: nothing is stored for it in ${root}${elsewhere}`)
}

/** The folders of an address that the choice takes. @throws GatewayError MAILBOX_UNKNOWN */
export function chosenFolders(
  config: Pick<Config, "data" | "deliver">,
  address: string,
  choice: FolderChoice,
): StoredFolder[] {
  const folders = foldersOf(maildirOf(config, address))
  const isChosen = chosenBy(
    choice,
    folders.map(({ name }) => name),
    address,
  )
  return folders.filter(({ name }) => isChosen(name))
}

/** INBOX first, then the others by name. */
export function foldersOf(maildir: string): StoredFolder[] {
  const others = readdirSync(maildir, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && /^\.[^.]/.test(entry.name))
    .filter((entry) => existsSync(join(maildir, entry.name, "cur")))
    .map((entry) => ({ name: entry.name.slice(1), path: join(maildir, entry.name) }))
  return [{ name: "INBOX", path: maildir }, ...others.sort((a, b) => (a.name < b.name ? -1 : 1))]
}

/** The messages of a folder in the order in which they arrived. */
export function messagesOf(folder: StoredFolder): StoredMessage[] {
  const found = (["new", "cur"] as const).flatMap((place) =>
    entriesOf(join(folder.path, place)).flatMap((entry) => metIn(folder, place, entry)),
  )
  return found.sort(
    (a, b) =>
      secondsOf(a.name) - secondsOf(b.name) ||
      a.modifiedAt.getTime() - b.modifiedAt.getTime() ||
      (a.name < b.name ? -1 : 1),
  )
}

/** The file's name before its flags: never changes. */
export function baseOf(name: string): string {
  return name.split(":", 1)[0] ?? name
}

/** Maildir flag letters, `FRS`. */
export function lettersOf(name: string): string {
  const at = name.indexOf(":2,")
  return at < 0 ? "" : (name.slice(at + 3).split(",", 1)[0] ?? "")
}

/** When the file was delivered, as its name says, in seconds; 0 when it does not. */
export function secondsOf(name: string): number {
  return Number.parseInt(name, 10) || 0
}

/** The file of this base as it is called now: flags change its name. @returns null when there is none (any more) */
export function findFile(folder: StoredFolder, isWanted: (name: string) => boolean): StoredFile | null {
  // cur/ last: messages move from new/ to cur/.
  for (const place of ["new", "cur"] as const) {
    const entry = entriesOf(join(folder.path, place)).find(({ name }) => isWanted(name))
    if (entry) return { folder, place, name: entry.name }
  }
  return null
}

/**
 * Runs `act` on the file of a message, found again when somebody renames it meanwhile.
 * @returns null when the message was expunged
 */
export async function onFile<T>(message: StoredFile, act: (file: StoredFile) => Promise<T>): Promise<T | null> {
  let file: StoredFile | null = message
  for (let attempt = 0; file !== null && attempt < MAX_RENAMES; attempt++) {
    try {
      return await act(file)
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error
      file = findFile(message.folder, (name) => baseOf(name) === baseOf(message.name))
    }
  }
  return null
}

export function pathOf({ folder, place, name }: StoredFile): string {
  return join(folder.path, place, name)
}

/** How a message is called in reports: where its owner finds it. */
export function labelOf({ folder, place, name }: StoredFile): string {
  return `${folder.name} ${place}/${name}`
}

/** Nobody changes flags faster than we look. */
const MAX_RENAMES = 10

function entriesOf(path: string): Dirent[] {
  return existsSync(path) ? readdirSync(path, { withFileTypes: true }).filter(({ name }) => !name.startsWith(".")) : []
}

function metIn(folder: StoredFolder, place: "new" | "cur", entry: Dirent): StoredMessage[] {
  const stat = statSync(join(folder.path, place, entry.name), { throwIfNoEntry: false })
  // Moved or expunged since the folder was read: not ours to tell of.
  if (stat === undefined && !entry.isSymbolicLink()) return []
  const isFile = entry.isFile()
  return [{ folder, place, name: entry.name, modifiedAt: stat?.mtime ?? new Date(0), isFile }]
}

/** The address that a folder's name stands for (contract: path-unsafe characters are %XX), or null. */
function nameOf(folder: string): string | null {
  try {
    return decodeURIComponent(folder)
  } catch {
    // No name that we gave.
    return null
  }
}
