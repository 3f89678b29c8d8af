import type { Command } from "commander"
import type { Config } from "../config/config.ts"
import { GatewayError, hasCode } from "../errors.ts"
import { parseDomain } from "../message/address.ts"
import { dkimKeysOf, keyRecords } from "./dkim-records.ts"
import { type DnsRecord, dnsRecords, zoneLine } from "./dns-records.ts"
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
  const records = domains.flatMap((domain) => [...dnsRecords(domain, config), ...signingRecords(domain, config)])
  if (options.json) {
    printJson(records)
    return
  }
  print(`; ${config.hostname} and every other name on the right need A and AAAA records of their own.`)
  for (const record of records) print(zoneLine(record))
}

/** Those of signing keys; whoever cannot read them gets all the others. */
function signingRecords(domain: string, config: Config): readonly DnsRecord[] {
  try {
    return keyRecords(dkimKeysOf(config).of(domain), config, new Date())
      .filter(({ act }) => act === "publish")
      .map(({ name, type, value, about }) => ({ name, type, value, about }))
  } catch (error) {
    if (!hasCode(error, "DKIM_KEYS_CORRUPT")) throw error
    warn(`${error instanceof Error ? error.message : domain}: records of DKIM keys are left out`)
    return []
  }
}
