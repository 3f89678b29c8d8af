import { resolve } from "node:path"
import type { Command } from "commander"
import { findConfig, loadConfig } from "../config/load.ts"
import { Keyring } from "../identity/keyring.ts"
import { askNewPassphrase, askPassphrase, givenPassphrase, type PassphraseOptions } from "./passphrase.ts"
import { type CommonOptions, warn } from "./shell.ts"

/** Options of commands that open the keyring. */
export interface KeyringOptions extends PassphraseOptions {
  readonly keyring?: string
  readonly offline?: string
}

/** Adds the options of commands that change something with the keyring. */
export function withKeyringOptions(command: Command): Command {
  return withReadKeyringOptions(command).option(
    "--offline <file>",
    'write the signed request to this file instead of applying it; "postern accept" applies it',
  )
}

/** The same of those that only read it. */
export function withReadKeyringOptions(command: Command): Command {
  return command
    .option("--keyring <folder>", "where people's secrets are (default: keyring of the instance, else ./keyring)")
    .option("--passphrase-file <file>", "file with the keyring's passphrase (also POSTERN_PASSPHRASE_FILE)")
}

/** The keyring, opened for this address: asks for its passphrase where it needs one and a terminal is there. */
export async function openKeyring(options: KeyringOptions & CommonOptions, address: string): Promise<Keyring> {
  const folder = folderOf(options)
  const given = givenPassphrase(options)
  if (given !== null) return new Keyring(folder, given)
  const locked = keyringHere(options)
  if (locked.isSealed(address))
    return new Keyring(folder, await askPassphrase(`Passphrase of the keyring of ${address}`))
  if (!locked.has(address)) return new Keyring(folder, await askNewPassphrase())
  return locked
}

/** The keyring without its passphrase: it tells whose keys are in it. */
export function keyringHere(options: KeyringOptions & CommonOptions): Keyring {
  return new Keyring(folderOf(options), null)
}

/** Says aloud that secrets lie open. */
export function warnUnsealed(keyring: Keyring, address: string): void {
  if (keyring.isSealed(address)) return
  warn(`keyring ${keyring.pathOf(address)} is not sealed; give a passphrase with --passphrase-file`)
}

function folderOf(options: KeyringOptions & CommonOptions): string {
  if (options.keyring !== undefined) return resolve(options.keyring)
  // The machine with the keyring need not have an instance.
  if (options.config === undefined && findConfig(null, process.cwd()) === null) return resolve("keyring")
  return loadConfig(options.config ?? null, process.cwd()).keyring
}
