import type { Command } from "commander"
import { GatewayError } from "../errors.ts"
import { applyRequest } from "../identity/apply.ts"
import { makeDevice, renewDevice, revokeDevice } from "../identity/device.ts"
import type { Keyring } from "../identity/keyring.ts"
import type { Person } from "../identity/person.ts"
import { liveDevices } from "../identity/person.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import type { Device } from "../store/people.ts"
import { knownAccount, making } from "./change.ts"
import { confirmChange } from "./confirm.ts"
import { prepareFolder, writeDeviceFolder } from "./device-folder.ts"
import { type FormOptions, formsOf, withFormOptions } from "./device-forms.ts"
import { type KeyringOptions, openKeyring, warnUnsealed, withKeyringOptions } from "./keyring.ts"
import { type CommonOptions, openInstance, optionsOf, print, printJson, warn } from "./shell.ts"
import { printOffline, submit, whenOnline } from "./submit.ts"

type ChangeOptions = CommonOptions & KeyringOptions
type FileOptions = ChangeOptions & FormOptions & { readonly out: string }
type AddOptions = FileOptions & { readonly readOnly: boolean; readonly protectOpenpgp: boolean }

/** `postern device`. */
export function registerDevice(program: Command): void {
  const device = program.command("device").description("Mail clients: each has its own keys and its own password.")
  withFormOptions(withKeyringOptions(device.command("add <address> <name>")))
    .description("Make a device and write the files it is set up with.")
    .option("--out <folder>", "where NAME.json and the files it names are written", ".")
    .option("--read-only", "IMAP only, no submission", false)
    .option("--protect-openpgp", "encrypt NAME.asc under a password of its own", false)
    .option("--json", "one JSON value on stdout")
    .action((address: string, name: string, _options: unknown, command: Command) =>
      add(address, name, optionsOf(command)),
    )
  device
    .command("list <address>")
    .description("The devices of an account, revoked ones too.")
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, command: Command) => list(address, optionsOf(command)))
  withKeyringOptions(device.command("revoke <address> <name>"))
    .description(
      "End a device: its connections, its password, its login certificate and its recryption key. Needs no keyring.",
    )
    .action((address: string, name: string, _options: unknown, command: Command) =>
      revoke(address, name, optionsOf(command)),
    )
  withFormOptions(withKeyringOptions(device.command("renew <address> <name>")))
    .description("Make new certificates for a device's keys; its password stays.")
    .option("--out <folder>", "where the new files are written", ".")
    .option("--json", "one JSON value on stdout")
    .action((address: string, name: string, _options: unknown, command: Command) =>
      renew(address, name, optionsOf(command)),
    )
}

async function add(written: string, name: string, options: AddOptions): Promise<void> {
  const address = addressKey(parseAddress(written))
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(name) || name.startsWith("."))
    throw new GatewayError(
      "USAGE",
      `device ${JSON.stringify(name)}: a name is 1 to 64 of A-Z a-z 0-9 . _ - and begins with no dot`,
    )
  let live: readonly Device[] | null = null
  await whenOnline(options, ({ people }) => {
    knownAccount(people.account(address), address)
    live = people.devices(address).filter((device) => device.revokedAt === null)
    if (live.some((device) => device.name === name))
      throw new GatewayError("DEVICE_EXISTS", `device ${name} of ${address}: exists already`)
  })
  const keyring = await openKeyring(options, address)
  const before = await keyring.open(address)
  const forms = formsOf(before, options)
  const wanted = { name, readOnly: options.readOnly, protectOpenPgp: options.protectOpenpgp }
  prepareFolder(options.out)
  const made = await makeDevice(withoutStale(before, name, live), wanted, making())
  await submit(options, keyring, before, made)
  const files = writeDeviceFolder(made.person, made.device, options.out, forms, options)
  warnUnsealed(keyring, address)
  if (options.json) {
    printJson({ address, device: name, id: made.device.id, readOnly: options.readOnly, files })
    return
  }
  print(`device ${name} of ${address}: made`)
  for (const file of files) print(`wrote ${file}`)
  printOffline(options)
}

/** Where the server has no live device of this name, the keyring's was revoked without it, or never arrived: it makes way. */
function withoutStale(person: Person, name: string, live: readonly Device[] | null): Person {
  if (live === null || !liveDevices(person).some((device) => device.name === name)) return person
  const revokedAt = new Date()
  const devices = person.devices.map((device) =>
    device.name === name && device.revokedAt === null ? { ...device, revokedAt } : device,
  )
  return { ...person, devices }
}

function list(written: string, options: CommonOptions): void {
  using instance = openInstance(options)
  knownAccount(instance.people.account(written), written)
  const devices = instance.people.devices(written).map((device) => ({
    name: device.name,
    id: device.id,
    readOnly: device.readOnly,
    addedAt: device.addedAt.toISOString(),
    revokedAt: device.revokedAt?.toISOString() ?? null,
    loginUntil: device.login?.notAfter.toISOString() ?? null,
  }))
  if (options.json) {
    printJson(devices)
    return
  }
  for (const { name, readOnly, addedAt, revokedAt } of devices)
    print(
      `${name}\t${readOnly ? "read-only" : "full"}\tsince ${addedAt}${revokedAt === null ? "" : `\trevoked ${revokedAt}`}`,
    )
}

async function revoke(written: string, name: string, options: ChangeOptions): Promise<void> {
  const address = addressKey(parseAddress(written))
  if (options.offline !== undefined) {
    const keyring = await openKeyring(options, address)
    const before = await keyring.open(address)
    await submit(options, keyring, before, await revokeDevice(before, name, making()))
    printOffline(options)
    return
  }
  using instance = openInstance(options)
  const before = endedBefore(instance.people.devices(address), name)
  // At once, and without the keyring: whoever runs the server may end a device. Its owner's papers follow below.
  if (before === null) instance.people.revokeDevice(address, name, new Date())
  const openpgp = instance.people.account(address)?.formats.includes("openpgp") ?? false
  try {
    await confirmChange(instance)
    const since = before === null ? "" : ` on ${before.toISOString()}, and all let go`
    print(`device ${name} of ${address}: revoked${since}`)
  } finally {
    await updateKeyring(instance, address, name, options, openpgp)
  }
}

/** When the last device of that name was revoked, so that who was told NOT_CONFIRMED can ask again; null: it is live, or there was none. */
function endedBefore(devices: readonly Device[], name: string): Date | null {
  const named = devices.filter((device) => device.name === name)
  if (named.some(({ revokedAt }) => revokedAt === null)) return null
  return named.at(-1)?.revokedAt ?? null
}

/** The keyring learns of it where it is at hand, and the device's OpenPGP signing subkey is revoked in the certificate. */
async function updateKeyring(
  instance: Parameters<typeof applyRequest>[0],
  address: string,
  name: string,
  options: ChangeOptions,
  openpgp: boolean,
): Promise<void> {
  const keyring = await reachableKeyring(address, options, openpgp)
  if (keyring === null) return
  const before = await keyring.open(address)
  if (!liveDevices(before).some((device) => device.name === name)) return
  const made = await revokeDevice(before, name, making())
  await keyring.save(made.person)
  if (openpgp) applyRequest(instance, made.request, new Date())
}

async function reachableKeyring(address: string, options: ChangeOptions, openpgp: boolean): Promise<Keyring | null> {
  try {
    const keyring = await openKeyring(options, address)
    if (keyring.has(address) && (!keyring.isSealed(address) || (await opens(keyring, address)))) return keyring
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    warn(error.message)
  }
  if (openpgp)
    warn(`the keyring of ${address} is not at hand: the device's OpenPGP signing subkey is still in the certificate`)
  return null
}

async function opens(keyring: Keyring, address: string): Promise<boolean> {
  await keyring.open(address)
  return true
}

async function renew(written: string, name: string, options: FileOptions): Promise<void> {
  const address = addressKey(parseAddress(written))
  const keyring = await openKeyring(options, address)
  const before = await keyring.open(address)
  const forms = formsOf(before, options)
  prepareFolder(options.out)
  const made = await renewDevice(before, name, making())
  await submit(options, keyring, before, made)
  const files = writeDeviceFolder(made.person, made.device, options.out, forms, options)
  warnUnsealed(keyring, address)
  if (options.json) {
    printJson({ address, device: name, files })
    return
  }
  print(`device ${name} of ${address}: certificates renewed`)
  for (const file of files) print(`wrote ${file}`)
  printOffline(options)
}
