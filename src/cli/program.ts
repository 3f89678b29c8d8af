import { readFileSync } from "node:fs"
import { Command, CommanderError } from "commander"
import { GatewayError, hasCode } from "../errors.ts"
import { systemCode } from "../store/durable.ts"
import { registerAccept } from "./accept.ts"
import { registerAccount } from "./account.ts"
import { registerAlias } from "./alias.ts"
import { registerCertificate } from "./certificate.ts"
import { registerCheck } from "./check.ts"
import { registerDemo } from "./demo.ts"
import { registerDevice } from "./device.ts"
import { registerDns } from "./dns.ts"
import { registerInit } from "./init.ts"
import { registerMailbox } from "./mailbox.ts"
import { registerProfile } from "./profile.ts"
import { registerQueue } from "./queue.ts"
import { registerServe } from "./serve.ts"
import type { Shell, Starters } from "./shell.ts"
import { registerStatus } from "./status.ts"
import { registerUpstream } from "./upstream.ts"

/** The whole command line. */
export interface Program {
  /** Runs one command line (without program name). @returns the exit code: 0, 1 for errors, 2 for wrong usage */
  run(args: readonly string[]): Promise<number>
}

/** Every command of the program, in the order of `postern --help`. */
const COMMANDS: readonly ((program: Command, shell: Shell) => void)[] = [
  registerInit,
  registerServe,
  registerDemo,
  registerAccount,
  registerAlias,
  registerDevice,
  registerProfile,
  registerCertificate,
  registerAccept,
  registerQueue,
  registerMailbox,
  registerUpstream,
  registerStatus,
  registerDns,
  registerCheck,
]

/** The command tree; `starters` run what keeps running. */
export function buildProgram(starters: Starters): Program {
  return {
    run: async (args) => {
      let code = 0
      const program = rootCommand()
      const shell: Shell = { starters, exitWith: (wanted) => void (code = wanted) }
      for (const register of COMMANDS) register(program, shell)
      try {
        await program.parseAsync(args, { from: "user" })
        return code
      } catch (error) {
        return report(error)
      }
    },
  }
}

function rootCommand(): Command {
  return new Command("postern")
    .description("An encrypting mail gateway: mail is encrypted on arrival and recrypted for each device on reading.")
    .version(version(), "-V, --version")
    .option("--config <file>", "postern.toml of the instance (default: ./postern.toml, then ./var/postern.toml)")
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "postern: ")) })
    .showHelpAfterError("(--help tells more)")
    .exitOverride()
}

function report(error: unknown): number {
  // Commander has written its message already. Asked for help is no mistake.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
  for (const line of messageOf(error).split("\n")) process.stderr.write(`postern: ${line}\n`)
  return hasCode(error, "USAGE") ? 2 : 1
}

/** Ours and the system's errors say what and where; anything else is a mistake of the program and shows its way. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return `internal error: ${String(error)}`
  if (error instanceof GatewayError || systemCode(error) !== null) return error.message
  return `internal error: ${error.stack ?? error.message}`
}

function version(): string {
  const description: unknown = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"))
  const found = typeof description === "object" && description !== null && "version" in description
  return found ? String(description.version) : "unknown"
}
