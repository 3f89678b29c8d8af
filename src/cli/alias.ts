import type { Command } from "commander"
import { parseAddress } from "../message/address.ts"
import type { AliasTarget } from "../store/people.ts"
import { makeReturnPathKey } from "../store/return-paths.ts"
import { type CommonOptions, openInstance, optionsOf, print, printJson } from "./shell.ts"

/** `postern alias`. */
export function registerAlias(program: Command): void {
  const alias = program.command("alias").description("Addresses that stand for other addresses, here or elsewhere.")
  alias
    .command("add <address> <target...>")
    .description(
      "Make mail to an address go to each of the targets. What goes to one elsewhere leaves encrypted to its key, or waits until there is one.",
    )
    .option("--clear", "what goes to targets elsewhere may leave in clear, where [policy] lets it", false)
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

function add(address: string, targets: readonly string[], options: CommonOptions & { readonly clear: boolean }): void {
  using instance = openInstance(options)
  const { people, config } = instance
  // Before there is an alias that needs it.
  const elsewhere = targets.filter((target) => people.resolve(parseAddress(target)).kind === "foreign")
  if (elsewhere.length > 0) makeReturnPathKey(config.secrets)
  people.addAlias(address, targets, options.clear)
  print(`alias ${address}: goes to ${targets.join(", ")}`)
  if (options.clear) return
  for (const target of elsewhere)
    print(`mail to ${target} is held while no key of it is known: postern profile lookup ${target}`)
}

function list(options: CommonOptions): void {
  using instance = openInstance(options)
  const aliases = [...instance.people.aliases()]
  if (options.json) printJson(aliases.map(aliasView))
  else for (const [address, targets] of aliases) print(`${address}\t${targets.map(targetText).join(", ")}`)
}

function aliasView([address, targets]: readonly [string, readonly AliasTarget[]]) {
  const forwards = targets.flatMap((target) =>
    target.forward === null ? [] : [{ target: target.address, clear: target.forward === "clear" }],
  )
  return { address, targets: targets.map((target) => target.address), forwards }
}

function targetText({ address, forward }: AliasTarget): string {
  if (forward === null) return address
  return `${address} (elsewhere, ${forward === "clear" ? "in clear where policy lets it" : "encrypted"})`
}

function remove(address: string, options: CommonOptions): void {
  using instance = openInstance(options)
  instance.people.removeAlias(address)
  print(`alias ${address}: removed`)
}
