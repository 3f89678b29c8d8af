import { spawn } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { GatewayError } from "../errors.ts"
import { Keyring } from "../identity/keyring.ts"
import type { PersonDevice } from "../identity/person.ts"
import type { Screen } from "./demo-screen.ts"

/** `NAME.json`, as far as the demonstration reads it. */
export interface DeviceSettings {
  readonly username: string
  readonly password: string
  readonly imap: { readonly host: string; readonly port: number; readonly security: string }
  readonly smtp: { readonly host: string; readonly port: number; readonly security: string }
  readonly files: { readonly pkcs12?: string; readonly openpgp?: string; readonly root: string }
  readonly pkcs12Password?: string
}

/** A device of the demonstration. */
export interface DemoDevice {
  readonly address: string
  readonly name: string
}

export const LAPTOP: DemoDevice = { address: "alice@example.test", name: "laptop" }
export const PHONE: DemoDevice = { address: "alice@example.test", name: "phone" }
export const DESKTOP: DemoDevice = { address: "bob@example.test", name: "desktop" }

/** The two people of the demonstration, made with the commands that anybody would type; they are shown. */
export class DemoPeople {
  readonly folder: string
  readonly #screen: Screen

  constructor(folder: string, screen: Screen) {
    this.folder = folder
    this.#screen = screen
  }

  /** Makes what is not there yet. The phone is made anew after the revocation that ended it in an earlier run. */
  async prepare(port: number): Promise<void> {
    const kept = existsSync(join(this.folder, "postern.toml"))
    this.#screen.scene(
      kept ? "The instance in ./var is kept from an earlier run" : "An instance in ./var, two people, three devices",
    )
    if (!kept) await this.#run("init", this.folder, "--domain", "example.test", "--port", String(port))
    const keyring = new Keyring(join(this.folder, "keyring"), null)
    if (!keyring.has(LAPTOP.address)) await this.#run("account", "add", LAPTOP.address, "--name", "Alice Example")
    if (!keyring.has(DESKTOP.address))
      await this.#run("account", "add", DESKTOP.address, "--name", "Bob Example", "--format", "openpgp")
    for (const device of [LAPTOP, PHONE, DESKTOP]) if (!(await this.#has(device))) await this.add(device)
    this.#screen.note("The secrets of people lie in var/keyring and var/devices; the server reads neither.")
  }

  async add({ address, name }: DemoDevice): Promise<void> {
    await this.#run("device", "add", address, name, "--out", this.#folderOf(address))
  }

  async revoke({ address, name }: DemoDevice): Promise<void> {
    await this.#run("device", "revoke", address, name)
  }

  settings({ address, name }: DemoDevice): DeviceSettings {
    return JSON.parse(readFileSync(join(this.#folderOf(address), `${name}.json`), "utf8"))
  }

  /** Where the files of a device are, relative to where we run. */
  pathOf({ address }: DemoDevice): string {
    return join("var", "devices", address)
  }

  /** A device with its secrets, as only its owner has them. */
  async secretsOf({ address, name }: DemoDevice): Promise<PersonDevice> {
    const person = await new Keyring(join(this.folder, "keyring"), null).open(address)
    const device = person.devices.findLast((candidate) => candidate.name === name)
    if (!device) throw new GatewayError("DEVICE_UNKNOWN", `device ${name} of ${address}: not in the keyring`)
    return device
  }

  async #has({ address, name }: DemoDevice): Promise<boolean> {
    const keyring = new Keyring(join(this.folder, "keyring"), null)
    if (!existsSync(join(this.#folderOf(address), `${name}.json`))) return false
    const person = await keyring.open(address)
    return person.devices.some((device) => device.name === name && device.revokedAt === null)
  }

  #folderOf(address: string): string {
    return join(this.folder, "devices", address)
  }

  /** Runs a command of this program and shows it. */
  async #run(...args: readonly string[]): Promise<void> {
    const shown = args.map((arg) =>
      arg.includes(" ") ? `"${arg}"` : arg.startsWith(this.folder) ? `var${arg.slice(this.folder.length)}` : arg,
    )
    await this.#screen.step(`postern ${shown.join(" ")}`, () => this.#execute(args))
  }

  async #execute(args: readonly string[]): Promise<void> {
    const program = process.argv[1] ?? ""
    const where = args[0] === "init" ? [] : ["--config", join(this.folder, "postern.toml")]
    const child = spawn(process.execPath, [program, ...args, ...where], { stdio: ["ignore", "ignore", "pipe"] })
    let stderr = ""
    child.stderr.on("data", (octets) => {
      stderr += octets
    })
    const code = await new Promise<number | null>((resolve, reject) =>
      child.once("error", reject).once("close", resolve),
    )
    if (code !== 0) throw new GatewayError("USAGE", stderr.replace(/^postern: /, "").trim())
  }
}
