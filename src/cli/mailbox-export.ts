import { readFile } from "node:fs/promises"
import { resolve } from "node:path"
import type { Config } from "../config/config.ts"
import { GatewayError } from "../errors.ts"
import { Keyring } from "../identity/keyring.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import { type ExportFile, maildirFolder, mboxFile } from "./export-file.ts"
import { type OpeningKeys, openingKeysOf, openMessage } from "./open-message.ts"
import { askPassphrase, givenPassphrase, type PassphraseOptions } from "./passphrase.ts"
import { Progress } from "./progress.ts"
import { type CommonOptions, configOf, print, printJson } from "./shell.ts"
import { foldersOf, labelOf, maildirOf, messagesOf, onFile, pathOf, type StoredMessage } from "./stored-mail.ts"

/** Options of `postern mailbox export`. */
export interface ExportOptions extends CommonOptions, PassphraseOptions {
  readonly out: string
  readonly format: "mbox" | "maildir"
  readonly folder?: string
  readonly keyring?: string
}

/** A message that was written as it is stored, or not at all when it is no file. */
interface Failure {
  readonly folder: string
  readonly file: string
  readonly reason: string
}

/** Writes an account's stored mail in clear. @returns false when a message could not be opened */
export async function exportMailbox(written: string, options: ExportOptions): Promise<boolean> {
  const address = addressKey(parseAddress(written))
  const config = configOf(options)
  const folders = wantedFolders(config, address, options.folder)
  const keys = openingKeysOf(await (await keyringOf(config, address, options)).open(address))
  const out = resolve(options.out)
  const target = options.format === "mbox" ? mboxFile(out) : maildirFolder(out)
  try {
    for (const { name } of folders) target.folder(name)
    const messages = folders.flatMap(messagesOf)
    const done = await writeAll(messages, keys, target)
    target.finish()
    if (options.json) printJson({ address, format: options.format, out, ...done })
    else {
      const { opened, clear, failed } = done
      print(`mailbox ${address}: ${done.exported} messages written to ${out} (${options.format}), readable by anybody`)
      print(`${opened} opened, ${clear} stored in clear, ${failed.length} failed`)
    }
    return done.failed.length === 0
  } catch (error) {
    target.discard()
    throw error
  }
}

async function writeAll(messages: readonly StoredMessage[], keys: OpeningKeys, target: ExportFile) {
  using progress = new Progress("messages", messages.length)
  const failed: Failure[] = []
  const counts = { exported: 0, opened: 0, clear: 0 }
  for (const message of messages) {
    const octets = await octetsOf(message)
    const readable = octets && (await openMessage(octets, keys))
    if (readable) {
      target.add(message, readable.octets)
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

/** @returns null when the message was expunged meanwhile, or is no file */
async function octetsOf(message: StoredMessage): Promise<Uint8Array | null> {
  return message.isFile ? onFile(message, (file) => readFile(pathOf(file))) : null
}

function wantedFolders(config: Config, address: string, wanted: string | undefined) {
  const folders = foldersOf(maildirOf(config, address))
  if (wanted === undefined) return folders
  const found = folders.filter(({ name }) => name === wanted)
  if (found.length > 0) return found
  const names = folders.map(({ name }) => name).join(", ")
  throw new GatewayError("MAILBOX_UNKNOWN", `mailbox ${address}: has no folder ${wanted}; there are ${names}`)
}

/** The keyring with its passphrase, asked for where it needs one and a terminal is there. */
async function keyringOf(config: Config, address: string, options: ExportOptions): Promise<Keyring> {
  const folder = options.keyring === undefined ? config.keyring : resolve(options.keyring)
  const keyring = new Keyring(folder, givenPassphrase(options))
  if (!keyring.isSealed(address) || givenPassphrase(options) !== null) return keyring
  return new Keyring(folder, await askPassphrase(`Passphrase of the keyring of ${address}`))
}
