import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Finished, run } from "../harness/peers.ts"
import { runProgram } from "../harness/program.ts"

const PROGRAM = join(import.meta.dirname, "../../bin/postern.js")

/** Runs the program as users do, without a terminal: a process of its own. */
export function ownProcess(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  cwd?: string,
): Promise<Finished> {
  return run(process.execPath, [PROGRAM, ...args], { timeoutMs: 60_000, env, ...(cwd === undefined ? {} : { cwd }) })
}

/** Runs a command; in a process of its own where environment or folder are another. */
export function postern(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  cwd?: string,
): Promise<Finished> {
  return cwd === undefined && Object.keys(env).length === 0 ? runProgram(args) : ownProcess(args, env, cwd)
}

/** The same; any code but 0 is an error. @returns standard output */
export async function mustPostern(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { code, stdout, stderr } = await postern(args, env)
  if (code !== 0) throw new Error(`postern ${args.join(" ")}: exit ${code}: ${stderr}`)
  return Buffer.from(stdout).toString()
}

/** An instance that no server runs on. */
export interface TestInstance extends Disposable {
  readonly folder: string
  /** Arguments that name it. */
  readonly config: readonly string[]
  file(...names: string[]): string
}

/** `postern init` for example.test in a folder that is removed when its scope ends. */
export async function makeInstance(...more: readonly string[]): Promise<TestInstance> {
  const parent = mkdtempSync(join(tmpdir(), "postern-cli-"))
  const folder = join(parent, "instance")
  await mustPostern(["init", folder, "--domain", "example.test", ...more])
  return {
    folder,
    config: ["--config", join(folder, "postern.toml")],
    file: (...names) => join(folder, ...names),
    [Symbol.dispose]: () => rmSync(parent, { recursive: true, force: true }),
  }
}
