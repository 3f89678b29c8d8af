import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { readdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import type { DeviceSettings } from "./instance.ts"
import { Marionette } from "./marionette.ts"
import { freePorts } from "./ports.ts"
import { makeProfile, type ProfileOptions } from "./thunderbird-profile.ts"
import * as script from "./thunderbird-scripts.ts"

type Device = DeviceSettings & { readonly folder: string }

/** What a person sees of an opened message. */
export interface Shown {
  /** File name of the padlock's picture; empty when there is none. */
  readonly encryption: string
  readonly signature: string
  readonly technology: string
  /** As the opened message shows it. */
  readonly subject: string
  readonly text: string
}

/** What the window for writing says of encryption. */
export interface Writing {
  readonly encrypt: boolean
  readonly sign: boolean
  readonly technology: string
  /** The yellow bars, and their buttons. */
  readonly notices: readonly string[]
  readonly buttons: readonly string[]
}

/** A real, unmodified Thunderbird with a profile of its own, in a virtual display. */
export class Thunderbird implements AsyncDisposable {
  readonly #profile: string
  readonly #processes: readonly ChildProcess[]
  readonly #marionette: Marionette

  private constructor(profile: string, processes: readonly ChildProcess[], marionette: Marionette) {
    this.#profile = profile
    this.#processes = processes
    this.#marionette = marionette
  }

  /** Starts it and imports the device's files. `serverRoot`: the CA of the gateway's TLS certificate. */
  static async start(device: Device, serverRoot: string, options: ProfileOptions): Promise<Thunderbird> {
    const [port = 0] = await freePorts(1)
    const profile = makeProfile(device, options, port)
    const display = await startDisplay()
    const program = spawn(
      "thunderbird",
      ["--marionette", "-remote-allow-system-access", "--profile", profile, "--no-remote"],
      { env: { ...process.env, ...environment(profile), DISPLAY: display.name }, stdio: "ignore" },
    )
    try {
      const started = new Thunderbird(profile, [program, display.process], await Marionette.connect(port, 90_000))
      await started.#setUp(device, serverRoot)
      return started
    } catch (error) {
      await remove(profile, [program, display.process])
      throw error
    }
  }

  async #setUp(device: Device, serverRoot: string): Promise<void> {
    await this.#run(script.WATCH_DIALOGS)
    await this.#run(script.SET_UP, device, device.folder, serverRoot)
    if (device.files.pkcs12 !== undefined) await this.#run(script.CHOOSE_CERTIFICATES)
    if (device.files.openpgp !== undefined)
      await this.#run(script.IMPORT_OPENPGP, readFileSync(join(device.folder, device.files.openpgp), "utf8"))
  }

  /** Takes what others are known by: PEM of authorities for mail and of e-mail certificates, armored OpenPGP certificates that were verified. */
  know(others: {
    readonly authorities?: readonly string[]
    readonly certificates?: readonly string[]
    readonly openpgp?: readonly string[]
  }): Promise<void> {
    return this.#run(script.KNOW, others)
  }

  /** Imports somebody else's keys beside the device's: the path of a PKCS#12 file, an armored OpenPGP key. */
  hold(keys: { readonly pkcs12: string; readonly password: string; readonly openpgp: string }): Promise<void> {
    return this.#run(script.HOLD, keys)
  }

  /** Opens a message as soon as it is in the folder, and waits until `text` is to be read. */
  show(folder: string, messageId: string, text: string, signed: "signed" | "unsigned" = "unsigned"): Promise<Shown> {
    return this.#run(script.SHOW, folder, messageId, text, signed === "signed")
  }

  /** Whether a message is in a folder as far as Thunderbird knows; it does not ask the server. */
  has(folder: string, messageId: string): Promise<boolean> {
    return this.#run(script.HAS, folder, messageId)
  }

  /** Opens the window for writing. */
  write(fields: { readonly to: string; readonly subject: string; readonly body: string }): Promise<Writing> {
    return this.#run(script.WRITE + script.STATE, fields)
  }

  /** Opens the window for writing with a reply to the message that is shown. */
  reply(): Promise<Writing> {
    return this.#run(script.WRITE + script.STATE, null)
  }

  /** Switches the encryption of what is being written. */
  encrypt(on: boolean): Promise<Writing> {
    return this.#run(script.COMPOSER + script.ENCRYPT + script.STATE, on)
  }

  /** Presses a button in the yellow bar of the window for writing. */
  press(label: string): Promise<Writing> {
    return this.#run(script.COMPOSER + script.PRESS + script.STATE, label)
  }

  /** Sends what is being written; resolves when it is sent and its copy stored. @returns its Message-ID @throws Error with what the dialogue says */
  send(): Promise<string> {
    return this.#run(script.COMPOSER + script.SEND)
  }

  /** Looks certificates up in this LDAP directory from now on, and trusts an authority (a file) for e-mail. */
  useDirectory(url: string, { username, password }: Device, authority: string): Promise<void> {
    return this.#run(script.USE_DIRECTORY, url, username, password, authority)
  }

  /** Asks for new mail until Thunderbird opens a dialogue. @returns what dialogues said so far */
  untilDialog(): Promise<readonly string[]> {
    return this.#run(script.UNTIL_DIALOG)
  }

  /** Sets up an account from the document at `url`, as far as a login that works, and forgets it. @returns the servers it read */
  autoconfigure(url: string, address: string, password: string): Promise<unknown> {
    return this.#run(script.AUTOCONFIGURE, url, address, password)
  }

  /** The IMAP traffic as Thunderbird logs it: for what it asked, not for what it got. */
  imapLog(): string {
    return readdirSync(this.#profile)
      .filter((name) => name.startsWith("imap-log"))
      .map((name) => readFileSync(join(this.#profile, name), "latin1"))
      .join("")
  }

  #run<T>(body: string, ...args: readonly unknown[]): Promise<T> {
    return this.#marionette.run<T>(script.COMMON + body, args)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#marionette[Symbol.dispose]()
    await remove(this.#profile, this.#processes)
  }
}

function environment(profile: string): Readonly<Record<string, string>> {
  return {
    HOME: profile,
    MOZ_CRASHREPORTER_DISABLE: "1",
    MOZ_LOG: "IMAP:4",
    MOZ_LOG_FILE: join(profile, "imap-log"),
  }
}

async function remove(profile: string, processes: readonly ChildProcess[]): Promise<void> {
  for (const child of processes) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    const ended = once(child, "exit")
    child.kill("SIGKILL")
    await ended
  }
  rmSync(profile, { recursive: true, force: true, maxRetries: 10 })
}

/** Xvfb chooses a free display itself and tells its number on file descriptor 3. */
async function startDisplay(): Promise<{ readonly name: string; readonly process: ChildProcess }> {
  const child = spawn("Xvfb", ["-displayfd", "3", "-screen", "0", "1280x900x24", "-nolisten", "tcp"], {
    stdio: ["ignore", "ignore", "ignore", "pipe"],
  })
  const pipe = child.stdio[3]
  if (!pipe) throw new Error("Xvfb: no pipe")
  const [octets] = await once(pipe, "data")
  return { name: `:${String(octets).trim()}`, process: child }
}
