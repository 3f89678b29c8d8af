import type { Command } from "commander"
import { GatewayError } from "../errors.ts"
import { parseDomain } from "../message/address.ts"
import { dnsRecords, zoneLine } from "./dns-records.ts"
import { configOf, optionsOf, print, printJson, warn } from "./shell.ts"

/** `postern dns`. */
export function registerDns(program: Command): void {
  program
    .command("dns")
    .description("The DNS records that the domains should have, ready for a zone file.")
    .option("--domain <domain>", "of this domain only")
    .option("--json", "one JSON value on stdout")
    .action((_options: unknown, command: Command) => show(optionsOf(command)))
}

function show(options: Parameters<typeof configOf>[0] & { readonly domain?: string }): void {
  const config = configOf(options)
  const domains = options.domain === undefined ? config.domains : [parseDomain(options.domain)]
  for (const domain of domains)
    if (!config.domains.includes(domain))
      throw new GatewayError("USAGE", `${domain}: is not among domains of ${config.file}`)
  const { imap, smtp, https } = config.clients
  if ([...imap, ...smtp, https].some((service) => service?.host === "localhost"))
    warn(
      `listeners are on loopback: the records name ${config.hostname}; say with clients.host where devices really connect`,
    )
  const records = domains.flatMap((domain) => dnsRecords(domain, config))
  if (options.json) {
    printJson(records)
    return
  }
  print(`; ${config.hostname} and every other name on the right need A and AAAA records of their own.`)
  for (const record of records) print(zoneLine(record))
}
