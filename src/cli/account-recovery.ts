import { resolve } from "node:path"
import { type Command, InvalidArgumentError } from "commander"
import { findConfig } from "../config/load.ts"
import { readCertificate } from "../crypto/cms/certificate.ts"
import { GatewayError } from "../errors.ts"
import { additionOf } from "../identity/account.ts"
import { recoveryShares, restorePerson } from "../identity/escrow.ts"
import type { Keyring } from "../identity/keyring.ts"
import { connectedTo, hasMeshName } from "../identity/mesh-account.ts"
import type { Person } from "../identity/person.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import { writeDurably } from "../store/durable.ts"
import type { Account } from "../store/people.ts"
import { udfOf } from "./account-mesh.ts"
import { making } from "./change.ts"
import { readGiven, readGivenText } from "./given-file.ts"
import {
  type KeyringOptions,
  openKeyring,
  warnUnsealed,
  withKeyringOptions,
  withReadKeyringOptions,
} from "./keyring.ts"
import { type GatewayOptions, gatewayOf, withGatewayOption } from "./mesh-gateway.ts"
import { askPassphrase } from "./passphrase.ts"
import { type CommonOptions, openInstance, optionsOf, print, printJson } from "./shell.ts"
import { printOffline, submit } from "./submit.ts"

interface RecoveryOptions extends CommonOptions, KeyringOptions {
  readonly shares: number
  readonly threshold: number
}

interface RestoreOptions extends CommonOptions, KeyringOptions, GatewayOptions {
  readonly shares?: readonly string[]
  readonly escrow?: string
}

/** `postern account recovery`, `escrow` and `restore`. */
export function registerRecovery(account: Command): void {
  withReadKeyringOptions(account.command("recovery <address>"))
    .description("Print shares of the account's seed: enough of them make the keyring again, fewer say nothing.")
    .option("--shares <count>", "how many, 1 to 16", readCount, 3)
    .option("--threshold <count>", "how many of them are needed, 1 to 15, no more than there are", readCount, 2)
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, command: Command) => recovery(address, optionsOf(command)))
  account
    .command("escrow <address> <file>")
    .description("Write what this server keeps of the account's keyring to a file. Only shares of its seed open it.")
    .option("--json", "one JSON value on stdout")
    .action((address: string, file: string, _options: unknown, command: Command) =>
      escrow(address, file, optionsOf(command)),
    )
  withGatewayOption(withKeyringOptions(account.command("restore <address>")))
    .description("Make the keyring of an account again, and the account where the server has lost it.")
    .option("--shares <files...>", "files with shares, one a line (default: they are asked for)")
    .option("--escrow <file>", "what postern account escrow has written (default: what this server keeps)")
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, command: Command) => restore(address, optionsOf(command)))
}

async function recovery(written: string, options: RecoveryOptions): Promise<void> {
  const address = addressKey(parseAddress(written))
  const person = await (await openKeyring(options, address)).open(address)
  if (!hasMeshName(person))
    throw new GatewayError("USAGE", `account ${address}: has no seed that shares could be of yet: postern account mesh`)
  const shares = recoveryShares(person, options.threshold, options.shares, making())
  if (options.json) printJson({ address, mesh: udfOf(person), threshold: options.threshold, shares })
  else for (const share of shares) print(share)
}

function escrow(written: string, file: string, options: CommonOptions): void {
  const address = addressKey(parseAddress(written))
  writeDurably(resolve(file), keptEscrow(address, options))
  if (options.json) printJson({ address, file })
  else print(`wrote ${file}`)
}

async function restore(written: string, options: RestoreOptions): Promise<void> {
  const address = addressKey(parseAddress(written))
  const keyring = await openKeyring(options, address)
  if (keyring.has(address))
    throw new GatewayError(
      "ACCOUNT_EXISTS",
      `account ${address}: the keyring has keys of it; move ${keyring.pathOf(address)} away to make them again`,
    )
  const kept =
    options.escrow === undefined ? keptEscrow(address, options) : readGiven(options.escrow, "REQUEST_INVALID")
  const person = restorePerson(address, await sharesOf(options, address), kept)
  const { devices, isAdded } = await take(person, keyring, options)
  warnUnsealed(keyring, address)
  if (options.json) {
    printJson({ address, mesh: udfOf(person), devices, isAdded })
    return
  }
  print(`account ${address}: keyring restored, ${keyring.pathOf(address)}`)
  print(isAdded ? "the account is made anew; its devices have to be" : `${devices} devices in it`)
  if (isAdded) printOffline(options)
}

/** The keyring gets what was restored, and a server that has no such account gets the account. */
async function take(
  person: Person,
  keyring: Keyring,
  options: RestoreOptions,
): Promise<{ readonly devices: number; readonly isAdded: boolean }> {
  const known = options.offline === undefined && isInstanceHere(options) ? knownHere(person, options) : null
  const isAdded = options.offline !== undefined || known === "nobody"
  if (!isAdded) {
    await keyring.save(person)
    return { devices: person.devices.length, isAdded }
  }
  const anew = withoutDevices(person, options)
  await submit(options, keyring, null, { person: anew, request: additionOf(anew, making()) })
  return { devices: 0, isAdded }
}

/** The account at this server is the one that was restored, with no key that the keyring lacks. */
function knownHere(person: Person, options: CommonOptions): "somebody" | "nobody" {
  using instance = openInstance(options)
  const account = instance.people.account(person.address)
  if (account === null) return "nobody"
  if (!hasSameRoot(account, person))
    throw new GatewayError(
      "ACCOUNT_EXISTS",
      `account ${person.address}: is another one here, with another personal root`,
    )
  const own = [...person.smime, ...(person.openpgp?.keys ?? [])].map(({ id }) => id)
  const missing = account.keys.filter(({ id }) => !own.includes(id))
  if (missing.length > 0)
    throw new GatewayError(
      "REQUEST_INVALID",
      `escrow of ${person.address}: is older than key ${missing[0]?.id} of the account`,
    )
  return "somebody"
}

function hasSameRoot(account: Account, { root }: Person): boolean {
  const [theirs, ours] = [account.root, root.certificate].map((der) => readCertificate(der).subjectPublicKeyInfo)
  return theirs !== undefined && ours !== undefined && Buffer.compare(theirs, ours) === 0
}

/** A server that has lost the account has lost the halves of its devices' keys. The gateway may be another, too; an account that had left stays away. */
function withoutDevices(person: Person, options: RestoreOptions): Person {
  const gateway = gatewayOf(options)
  const { address, mesh } = person
  const isMoved = mesh !== null && mesh.gateway !== null && gateway !== null
  const connected = isMoved ? connectedTo(gateway, address, mesh, making()) : mesh
  return { ...person, devices: [], mesh: connected }
}

function keptEscrow(address: string, options: CommonOptions): Uint8Array {
  using instance = openInstance(options)
  const kept = instance.meshAccounts.escrow(address)
  if (kept === null)
    throw new GatewayError("ACCOUNT_UNKNOWN", `account ${address}: this server keeps nothing of its keyring`)
  return kept
}

/** One a line, in files or typed. */
async function sharesOf({ shares: files }: RestoreOptions, address: string): Promise<readonly string[]> {
  if (files !== undefined)
    return files.flatMap((file) =>
      readGivenText(file, "REQUEST_INVALID")
        .split(/\s+/)
        .filter((line) => line !== ""),
    )
  const typed: string[] = []
  for (;;) {
    const share = await askPassphrase(`Share ${typed.length + 1} of the seed of ${address} (empty: no more)`)
    if (share === null) return typed
    typed.push(share.trim())
  }
}

/** The machine with the keyring need not have one. */
function isInstanceHere({ config }: CommonOptions): boolean {
  return config !== undefined || findConfig(null, process.cwd()) !== null
}

function readCount(text: string): number {
  if (!/^\d{1,2}$/.test(text)) throw new InvalidArgumentError("must be a number")
  return Number(text)
}
