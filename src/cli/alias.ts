import type { Command } from "commander"
import { type CommonOptions, openInstance, optionsOf, print, printJson } from "./shell.ts"

/** `postern alias`. */
export function registerAlias(program: Command): void {
  const alias = program.command("alias").description("Addresses that stand for other addresses here.")
  alias
    .command("add <address> <target...>")
    .description("Make mail to an address go to each of the targets.")
    .action((address: string, targets: readonly string[], _options: unknown, command: Command) =>
      add(address, targets, optionsOf(command)),
    )
  alias
    .command("list")
    .description("All aliases.")
    .option("--json", "one JSON value on stdout")
    .action((_options: unknown, command: Command) => list(optionsOf(command)))
  alias
    .command("remove <address>")
    .description("Remove an alias.")
    .action((address: string, _options: unknown, command: Command) => remove(address, optionsOf(command)))
}

function add(address: string, targets: readonly string[], options: CommonOptions): void {
  using instance = openInstance(options)
  instance.people.addAlias(address, targets)
  print(`alias ${address}: goes to ${targets.join(", ")}`)
}

function list(options: CommonOptions): void {
  using instance = openInstance(options)
  const aliases = [...instance.people.aliases()].map(([address, targets]) => ({ address, targets }))
  if (options.json) {
    printJson(aliases)
    return
  }
  for (const { address, targets } of aliases) print(`${address}\t${targets.join(", ")}`)
}

function remove(address: string, options: CommonOptions): void {
  using instance = openInstance(options)
  instance.people.removeAlias(address)
  print(`alias ${address}: removed`)
}
