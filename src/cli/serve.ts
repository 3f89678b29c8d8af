import { type Command, InvalidArgumentError } from "commander"
import { optionsOf, type Shell } from "./shell.ts"

/** What a process can do; each can run apart. */
export const ROLES: readonly string[] = ["mx", "submission", "worker", "imap", "http"]

/** `postern serve`. */
export function registerServe(program: Command, shell: Shell): void {
  program
    .command("serve")
    .description(
      'Run the server until SIGTERM; prints one line starting with "postern ready" when every listener accepts.',
    )
    .option("--role <roles>", `comma-separated: ${ROLES.join(", ")} (default: all)`, readRoles)
    .action(async (_options: unknown, command: Command) => {
      const options = optionsOf<{ readonly role?: readonly string[] }>(command)
      shell.exitWith(await shell.starters.serve(options.config ?? null, options.role ?? null))
    })
}

function readRoles(text: string): readonly string[] {
  const roles = text.split(",").map((role) => role.trim())
  const unknown = roles.find((role) => !ROLES.includes(role))
  if (unknown !== undefined) throw new InvalidArgumentError(`${unknown} is no role; roles are ${ROLES.join(", ")}`)
  return [...new Set(roles)]
}
