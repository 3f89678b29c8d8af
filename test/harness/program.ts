import { AsyncLocalStorage } from "node:async_hooks"
import { buildProgram } from "../../src/cli/program.ts"
import type { Finished } from "./peers.ts"

/** What a command that runs here has written. */
interface Written {
  readonly stdout: Uint8Array[]
  readonly stderr: Uint8Array[]
}

const writing = new AsyncLocalStorage<Written>()

// As src/main.ts has it.
const program = buildProgram({
  serve: async (configPath, roles) => (await import("../../src/wire.ts")).serve(configPath, roles),
  demo: async (options) => (await import("../../src/wire.ts")).demo(options),
  tryUpstream: async (config, account) => (await import("../../src/wire.ts")).tryUpstream(config, account),
  tryScanners: async (config) => (await import("../../src/wire.ts")).tryScanners(config),
  prospect: async (instance, question) => (await import("../../src/wire/prospect.ts")).prospectOf(instance, question),
  remoteStore: async (config, account) => (await import("../../src/wire/remote-store.ts")).remoteStore(config, account),
})

for (const name of ["stdout", "stderr"] as const) {
  const write = process[name].write.bind(process[name])
  process[name].write = (chunk: Uint8Array | string, ...rest: unknown[]): boolean => {
    const written = writing.getStore()
    if (written === undefined) return (write as (...args: unknown[]) => boolean)(chunk, ...rest)
    written[name].push(Buffer.from(chunk))
    const done = rest.at(-1)
    if (typeof done === "function") done()
    return true
  }
}

/**
 * Runs a command of the program in this process: the start of a process takes ten times as long as most commands. What is about the
 * process itself (signals, being killed, standard input, help and usage) is for a process of its own.
 */
export async function runProgram(args: readonly string[]): Promise<Finished> {
  const written: Written = { stdout: [], stderr: [] }
  const code = await writing.run(written, () => program.run(args))
  return { code, stdout: Buffer.concat(written.stdout), stderr: Buffer.concat(written.stderr).toString() }
}
