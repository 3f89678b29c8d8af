import { type ChildProcess, execFile, spawn } from "node:child_process"
import { once } from "node:events"
import { chownSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { mkdtemp } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import pg from "pg"
import { systemCode } from "../../src/store/durable.ts"
import type { PostgresStore } from "../../src/store/postgres/connection.ts"
import type { TestCertificate } from "./certificate.ts"
import { peer } from "./peers.ts"
import { freePorts } from "./ports.ts"

/** As Debian installs it. */
const PROGRAMS = "/usr/lib/postgresql/15/bin"
const USER = "postern"
const NOBODY = 65_534
const run = promisify(execFile)

export const postgresPossible = peer(join(PROGRAMS, "postgres"))

/** What a test wants of its PostgreSQL. */
interface PostgresOptions {
  /** `name=value`, as in postgresql.conf. Without `fsync=on` it does not sync. */
  readonly settings?: readonly string[]
  /** It listens on 127.0.0.1 and 127.0.0.2 too, by TLS with this, and asks for the password. */
  readonly tls?: TestCertificate & { readonly password: string }
}

/** A PostgreSQL of the test's own, on a Unix socket. It ends with this process, however that ends, and leaves nothing behind. */
export class Postgres implements AsyncDisposable {
  /** Of TCP, and in the name of the socket. */
  readonly port: number
  readonly #folder: string
  readonly #settings: readonly string[]
  #process: ChildProcess | null = null
  #databases = 0

  private constructor(folder: string, port: number, settings: readonly string[]) {
    this.port = port
    this.#folder = folder
    this.#settings = settings
  }

  static async start({ settings = [], tls }: PostgresOptions = {}): Promise<Postgres> {
    const folder = await mkdtemp(join(tmpdir(), "postern-postgres-"))
    // PostgreSQL runs as anybody but root.
    if (isRoot()) chownSync(folder, NOBODY, NOBODY)
    const [port = 0] = await freePorts(1)
    const listening = tls ? ["listen_addresses=127.0.0.1,127.0.0.2", "ssl=on", ...tlsFiles(folder, tls)] : []
    const postgres = new Postgres(folder, port, [...listening, ...settings])
    await makeData(folder)
    await postgres.start()
    if (tls) await postgres.query("postgres", `ALTER ROLE ${USER} PASSWORD '${tls.password}'`)
    return postgres
  }

  /** Starts it again after {@link kill}. */
  async start(): Promise<void> {
    const end = Date.now() + 60_000
    let child = this.#spawn()
    while (!(await this.#answers())) {
      if (Date.now() > end) throw new Error("postgres does not answer")
      // A process of the one before, killed a moment ago, may still hold its shared memory: then it does not start.
      if (child.exitCode !== null) child = this.#spawn()
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  #spawn(): ChildProcess {
    const own = [`port=${this.port}`, `unix_socket_directories=${this.#folder}`]
    const settings = ["listen_addresses=", "fsync=off", ...this.#settings, ...own]
    const server = [join(PROGRAMS, "postgres"), "-D", join(this.#folder, "data")]
    const command = ["-c", WATCH, "sh", ...server, ...settings.flatMap((setting) => ["-c", setting])]
    const child = spawn("/bin/sh", command, { ...runAs(this.#folder), stdio: ["pipe", "ignore", "ignore"] })
    this.#process = child
    return child
  }

  /** The whole server at once, as a power cut would; in `ms` also while this thread stands still. */
  async kill(ms = 0): Promise<void> {
    const child = this.#process
    if (child === null) return
    const ended = once(child, "exit")
    if (ms === 0) this.#signal("SIGKILL")
    else spawn("/bin/sh", ["-c", `sleep ${ms / 1000}; kill -9 ${this.#pids.join(" ")}`], { stdio: "ignore" })
    await ended
    child.stdin?.destroy()
    rmSync(join(this.#folder, "data", "postmaster.pid"), { force: true })
  }

  /** It accepts connections and answers nothing, until {@link resume}. */
  suspend(): void {
    this.#signal("SIGSTOP")
  }

  resume(): void {
    this.#signal("SIGCONT")
  }

  /** A new, empty database. */
  async database(): Promise<PostgresStore> {
    const name = `test_${++this.#databases}`
    await this.query("postgres", `CREATE DATABASE ${name}`)
    const url = `postgres://${USER}@localhost:${this.port}/${name}?host=${encodeURIComponent(this.#folder)}`
    return { kind: "postgres", url, password: null }
  }

  /** Runs statements as an administrator. */
  async query(database: string, text: string): Promise<Record<string, unknown>[]> {
    const client = await this.client(database)
    try {
      const { rows } = await client.query(text)
      return rows
    } finally {
      await client.end()
    }
  }

  /** An administrator's connection; the caller ends it. */
  async client(database: string): Promise<pg.Client> {
    const client = new pg.Client({ host: this.#folder, port: this.port, user: USER, database })
    // It may be the one that is to be killed.
    client.on("error", () => undefined)
    await client.connect()
    return client
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const child = this.#process
    if (child !== null && child.exitCode === null && child.signalCode === null) {
      const ended = once(child, "exit")
      this.#signal("SIGCONT")
      process.kill(this.#pid, "SIGQUIT")
      await ended
    }
    rmSync(this.#folder, { recursive: true, force: true })
  }

  get #pid(): number {
    return Number(readFileSync(join(this.#folder, "data", "postmaster.pid"), "utf8").split("\n")[0])
  }

  async #answers(): Promise<boolean> {
    try {
      await this.query("postgres", "SELECT 1")
      return true
    } catch {
      // Not yet.
      return false
    }
  }

  /** All its processes, each the leader of a group of its own. */
  get #pids(): number[] {
    const pid = this.#pid
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean)
    return [pid, ...children.map(Number)]
  }

  #signal(signal: NodeJS.Signals): void {
    for (const one of this.#pids)
      try {
        process.kill(one, signal)
      } catch {
        // Gone meanwhile.
      }
  }
}

/** The database that a URL of {@link Postgres.database} names. */
export function databaseOf({ url }: PostgresStore): string {
  return new URL(url).pathname.slice(1)
}

/** `data` in the folder: a copy of what the first test of the run made, since making it takes a second of CPU. */
async function makeData(folder: string): Promise<void> {
  const template = process.env["POSTERN_POSTGRES_TEMPLATE"]
  if (template === undefined) return initdb(folder)
  if (isFirst(template)) {
    if (isRoot()) chownSync(template, NOBODY, NOBODY)
    await initdb(template)
    writeFileSync(join(template, "made"), "")
  }
  const end = Date.now() + 60_000
  while (!existsSync(join(template, "made"))) {
    if (Date.now() > end) throw new Error("postgres: nobody made the template")
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  await run("cp", ["-a", join(template, "data"), folder], runAs(folder))
}

async function initdb(folder: string): Promise<void> {
  const options = ["-D", join(folder, "data"), "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync", ...AUTH]
  await run(join(PROGRAMS, "initdb"), options, runAs(folder))
}

function isFirst(template: string): boolean {
  try {
    mkdirSync(join(template, "making"))
    return true
  } catch (error) {
    if (systemCode(error) === "EEXIST") return false
    throw error
  }
}

/** Makes the files, for the server's user alone. @returns the settings that name them */
function tlsFiles(folder: string, { certificate, key }: TestCertificate): string[] {
  return Object.entries({ ssl_cert_file: certificate, ssl_key_file: key }).map(([name, text]) => {
    const path = join(folder, name)
    writeFileSync(path, text, { mode: 0o600 })
    if (isRoot()) chownSync(path, NOBODY, NOBODY)
    return `${name}=${path}`
  })
}

function isRoot(): boolean {
  return process.getuid?.() === 0
}

function runAs(cwd: string): { cwd: string; uid?: number; gid?: number } {
  return isRoot() ? { cwd, uid: NOBODY, gid: NOBODY } : { cwd }
}

const AUTH = ["--auth-local=trust", "--auth-host=scram-sha-256"]

/** The end of its input, which comes with ours, ends the server with all its processes; when the server ends by itself, so does this. */
const WATCH = `
exec 3<&0
"$@" 3<&- & server=$!
{ cat <&3 >/dev/null; kill -9 $(cat /proc/$server/task/$server/children) $server; } 2>/dev/null & watch=$!
exec 3<&- <&-
wait $server
kill $watch 2>/dev/null`
