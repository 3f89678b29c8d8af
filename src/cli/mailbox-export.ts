import { readFile } from "node:fs/promises"
import { resolve } from "node:path"
import type { Config } from "../config/config.ts"
import { Keyring } from "../identity/keyring.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import { type ExportedFolder, type ExportFile, type ExportFormat, exportTo } from "./export-file.ts"
import type { FolderChoice } from "./folder-choice.ts"
import { type OpeningKeys, openingKeysOf, openMessage } from "./open-message.ts"
import { askPassphrase, givenPassphrase, type PassphraseOptions } from "./passphrase.ts"
import { Progress } from "./progress.ts"
import { exportStore } from "./remote-export.ts"
import { type CommonOptions, configOf, print, printJson, type Starters } from "./shell.ts"
import {
  baseOf,
  chosenFolders,
  labelOf,
  lettersOf,
  messagesOf,
  onFile,
  pathOf,
  type StoredFolder,
  type StoredMessage,
} from "./stored-mail.ts"

/** Options of `postern mailbox export`. */
export interface ExportOptions extends CommonOptions, PassphraseOptions, FolderChoice {
  readonly out: string
  readonly format: ExportFormat
  readonly keyring?: string
}

/** What became of the messages of an export. */
export interface Exported {
  readonly exported: number
  /** Written with nothing left encrypted. */
  readonly opened: number
  readonly clear: number
  /** Written as they are stored, or not at all: what cannot be read. */
  readonly failed: readonly object[]
}

/** Writes an account's stored mail in clear. @returns false when a message could not be opened */
export async function exportMailbox(
  written: string,
  options: ExportOptions,
  { remoteStore }: Pick<Starters, "remoteStore">,
): Promise<boolean> {
  const address = addressKey(parseAddress(written))
  const config = configOf(options)
  const folders = config.imap.kind === "embedded" ? chosenFolders(config, address, options) : null
  const keys = openingKeysOf(await (await keyringOf(config, address, options)).open(address))
  const out = resolve(options.out)
  const target = exportTo(out, options.format)
  try {
    const done =
      folders === null
        ? await exportStore(await remoteStore(config, address), { ...options, address, keys, target })
        : await exportFolders(folders, keys, target)
    target.finish()
    if (options.json) printJson({ address, format: options.format, out, ...done })
    else {
      const { opened, clear, failed } = done
      print(`mailbox ${address}: ${done.exported} messages written to ${out} (${options.format}), in clear`)
      print(`${opened} opened, ${clear} stored in clear, ${failed.length} failed`)
    }
    return done.failed.length === 0
  } catch (error) {
    target.discard()
    throw error
  }
}

async function exportFolders(
  folders: readonly StoredFolder[],
  keys: OpeningKeys,
  target: ExportFile,
): Promise<Exported> {
  for (const folder of folders) target.folder(exportedFolder(folder))
  const messages = folders.flatMap(messagesOf)
  using progress = new Progress("messages", messages.length)
  const failed: object[] = []
  const counts = { exported: 0, opened: 0, clear: 0 }
  for (const message of messages) {
    const octets = await octetsOf(message)
    const readable = octets && (await openMessage(octets, keys))
    if (readable) {
      target.add(exportedMessage(message), readable.octets)
      counts.exported += 1
      if (readable.failures.length === 0) counts[readable.opened > 0 ? "opened" : "clear"] += 1
    }
    const failures = message.isFile ? (readable?.failures ?? []) : ["is no file"]
    if (failures.length > 0) {
      const reason = failures.join("; ")
      failed.push({ folder: message.folder.name, file: message.name, reason })
      progress.report(`${labelOf(message)}: ${reason}`)
    }
    progress.step()
  }
  return { ...counts, failed }
}

function exportedMessage({ folder, place, name, modifiedAt }: StoredMessage) {
  return {
    folder: exportedFolder(folder),
    receivedAt: modifiedAt,
    isNew: place === "new",
    letters: lettersOf(name),
    keywords: [],
    // The sizes that the name tells are of the message as it was stored.
    stem: baseOf(name).replaceAll(/,[SW]=\d+/g, ""),
  }
}

function exportedFolder({ name }: StoredFolder): ExportedFolder {
  const levels = name.split(".")
  return { name, levels, wireLevels: levels }
}

/** @returns null when the message was expunged meanwhile, or is no file */
async function octetsOf(message: StoredMessage): Promise<Uint8Array | null> {
  return message.isFile ? onFile(message, (file) => readFile(pathOf(file))) : null
}

/** The keyring with its passphrase, asked for where it needs one and a terminal is there. */
async function keyringOf(config: Config, address: string, options: ExportOptions): Promise<Keyring> {
  const folder = options.keyring === undefined ? config.keyring : resolve(options.keyring)
  const keyring = new Keyring(folder, givenPassphrase(options))
  if (!keyring.isSealed(address) || givenPassphrase(options) !== null) return keyring
  return new Keyring(folder, await askPassphrase(`Passphrase of the keyring of ${address}`))
}
