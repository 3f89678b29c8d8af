import { chmodSync, existsSync } from "node:fs"
import { networkInterfaces } from "node:os"
import { join, resolve } from "node:path"
import type { Command } from "commander"
import { randomOctets } from "../crypto/primitives/random.ts"
import { GatewayError } from "../errors.ts"
import { makeServerTls } from "../identity/server.ts"
import { parseDomain } from "../message/address.ts"
import { makeFolder, makePrivateFolder, writeDurably } from "../store/durable.ts"
import { instanceToml } from "./instance-toml.ts"
import { readBasePort } from "./ports.ts"
import { optionsOf, print } from "./shell.ts"

interface InitOptions {
  readonly domain: readonly string[]
  readonly port?: number
}

/** `postern init`. */
export function registerInit(program: Command): void {
  program
    .command("init <folder>")
    .description("Make an instance: postern.toml, data/, secrets/, tls/, keyring/.")
    .requiredOption("--domain <domain>", "a domain whose mail it takes; may be given more than once", addDomain)
    .option(
      "--port <number>",
      "listen on loopback on this port and the six above it (default: standard ports, all addresses)",
      readBasePort,
    )
    .action((folder: string, _options: unknown, command: Command) =>
      init(resolve(folder), optionsOf<InitOptions>(command)),
    )
}

function init(folder: string, { domain: domains, port }: InitOptions): void {
  if (existsSync(join(folder, "postern.toml")))
    throw new GatewayError(
      "CONFIG_INVALID",
      `${join(folder, "postern.toml")}: is there already; init never changes an instance`,
    )
  makeFolder(folder)
  for (const name of ["data", "secrets", "keyring"]) makePrivateFolder(join(folder, name))
  makeFolder(join(folder, "tls"))
  const tls = makeServerTls(domains, { now: new Date(), random: randomOctets })
  write(join(folder, "secrets/tls-authority.key"), tls.authorityKey)
  write(join(folder, "tls/ca.pem"), tls.authority)
  write(join(folder, "tls/server.pem"), tls.certificate)
  write(join(folder, "tls/server.key"), tls.key)
  // Clients import it, and they run as other users.
  chmodSync(join(folder, "tls/ca.pem"), 0o644)
  const ipv6 = Object.values(networkInterfaces()).some((list) => list?.some((one) => one.family === "IPv6"))
  // Last: an instance without it is none, and init may be run again.
  write(
    join(folder, "postern.toml"),
    instanceToml({ domains, port: port ?? null, everywhere: ipv6 ? "[::]" : "0.0.0.0" }),
  )
  print(`instance for ${domains.join(", ")} made in ${folder}`)
  print(`next: postern account add someone@${domains[0]} --config ${join(folder, "postern.toml")}`)
}

function addDomain(text: string, before: readonly string[] | undefined): readonly string[] {
  const domain = parseDomain(text)
  if (domain.startsWith("[")) throw new GatewayError("USAGE", `${text}: is no domain`)
  return [...new Set([...(before ?? []), domain])]
}

function write(path: string, text: string): void {
  writeDurably(path, new TextEncoder().encode(text))
}
