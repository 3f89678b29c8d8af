import { type Command, InvalidArgumentError } from "commander"
import { readCertificate } from "../crypto/cms/certificate.ts"
import { pemEncode } from "../crypto/cms/pem.ts"
import { armor } from "../crypto/openpgp/armor.ts"
import { p256PublicPoint } from "../crypto/primitives/p256.ts"
import { GatewayError } from "../errors.ts"
import { makeAccount, rekeyAccount, renewAccount, requestOf } from "../identity/account.ts"
import { keyFingerprint } from "../identity/fingerprint.ts"
import type { Person } from "../identity/person.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import type { Account, Format } from "../store/people.ts"
import { meshText, meshView, registerMesh, udfOf } from "./account-mesh.ts"
import { registerRecovery } from "./account-recovery.ts"
import { changed, knownAccount, making } from "./change.ts"
import { confirmChange } from "./confirm.ts"
import { prepareFolder, writeOpenPgpFiles } from "./device-folder.ts"
import { gatewayKeyView, stateText } from "./gateway-key-view.ts"
import { type KeyringOptions, openKeyring, warnUnsealed, withKeyringOptions } from "./keyring.ts"
import { type GatewayOptions, gatewayOf, withGatewayOption } from "./mesh-gateway.ts"
import { type CommonOptions, openInstance, optionsOf, print, printJson } from "./shell.ts"
import { printOffline, submit, whenOnline } from "./submit.ts"

type ChangeOptions = CommonOptions & KeyringOptions
type MakingOptions = ChangeOptions & GatewayOptions

/** `postern account`. */
export function registerAccount(program: Command): void {
  const account = program.command("account").description("The people who get mail here.")
  withGatewayOption(withKeyringOptions(account.command("add <address>")))
    .description("Make an account: its personal root, its keys, its profile, and its profile in the Mesh.")
    .option("--format <formats>", "smime, openpgp, or both; the first is used for arriving mail", readFormats, [
      "smime",
    ])
    .option("--name <name>", "display name", "")
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, command: Command) => add(address, optionsOf(command)))
  account
    .command("list")
    .description("All accounts.")
    .option("--json", "one JSON value on stdout")
    .action((_options: unknown, command: Command) => list(optionsOf(command)))
  account
    .command("show <address>")
    .description("One account with its public certificates.")
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, command: Command) => show(address, optionsOf(command)))
  withKeyringOptions(account.command("remove <address>"))
    .description("Remove an account with its devices. Stored mail and the keyring are not touched.")
    .action((address: string, _options: unknown, command: Command) => remove(address, optionsOf(command)))
  withKeyringOptions(account.command("rekey <address>"))
    .description("Make new account keys; old mail stays readable. OpenPGP devices get new files.")
    .option("--out <folder>", "where the devices' new NAME.asc are written", ".")
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, command: Command) => rekey(address, optionsOf(command)))
  withGatewayOption(withKeyringOptions(account.command("renew <address>")))
    .description("Make new certificates for the same keys, and connect this gateway in the Mesh anew.")
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, command: Command) => renew(address, optionsOf(command)))
  registerMesh(account)
  registerRecovery(account)
}

async function add(
  written: string,
  options: MakingOptions & { readonly format: readonly Format[]; readonly name: string },
): Promise<void> {
  const address = addressKey(parseAddress(written))
  await whenOnline(options, ({ people }) => {
    if (people.account(address) !== null) throw new GatewayError("ACCOUNT_EXISTS", `account ${address}: exists already`)
    const { kind } = people.resolve(parseAddress(address))
    if (kind === "foreign")
      throw new GatewayError("ACCOUNT_UNKNOWN", `account ${address}: its domain is not one of this gateway`)
  })
  const keyring = await openKeyring(options, address)
  if (keyring.has(address))
    throw new GatewayError(
      "ACCOUNT_EXISTS",
      `account ${address}: the keyring has keys of it; move ${keyring.pathOf(address)} away to make new ones`,
    )
  const gateway = gatewayOf(options)
  const account = { address, name: options.name, formats: options.format, ...(gateway && { gateway }) }
  const made = await makeAccount(account, making())
  await submit(options, keyring, null, made)
  warnUnsealed(keyring, address)
  const fingerprint = fingerprintOf(made.person)
  if (options.json) {
    printJson({ address, name: made.person.name, formats: options.format, fingerprint, mesh: udfOf(made.person) })
    return
  }
  print(`account ${address}: made, ${options.format.join(" and ")}`)
  print(`fingerprint of the personal root: ${fingerprint}`)
  print(`secrets: ${keyring.pathOf(address)}`)
  if (made.person.mesh === null) print("no part in the Mesh yet: postern account mesh, with --gateway")
  printOffline(options)
}

function list(options: CommonOptions): void {
  using instance = openInstance(options)
  const accounts = instance.people.accounts().map((account) => ({
    address: account.address,
    name: account.name,
    formats: account.formats,
    devices: instance.people.devices(account.address).filter((device) => device.revokedAt === null).length,
    addedAt: account.addedAt.toISOString(),
  }))
  if (options.json) {
    printJson(accounts)
    return
  }
  for (const { address, name, formats, devices } of accounts)
    print(`${address}\t${name}\t${formats.join(",")}\t${devices} device${devices === 1 ? "" : "s"}`)
}

function show(written: string, options: CommonOptions): void {
  using instance = openInstance(options)
  const account = knownAccount(instance.people.account(written), written)
  const gatewayKeys = instance.gatewayKeys.of(account.address).map((key) => gatewayKeyView(key, account))
  const value = {
    ...accountView(account),
    gatewayKeys,
    mesh: meshView(instance.meshAccounts.publishedOf(account.address)),
  }
  if (options.json) {
    printJson(value)
    return
  }
  print(`${account.address}  ${account.name}`)
  print(`formats: ${account.formats.join(", ")}; fingerprint of the personal root: ${value.fingerprint}`)
  if (value.mesh !== null) print(`Mesh: ${meshText(value.mesh)}`)
  for (const key of value.keys)
    print(
      `${key.format} key ${key.id}${key.current ? "" : " (old)"}, since ${key.addedAt}${key.notAfter === null ? "" : `, certificate until ${key.notAfter}`}`,
    )
  for (const key of gatewayKeys) print(`${key.format} gateway key ${key.id}, signs for it here: ${stateText(key)}`)
  for (const text of Object.values(value.certificates)) print(text.trimEnd())
}

async function remove(written: string, options: ChangeOptions): Promise<void> {
  const address = addressKey(parseAddress(written))
  if (options.offline !== undefined) {
    const keyring = await openKeyring(options, address)
    const person = await keyring.open(address)
    await submit(options, keyring, person, { person, request: requestOf(person, { kind: "account-remove" }, making()) })
    printOffline(options)
    return
  }
  using instance = openInstance(options)
  instance.people.removeAccount(address)
  instance.gatewayKeys.removeAll(address)
  await confirmChange(instance)
  print(`account ${address}: removed; stored mail and keyring are still there`)
}

async function rekey(written: string, options: ChangeOptions & { readonly out: string }): Promise<void> {
  const made = await changed(written, options, (person, how) => {
    if (person.openpgp !== null) prepareFolder(options.out)
    return rekeyAccount(person, how)
  })
  // Only OpenPGP devices hold something of the account's key: a secret of their own for each of its subkeys.
  const files = made.person.openpgp === null ? [] : writeOpenPgpFiles(made.person, options.out)
  if (options.json) {
    printJson({ address: made.person.address, keys: currentIds(made.person), files })
    return
  }
  print(`account ${made.person.address}: new keys ${currentIds(made.person).join(", ")}`)
  for (const file of files) print(`wrote ${file}: import it on the device, after deleting the old one there`)
  printOffline(options)
}

async function renew(written: string, options: MakingOptions): Promise<void> {
  const made = await changed(written, options, (person, how) => renewAccount(person, how, gatewayOf(options)))
  const until = readCertificate(made.person.intermediate.certificate).notAfter.toISOString()
  if (options.json) {
    printJson({ address: made.person.address, notAfter: until })
    return
  }
  print(`account ${made.person.address}: certificates renewed until ${until}`)
  printOffline(options)
}

/** An account as `--json` shows it; everything in it is public. */
function accountView(account: Account) {
  const { point } = readCertificate(account.root)
  return {
    address: account.address,
    name: account.name,
    formats: account.formats,
    fingerprint: point === null ? null : keyFingerprint(point),
    addedAt: account.addedAt.toISOString(),
    keys: account.keys.map((key) => ({
      id: key.id,
      format: key.format,
      current: key.current,
      addedAt: key.addedAt.toISOString(),
      notAfter: key.format === "smime" ? readCertificate(key.certificate).notAfter.toISOString() : null,
    })),
    certificates: certificatesOf(account),
    root: pemEncode("CERTIFICATE", account.root),
    intermediate: pemEncode("CERTIFICATE", account.intermediate),
  }
}

/** The current certificates as text: PEM, and OpenPGP armor. */
export function certificatesOf(account: Account): { readonly smime?: string; readonly openpgp?: string } {
  const current = (format: Format) => account.keys.find((key) => key.format === format && key.current)?.certificate
  const [smime, openpgp] = [current("smime"), current("openpgp")]
  return {
    ...(smime === undefined ? {} : { smime: pemEncode("CERTIFICATE", smime) }),
    ...(openpgp === undefined ? {} : { openpgp: new TextDecoder().decode(armor(openpgp, "PUBLIC KEY BLOCK")) }),
  }
}

function fingerprintOf(person: Person): string {
  return keyFingerprint(p256PublicPoint(person.root.scalar))
}

function currentIds(person: Person): readonly string[] {
  return [...person.smime, ...(person.openpgp?.keys ?? [])].filter((key) => key.current).map((key) => key.id)
}

function readFormats(text: string): readonly Format[] {
  const formats = text.split(",").map((format) => {
    if (format !== "smime" && format !== "openpgp")
      throw new InvalidArgumentError(`${format} is none of smime, openpgp`)
    return format
  })
  if (new Set(formats).size !== formats.length) throw new InvalidArgumentError("a format stands there twice")
  return formats
}
