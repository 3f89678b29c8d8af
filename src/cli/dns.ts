import { readFileSync } from "node:fs"
import type { Command } from "commander"
import type { Config } from "../config/config.ts"
import { pemDecode } from "../crypto/cms/pem.ts"
import { sha256 } from "../crypto/primitives/hash.ts"
import { certificateForms } from "../crypto/primitives/x509.ts"
import { GatewayError, hasCode } from "../errors.ts"
import { parseDomain } from "../message/address.ts"
import { dkimKeysOf, keyRecords } from "./dkim-records.ts"
import { type DnsRecord, dnsRecords, zoneLine } from "./dns-records.ts"
import { keyRecordsOf, personRecord } from "./people-records.ts"
import { type CommonOptions, configOf, openInstance, optionsOf, print, printJson, warn } from "./shell.ts"

/** `postern dns`. */
export function registerDns(program: Command): void {
  program
    .command("dns")
    .description("The DNS records that the domains should have, ready for a zone file.")
    .option("--domain <domain>", "of this domain only")
    .option("--tlsa", "the mail exchanger's TLSA (DANE) too; it fits no other key than today's")
    .option("--keys", "OPENPGPKEY and SMIMEA of everybody's current keys too; they count only where the zone is signed")
    .option("--generic", "write them for programs that do not know these types (RFC 3597)")
    .option("--json", "one JSON value on stdout")
    .action((_options: unknown, command: Command) => show(optionsOf(command)))
}

interface DnsOptions extends CommonOptions {
  readonly domain?: string
  readonly tlsa?: boolean
  readonly keys?: boolean
  readonly generic?: boolean
}

function show(options: DnsOptions): void {
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
  const records = [
    ...domains.flatMap((domain) => [...dnsRecords(domain, config), ...signingRecords(domain, config)]),
    ...(options.tlsa ? [exchangerKey(config)] : []),
    ...(options.keys ? peopleRecords(options, domains) : []),
  ]
  if (options.json) {
    printJson(records)
    return
  }
  print(`; ${config.hostname} and every other name on the right need A and AAAA records of their own.`)
  for (const record of records) print(zoneLine(record))
}

function peopleRecords(options: DnsOptions, domains: readonly string[]): readonly DnsRecord[] {
  using instance = openInstance(options)
  const accounts = instance.people.accounts()
  return domains
    .flatMap((domain) => keyRecordsOf(accounts, domain))
    .map((record) => personRecord(record, options.generic === true))
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

/** RFC 7672 §3.1.1: DANE-EE by the key, so that a certificate may be renewed, and from whom it is does not matter. */
function exchangerKey({ hostname, listen, tls }: Config): DnsRecord {
  if (listen.mx === undefined) throw new GatewayError("USAGE", "--tlsa: listen.mx is not served")
  if (tls.acme !== null)
    throw new GatewayError(
      "USAGE",
      "--tlsa: certificates of tls.acme have a new key each time, which no record would fit",
    )
  const { certificate } = tls.names.find(({ name }) => name === hostname) ?? tls
  const [own] = pemDecode("CERTIFICATE", readFileSync(certificate, "utf8"))
  if (own === undefined) throw new GatewayError("USAGE", `--tlsa: ${certificate} has no certificate`)
  const digest = Buffer.from(sha256(certificateForms(own).spki)).toString("hex")
  const about = "DANE, where the zone is signed; the next key's record goes beside it days before that key is used"
  return { name: `_25._tcp.${hostname}.`, type: "TLSA", value: `3 1 1 ${digest}`, about }
}
