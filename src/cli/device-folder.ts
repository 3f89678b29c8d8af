import { mkdirSync } from "node:fs"
import { join, resolve } from "node:path"
import type { Config, ListenAddress } from "../config/config.ts"
import { findConfig, loadConfig } from "../config/load.ts"
import { liveDevices } from "../identity/account.ts"
import {
  type DeviceFile,
  deviceFiles,
  openPgpFile,
  type ServiceAddress,
  type Services,
} from "../identity/device-files.ts"
import type { Person, PersonDevice } from "../identity/person.ts"
import { parseAddress } from "../message/address.ts"
import { writeDurably } from "../store/durable.ts"
import type { CommonOptions } from "./shell.ts"

/** Writes everything `device` is set up with into `folder`, mode 0600. @returns the paths, NAME.json first */
export function writeDeviceFolder(
  person: Person,
  device: PersonDevice,
  folder: string,
  options: CommonOptions,
): readonly string[] {
  return writeFiles(folder, deviceFiles(person, device, servicesFor(person.address, options)))
}

/** Writes NAME.asc of each live OpenPGP device into `folder`. @returns the paths */
export function writeOpenPgpFiles(person: Person, folder: string): readonly string[] {
  return writeFiles(
    folder,
    liveDevices(person).flatMap((device) => openPgpFile(person, device)),
  )
}

function writeFiles(folder: string, files: readonly DeviceFile[]): readonly string[] {
  const target = resolve(folder)
  if (files.length > 0) mkdirSync(target, { recursive: true, mode: 0o700 })
  return files.map(({ name, content }) => {
    const path = join(target, name)
    writeDurably(path, content)
    return path
  })
}

/** Where a device connects: as this instance listens; on a machine without an instance, the address's domain and standard ports. */
function servicesFor(address: string, options: CommonOptions): Services {
  const file = findConfig(options.config ?? null, process.cwd())
  const config = file === null ? null : loadConfig(file, process.cwd())
  const host = config?.hostname ?? parseAddress(address).domain
  const { listen } = config ?? {}
  return {
    imap: service(host, config, listen?.imaps, listen?.imap, 993),
    smtp: service(host, config, listen?.submissions, listen?.submission, 465),
  }
}

function service(
  host: string,
  config: Config | null,
  tls: ListenAddress | undefined,
  starttls: ListenAddress | undefined,
  standardPort: number,
): ServiceAddress {
  const listener = tls ?? starttls
  if (config === null || listener === undefined) return { host, port: standardPort, security: "tls" }
  const everywhere = listener.host === "::" || listener.host === "0.0.0.0"
  // By name: some clients (mbsync 1.4) do not match an address against the certificate.
  const loopback = listener.host === "::1" || listener.host.startsWith("127.")
  return {
    host: everywhere ? host : loopback ? "localhost" : listener.host,
    port: listener.port,
    security: tls === undefined ? "starttls" : "tls",
  }
}
