import { resolve } from "node:path"
import { type Command, Option } from "commander"
import { GatewayError } from "../errors.ts"
import {
  certifyGatewayKey,
  formatKeyToCertify,
  gatewayKeyFingerprint,
  type KeyToCertify,
  type MadeGatewayKey,
  makeOpenPgpGatewayKey,
  makeSmimeGatewayKey,
  readKeyToCertify,
  removeGatewayKey,
} from "../identity/gateway-key.ts"
import type { Person } from "../identity/person.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import type { Account, Format } from "../store/account.ts"
import { writeDurably } from "../store/durable.ts"
import type { GatewayKey } from "../store/gateway-keys.ts"
import { knownAccount, making } from "./change.ts"
import { gatewayKeyView, stateText } from "./gateway-key-view.ts"
import { mustBeWritable, readGivenText } from "./given-file.ts"
import { type KeyringOptions, keyringHere, openKeyring, warnUnsealed, withKeyringOptions } from "./keyring.ts"
import { type CommonOptions, openInstance, optionsOf, print, printJson, warn } from "./shell.ts"
import { printOffline, submit } from "./submit.ts"

const STEPS = `
The server makes the key and keeps it; its owner certifies it with the keyring. Nothing secret goes either way.
  keyring on the server:  gateway-key add ADDRESS
  keyring elsewhere:      gateway-key add ADDRESS --request FILE     on the server
                          gateway-key certify FILE --offline REPLY   where the keyring is; compare the fingerprints
                          accept REPLY                               on the server
Before it ends:           the same again; the new key takes the old one's place
It signs where policy says so (sign = "prefer" or "require").`

interface ChangeOptions extends CommonOptions, KeyringOptions {}

/** `postern gateway-key`. */
export function registerGatewayKey(program: Command): void {
  const command = program
    .command("gateway-key")
    .description("Keys with which this gateway signs for an account, where policy asks for it.")
    .addHelpText("after", STEPS)
  withKeyringOptions(command.command("add <address>"))
    .description("Make a key here, and have it certified by the account's keyring.")
    .addOption(
      new Option("--format <format>", "of the account's formats (default: the first)").choices(["smime", "openpgp"]),
    )
    .option("--request <file>", "only make it, and write what is to be certified to this file")
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, child: Command) => add(address, optionsOf(child)))
  withKeyringOptions(command.command("certify <file>"))
    .description("Certify a key that a server has made, where the keyring is.")
    .option("--json", "one JSON value on stdout")
    .action((file: string, _options: unknown, child: Command) => certify(file, optionsOf(child)))
  command
    .command("list [address]")
    .description("All gateway keys, or those of an account, and what they are doing.")
    .option("--json", "one JSON value on stdout")
    .action((address: string | undefined, _options: unknown, child: Command) => list(address, optionsOf(child)))
  withKeyringOptions(command.command("remove <address> <id>"))
    .description(
      "Destroy a key, and revoke an OpenPGP one where the keyring is here. What it has signed stays signed; mail that must be signed waits for another.",
    )
    .option("--lost", "others may have it: of an OpenPGP key nothing is to be believed any more", false)
    .option("--json", "one JSON value on stdout")
    .action((address: string, id: string, _options: unknown, child: Command) => remove(address, id, optionsOf(child)))
}

interface RemoveOptions extends ChangeOptions {
  readonly lost: boolean
}

interface AddOptions extends ChangeOptions {
  readonly format?: Format
  readonly request?: string
}

async function add(written: string, options: AddOptions): Promise<void> {
  if (options.offline !== undefined)
    throw new GatewayError("USAGE", "gateway-key add: a key is made on its server: --request FILE there, then certify")
  const address = addressKey(parseAddress(written))
  if (options.request !== undefined) {
    mustBeWritable(options.request)
    const key = await make(address, options)
    writeDurably(resolve(options.request), new TextEncoder().encode(formatKeyToCertify(key)))
    if (options.json) printJson({ ...describe(key), request: options.request })
    else {
      printMade(key)
      print(`where the keyring is: postern gateway-key certify ${options.request} --offline REPLY`)
    }
    return
  }
  // Opened first: a key that nobody can certify would only lie about.
  const keyring = await openKeyring(options, address)
  const person = await keyring.open(address)
  const key = await make(address, options)
  await submit(options, keyring, person, await certifyGatewayKey(person, key, making()))
  warnUnsealed(keyring, address)
  if (options.json) printJson(describe(key))
  else {
    printMade(key)
    print(`it signs for ${address} where policy says so (sign)`)
  }
}

async function make(address: string, options: AddOptions): Promise<KeyToCertify> {
  using instance = openInstance(options)
  const account = knownAccount(instance.people.account(address), address)
  const { key, secret } = await makeOf(account, options.format ?? account.formats[0] ?? "smime")
  const { id, format, publicKey } = key
  instance.gatewayKeys.add({ account: address, id, format, publicKey, madeAt: new Date() }, secret)
  secret.fill(0)
  return key
}

async function makeOf({ address, formats, keys }: Account, format: Format): Promise<MadeGatewayKey> {
  if (!formats.includes(format)) throw new GatewayError("USAGE", `account ${address}: has no ${format}`)
  const certificate = keys.find((key) => key.format === "openpgp" && key.current)?.certificate ?? new Uint8Array(0)
  return format === "smime"
    ? makeSmimeGatewayKey(address, making())
    : makeOpenPgpGatewayKey(address, certificate, making())
}

async function certify(file: string, options: ChangeOptions): Promise<void> {
  const key = readKeyToCertify(readGivenText(file, "REQUEST_INVALID"))
  const { keyring, person } = await opened(key.address, options)
  await submit(options, keyring, person, await certifyGatewayKey(person, key, making()))
  warnUnsealed(keyring, key.address)
  if (options.json) {
    printJson(describe(key))
    return
  }
  print(`gateway key ${key.id} of ${key.address}: certified, ${key.format}`)
  print(`fingerprint: ${gatewayKeyFingerprint(key)}; it must be the one that the server printed`)
  printOffline(options)
}

function list(written: string | undefined, options: CommonOptions): void {
  using instance = openInstance(options)
  const { people, gatewayKeys } = instance
  const accounts = written === undefined ? people.accounts() : [knownAccount(people.account(written), written)]
  const views = accounts.flatMap((account) =>
    gatewayKeys.of(account.address).map((key) => gatewayKeyView(key, account)),
  )
  if (options.json) {
    printJson(views)
    return
  }
  if (views.length === 0) print("no keys: mail leaves unsigned, or is held where policy says that it must be signed")
  for (const view of views) print([view.account, view.format, view.id, stateText(view)].join("\t"))
}

async function remove(written: string, id: string, options: RemoveOptions): Promise<void> {
  const address = addressKey(parseAddress(written))
  if (options.offline !== undefined) {
    await revoke(address, id, options)
    printOffline(options)
    return
  }
  const removed = destroy(address, id, options)
  // What nobody has certified stands in no certificate.
  if (removed.format !== "openpgp" || removed.certificate === null) return
  if (keyringHere(options).has(address)) {
    await revoke(address, id, options)
    if (!options.json) print("its subkey is revoked in the certificate; who has it from a keyserver: profile publish")
    return
  }
  const lost = options.lost ? " --lost" : ""
  warn(
    `its subkey is still in the certificate: where the keyring is, gateway-key remove ${address} ${id}${lost} --offline FILE, then accept FILE`,
  )
}

/** First of all, and without its owner: it must not sign any more. */
function destroy(address: string, id: string, options: RemoveOptions): GatewayKey {
  using instance = openInstance(options)
  const account = knownAccount(instance.people.account(address), address)
  const removed = instance.gatewayKeys.remove(address, id)
  if (options.json) printJson(gatewayKeyView(removed, account))
  else print(`gateway key ${id} of ${address}: destroyed`)
  return removed
}

/** The account's primary key says that the subkey counts no more; that is published like every change of the certificate. */
async function revoke(address: string, id: string, options: RemoveOptions): Promise<void> {
  const { keyring, person } = await opened(address, options)
  const why = options.lost ? "compromised" : "retired"
  await submit(options, keyring, person, await removeGatewayKey(person, id, why, making()))
}

async function opened(address: string, options: ChangeOptions) {
  const keyring = await openKeyring(options, address)
  const person: Person = await keyring.open(address)
  return { keyring, person }
}

function describe(key: KeyToCertify) {
  return { address: key.address, id: key.id, format: key.format, fingerprint: gatewayKeyFingerprint(key) }
}

function printMade(key: KeyToCertify): void {
  print(`gateway key ${key.id} of ${key.address}: made, ${key.format}`)
  print(`fingerprint: ${gatewayKeyFingerprint(key)}`)
}
