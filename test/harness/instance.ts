import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Finished, run } from "./peers.ts"
import { freeRange } from "./ports.ts"
import { runProgram } from "./program.ts"

/** `NAME.json` as `postern device add` writes it. */
export interface DeviceSettings {
  readonly address: string
  readonly device: string
  readonly username: string
  readonly password: string
  readonly imap: { readonly host: string; readonly port: number; readonly security: string }
  readonly smtp: { readonly host: string; readonly port: number; readonly security: string }
  readonly imapClient?: { readonly host: string; readonly port: number; readonly security: string }
  readonly files: {
    readonly pkcs12?: string
    readonly openpgp?: string
    readonly login?: string
    readonly root: string
  }
  readonly pkcs12Password?: string
  readonly openpgpPassword?: string
}

const PROGRAM = join(import.meta.dirname, "..", "..", "bin", "postern.js")

/** A whole gateway as a user has it: made and driven by the command line, running as a process of its own. */
export class Instance implements AsyncDisposable {
  readonly folder: string
  readonly port: number
  /** The path of its postern.toml. */
  readonly configuration: string
  readonly #first: boolean
  /** What stands in front of the command that serves, such as `Internet.inside`. */
  within: readonly string[] = []
  #server: ChildProcess | null = null
  #stderr = ""

  private constructor(folder: string, port: number, name: string | null = null) {
    this.folder = folder
    this.port = port
    this.configuration = join(folder, `${name ?? "postern"}.toml`)
    this.#first = name === null
  }

  /** `postern init` in a temporary folder, with seven neighbouring free ports. */
  static async create(...options: readonly string[]): Promise<Instance> {
    const parent = mkdtempSync(join(tmpdir(), "postern-instance-"))
    const instance = new Instance(join(parent, "instance"), await freeRange(7))
    await instance.must(
      "init",
      instance.folder,
      "--domain",
      "example.test",
      "--port",
      String(instance.port),
      ...options,
    )
    return instance
  }

  /** Another machine of this instance, as it is configured now: ports and a data folder of its own, `secrets/` and the rest in common. */
  async beside(name: string): Promise<Instance> {
    const other = new Instance(this.folder, await freeRange(7), name)
    const ports = (text: string) =>
      text.replace(/127\.0\.0\.1:(\d+)"/g, (whole, port) => {
        const offset = Number(port) - this.port
        return offset >= 0 && offset < 7 ? `127.0.0.1:${other.port + offset}"` : whole
      })
    const text = ports(readFileSync(this.configuration, "utf8"))
    writeFileSync(other.configuration, text.replace('data = "data"', `data = "data-${name}"`))
    return other
  }

  /** Changes postern.toml; takes effect at the next start. */
  configure(before: string, after: string): void {
    const text = readFileSync(this.configuration, "utf8")
    if (!text.includes(before)) throw new Error(`postern.toml has no ${before}`)
    writeFileSync(this.configuration, text.replace(before, after))
  }

  /** Runs a command of the program against this instance (`init` excepted, it takes no --config), in this process but for `serve`. */
  postern(...args: readonly string[]): Promise<Finished> {
    const where = args[0] === "init" ? [] : ["--config", this.configuration]
    const line = [...args, ...where]
    return args[0] === "serve" ? run(process.execPath, [PROGRAM, ...line], { timeoutMs: 60_000 }) : runProgram(line)
  }

  /** The same; a code other than 0 is an error. @returns standard output */
  async must(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.postern(...args)
    if (code !== 0) throw new Error(`postern ${args.join(" ")}: exit ${code}: ${stderr}`)
    return Buffer.from(stdout).toString()
  }

  /** `queue show ID --json`, as soon as it is queued: a sender is told that his message was accepted when it is in the spool. */
  async shown(id: string): Promise<unknown> {
    const { stdout } = await eventually(`${id} in the queue`, async () => {
      const done = await this.postern("queue", "show", id, "--json")
      return done.code === 0 ? done : null
    })
    return JSON.parse(Buffer.from(stdout).toString())
  }

  /** Runs a command that is killed before its end: `onStart` is given the way to do it. @returns the signal that ended it */
  async killed(onStart: (kill: () => void) => void, ...args: readonly string[]): Promise<NodeJS.Signals | null> {
    const child = spawn(process.execPath, [PROGRAM, ...args, "--config", this.configuration], { stdio: "ignore" })
    onStart(() => child.kill("SIGKILL"))
    const [, signal] = await once(child, "exit")
    return signal
  }

  /** `device add`, and what it wrote. */
  async device(
    address: string,
    name: string,
    ...options: readonly string[]
  ): Promise<DeviceSettings & { readonly folder: string }> {
    const folder = join(this.folder, "..", "devices", address)
    await this.must("device", "add", address, name, "--out", folder, ...options)
    return { ...(JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8")) as DeviceSettings), folder }
  }

  /** `postern serve`; resolves when it says that it is ready. */
  async serve(
    options: { readonly args?: readonly string[]; readonly env?: Readonly<Record<string, string>> } = {},
  ): Promise<ChildProcess> {
    const serve = [process.execPath, PROGRAM, "serve", "--config", this.configuration, ...(options.args ?? [])]
    const [command = "", ...args] = [...this.within, ...serve]
    const child = spawn(command, args, {
      env: { ...process.env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
    })
    this.#server = child
    child.stderr.on("data", (octets) => {
      this.#stderr += octets
    })
    await new Promise<void>((resolve, reject) => {
      let stdout = ""
      child.stdout.on("data", (octets) => {
        stdout += octets
        if (stdout.startsWith("postern ready") && stdout.includes("\n")) resolve()
      })
      child.once("exit", (code) => reject(new Error(`postern serve: exit ${code}: ${this.#stderr}`)))
      child.once("error", reject)
    })
    return child
  }

  /** Everything the server wrote to standard error so far. */
  get log(): string {
    return this.#stderr
  }

  /** Waits for a line in it: lines go out together with those of the next moment. */
  async logged(line: RegExp): Promise<void> {
    await eventually(`${line} in the log`, () => line.test(this.#stderr), 10_000)
  }

  get pid(): number {
    return this.#server?.pid ?? 0
  }

  /** Ends the server; SIGKILL for a crash. @returns its exit code, or the signal that ended it; null: there was none */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<number | NodeJS.Signals | null> {
    const child = this.#server
    this.#server = null
    if (!child || child.exitCode !== null || child.signalCode !== null)
      return child?.exitCode ?? child?.signalCode ?? null
    const ended = once(child, "exit")
    child.kill(signal)
    const [code, by] = await ended
    return code ?? by
  }

  /** Messages that were accepted and have not left. */
  spooled(): number {
    return this.spooledIds().length
  }

  spooledIds(): string[] {
    // Names with a dot are unfinished files, and those that are written again.
    return readdirSync(join(this.folder, "data", "spool")).filter((name) => !name.startsWith("."))
  }

  /** Where the INBOX of an address lies on disk (embedded store). */
  maildir(address: string): string {
    return join(this.folder, "data", "mail", address, "Maildir")
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop("SIGKILL")
    if (this.#first) rmSync(join(this.folder, ".."), { recursive: true, force: true, maxRetries: 5 })
  }
}

/** Waits until `ask` answers something true; for what another process does in its own time. */
export async function eventually<T>(
  what: string,
  ask: () => T | Promise<T>,
  deadlineMs = 60_000,
): Promise<NonNullable<T>> {
  const end = Date.now() + deadlineMs
  for (;;) {
    const value = await ask()
    if (value) return value
    if (Date.now() > end) throw new Error(`not within ${deadlineMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
