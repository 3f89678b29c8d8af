import { readFileSync } from "node:fs"
import { Command, CommanderError } from "commander"
import { GatewayError, hasCode } from "../errors.ts"
import { systemCode } from "../store/durable.ts"
import type { Shell, Starters } from "./shell.ts"

/** The whole command line. */
export interface Program {
  /** Runs one command line (without program name). @returns the exit code: 0, 1 for errors, 2 for wrong usage */
  run(args: readonly string[]): Promise<number>
}

type Register = (program: Command, shell: Shell) => void

/** Every command of the program, in the order of `postern --help`. A command line loads its own only: that is half of its time. */
const COMMANDS: Readonly<Record<string, () => Promise<Register>>> = {
  init: async () => (await import("./init.ts")).registerInit,
  serve: async () => (await import("./serve.ts")).registerServe,
  demo: async () => (await import("./demo.ts")).registerDemo,
  account: async () => (await import("./account.ts")).registerAccount,
  alias: async () => (await import("./alias.ts")).registerAlias,
  device: async () => (await import("./device.ts")).registerDevice,
  "gateway-key": async () => (await import("./gateway-key.ts")).registerGatewayKey,
  "stand-in": async () => (await import("./stand-in.ts")).registerStandIn,
  profile: async () => (await import("./profile.ts")).registerProfile,
  policy: async () => (await import("./policy.ts")).registerPolicy,
  certificate: async () => (await import("./certificate.ts")).registerCertificate,
  contact: async () => (await import("./contact.ts")).registerContact,
  accept: async () => (await import("./accept.ts")).registerAccept,
  queue: async () => (await import("./queue.ts")).registerQueue,
  store: async () => (await import("./store.ts")).registerStore,
  mailbox: async () => (await import("./mailbox.ts")).registerMailbox,
  upstream: async () => (await import("./upstream.ts")).registerUpstream,
  tls: async () => (await import("./tls.ts")).registerTls,
  dkim: async () => (await import("./dkim.ts")).registerDkim,
  status: async () => (await import("./status.ts")).registerStatus,
  dns: async () => (await import("./dns.ts")).registerDns,
  check: async () => (await import("./check.ts")).registerCheck,
}

/** The command tree; `starters` run what keeps running. */
export function buildProgram(starters: Starters): Program {
  return {
    run: async (args) => {
      let code = 0
      const program = rootCommand()
      const shell: Shell = { starters, exitWith: (wanted) => void (code = wanted) }
      for (const register of await Promise.all(loadersFor(args).map((load) => load()))) register(program, shell)
      try {
        await program.parseAsync(args, { from: "user" })
        return code
      } catch (error) {
        return report(error)
      }
    },
  }
}

/** The command that is named; all of them for help, and where none is; none for the version. */
function loadersFor(args: readonly string[]): readonly (() => Promise<Register>)[] {
  if (args.length === 1 && (args[0] === "-V" || args[0] === "--version")) return []
  const word = args.find((arg, index) => !arg.startsWith("-") && args[index - 1] !== "--config") ?? ""
  const named = Object.hasOwn(COMMANDS, word) ? COMMANDS[word] : undefined
  return named === undefined ? Object.values(COMMANDS) : [named]
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
