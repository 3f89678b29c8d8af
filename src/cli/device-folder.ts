import { accessSync, constants } from "node:fs"
import { join, resolve } from "node:path"
import { findConfig, loadConfig } from "../config/load.ts"
import { type DeviceFile, deviceFiles, type FileForms, openPgpFile, type Services } from "../identity/device-files.ts"
import type { Person, PersonDevice } from "../identity/person.ts"
import { liveDevices } from "../identity/person.ts"
import { parseAddress } from "../message/address.ts"
import { makePrivateFolder, writeDurably } from "../store/durable.ts"
import type { CommonOptions } from "./shell.ts"

/** Makes the folder where it is missing, and throws where nobody can write there: before a change of which only the files in it tell. */
export function prepareFolder(folder: string): void {
  const target = resolve(folder)
  makePrivateFolder(target)
  accessSync(target, constants.W_OK | constants.X_OK)
}

/** Writes everything `device` is set up with into `folder`, mode 0600. @returns the paths, NAME.json first */
export function writeDeviceFolder(
  person: Person,
  device: PersonDevice,
  folder: string,
  forms: FileForms,
  options: CommonOptions,
): readonly string[] {
  return writeFiles(folder, deviceFiles(person, device, servicesFor(person.address, options), forms))
}

/** Writes NAME.asc of each live OpenPGP device into `folder`. @returns the paths */
export function writeOpenPgpFiles(person: Person, folder: string): readonly string[] {
  return writeFiles(
    folder,
    liveDevices(person).flatMap((device) => openPgpFile(person, device)),
  )
}

function writeFiles(folder: string, files: readonly DeviceFile[]): readonly string[] {
  if (files.length > 0) prepareFolder(folder)
  const target = resolve(folder)
  return files.map(({ name, content }) => {
    const path = join(target, name)
    writeDurably(path, content)
    return path
  })
}

/** Where a device connects: as this instance tells clients; on a machine without an instance, the address's domain and standard ports. */
function servicesFor(address: string, options: CommonOptions): Services {
  const file = findConfig(options.config ?? null, process.cwd())
  const config = file === null ? null : loadConfig(file, process.cwd())
  const host = config?.hostname ?? parseAddress(address).domain
  return {
    imap: config?.clients.imap[0] ?? { host, port: 993, security: "tls" },
    smtp: config?.clients.smtp[0] ?? { host, port: 465, security: "tls" },
    imapClient: config?.clients.imapClient ?? null,
  }
}
