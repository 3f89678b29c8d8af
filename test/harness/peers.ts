import { spawn } from "node:child_process"
import { accessSync, constants } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { delimiter, isAbsolute, join } from "node:path"

/**
 * Whether an outside program is there: a name looked for on PATH, or an absolute path. Use as `test.skipIf(!peer("openssl"))`.
 * On a user's machine a missing one is a visible skip.
 * @throws Error when it is missing and CI is set: there every peer must be installed
 */
export function peer(name: string): boolean {
  const candidates = isAbsolute(name)
    ? [name]
    : [...searchPath(), ...SYSTEM_FOLDERS].map((folder) => join(folder, name))
  if (candidates.some(isExecutable)) return true
  if (process.env["CI"]) throw new Error(`peer ${name} is not installed, and CI is set`)
  return false
}

/** What a finished program left behind. */
export interface Finished {
  /** Exit code; 128 when a signal ended it. */
  readonly code: number
  readonly stdout: Uint8Array
  readonly stderr: string
}

/** How to run a program. */
export interface RunOptions {
  readonly input?: Uint8Array | string
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** The program is killed after this time; 30 s unless stated. */
  readonly timeoutMs?: number
}

/** Runs a program to its end. A code other than 0 is an answer; only a program that cannot be started rejects. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: { ...process.env, PATH: peerPath(), ...options.env },
      timeout: options.timeoutMs ?? 30_000,
      killSignal: "SIGKILL",
    })
    const stdout: Uint8Array[] = []
    const stderr: Uint8Array[] = []
    child.stdout.on("data", (octets: Uint8Array) => stdout.push(octets))
    child.stderr.on("data", (octets: Uint8Array) => stderr.push(octets))
    child.on("error", reject)
    child.on("close", (code) =>
      resolve({ code: code ?? 128, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString("utf8") }),
    )
    // A program that ends without reading its input breaks the pipe; its exit code tells the story.
    child.stdin.on("error", () => undefined)
    child.stdin.end(options.input ?? "")
  })
}

/** Runs a program that must succeed. Rejects with its standard error when it does not. */
export async function mustRun(command: string, args: readonly string[], options: RunOptions = {}): Promise<Uint8Array> {
  const finished = await run(command, args, options)
  if (finished.code !== 0) throw new Error(`${command} ${args[0] ?? ""}: exit ${finished.code}: ${finished.stderr}`)
  return finished.stdout
}

/** A folder that is removed with everything in it when its scope ends. */
export interface TemporaryFolder extends AsyncDisposable {
  readonly path: string
  /** The path of a file or folder in it. */
  file(name: string): string
}

/** Makes a folder for one test: `await using folder = await temporaryFolder()`. */
export async function temporaryFolder(): Promise<TemporaryFolder> {
  const path = await mkdtemp(join(tmpdir(), "postern-test-"))
  return {
    path,
    file: (name) => join(path, name),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 5 }),
  }
}

/** PATH with the folders that {@link peer} looks in, too. */
export function peerPath(): string {
  return [...searchPath(), ...SYSTEM_FOLDERS].join(delimiter)
}

function searchPath(): string[] {
  return (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "")
}

/** Where Debian keeps servers, which is not on a user's PATH. */
const SYSTEM_FOLDERS = ["/usr/sbin", "/sbin", "/usr/local/sbin"]

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    // Not there, or not for us: both mean no.
    return false
  }
}
