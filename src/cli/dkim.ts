import type { Command } from "commander"
import type { Config } from "../config/config.ts"
import { GatewayError } from "../errors.ts"
import type { DkimKey } from "../store/dkim-keys.ts"
import { signingKeyState } from "../store/signing-folder.ts"
import { registerMaking } from "./dkim-make.ts"
import { askPublished, dkimKeysOf, keyRecords, neededUntil, PUBLISHED_TEXT } from "./dkim-records.ts"
import { inAMoment, knownDomain, openKeys, viewOf } from "./dkim-view.ts"
import { zoneLine } from "./dns-records.ts"
import { type CommonOptions, configOf, optionsOf, print, printJson, warn } from "./shell.ts"

const STEPS = `
A key is pending, then active, then retired:
  pending   its TXT record is to be published; it does not sign
  active    it signs what our people send
  retired   it signs only what was accepted before; its record stays until the day that "list" tells

To set up:    dkim add DOMAIN; publish what it prints; dkim activate DOMAIN
Once a year:  dkim rotate DOMAIN; publish what it prints; dkim activate DOMAIN
Afterwards:   when "dkim dns" lists the old record as one to remove, remove it from DNS, then: dkim remove DOMAIN SELECTOR
Key stolen:   dkim rotate DOMAIN --activate; publish the new record and remove the old one at once; dkim remove --force DOMAIN SELECTOR`

/** `postern dkim`. */
export function registerDkim(program: Command): void {
  const dkim = program
    .command("dkim")
    .description("Keys that sign the mail of our domains as it leaves (DKIM, RFC 6376).")
    .addHelpText("after", STEPS)
  registerMaking(dkim)
  dkim
    .command("activate <domain>")
    .description("Sign with the pending keys, once DNS has their records. Active ones of the same algorithm retire.")
    .option("--unseen", "do not look at DNS: until the record is there, verifiers see no valid signature")
    .option("--json", "one JSON value on stdout")
    .action((domain: string, _options: unknown, command: Command) => activate(domain, optionsOf(command)))
  dkim
    .command("retire <domain> <selector>")
    .description("Stop signing with an active key, without another in its place.")
    .option("--json", "one JSON value on stdout")
    .action((domain: string, selector: string, _options: unknown, command: Command) =>
      retire(domain, selector, optionsOf(command)),
    )
  dkim
    .command("remove <domain> <selector>")
    .description("Destroy a key: a pending one, or a retired one whose record is not needed any more.")
    .option("--force", "an active one too, or one whose record is still needed")
    .option("--json", "one JSON value on stdout")
    .action((domain: string, selector: string, _options: unknown, command: Command) =>
      remove(domain, selector, optionsOf(command)),
    )
  dkim
    .command("dns [domain]")
    .description("The TXT records of the keys, ready for a zone file, and those to remove.")
    .option("--json", "one JSON value on stdout")
    .action((domain: string | undefined, _options: unknown, command: Command) => dns(domain, optionsOf(command)))
  dkim
    .command("list")
    .description("All keys and what they are doing.")
    .option("--json", "one JSON value on stdout")
    .action((_options: unknown, command: Command) => list(optionsOf(command)))
}

async function activate(written: string, options: CommonOptions & { readonly unseen?: boolean }): Promise<void> {
  using open = openKeys(options)
  const { config, keys } = open
  const { domain, all } = knownDomain(written, keys)
  const pending = all.filter((key) => signingKeyState(key) === "pending")
  if (!options.unseen) await mustBePublished(pending, config)
  const active = keys.activate(
    domain,
    inAMoment(),
    pending.map(({ selector }) => selector),
  )
  const retired = keys.of(domain).filter((key) => all.some((old) => isNewlyRetired(old, key)))
  if (options.json) {
    printJson([...active, ...retired].map((key) => viewOf(key, config)))
    return
  }
  for (const key of active) print(`${key.selector} of ${domain}: signs, ${key.algorithm}`)
  for (const key of retired)
    print(`${key.selector} of ${domain}: retired; its record stays until ${dayOf(neededUntil(key, config))}`)
}

/** @throws GatewayError DKIM_NOT_PUBLISHED naming each that DNS does not have */
async function mustBePublished(pending: readonly DkimKey[], config: Config): Promise<void> {
  const answers = await Promise.all(pending.map(async (key) => ({ key, found: await askPublished(key, config) })))
  const missing = answers.filter(({ found }) => found !== "published")
  if (missing.length === 0) return
  const lines = missing.map(
    ({ key, found }) =>
      `dkim key ${key.selector} of ${key.domain}: ${found === null ? "no answer from DNS" : PUBLISHED_TEXT[found]}`,
  )
  throw new GatewayError(
    "DKIM_NOT_PUBLISHED",
    [...lines, "nothing is changed; --unseen does not look at DNS"].join("\n"),
  )
}

function isNewlyRetired(before: DkimKey, after: DkimKey): boolean {
  return before.selector === after.selector && before.retiredAt === null && after.retiredAt !== null
}

function retire(written: string, selector: string, options: CommonOptions): void {
  using open = openKeys(options)
  const { config, keys } = open
  const { domain } = knownDomain(written, keys)
  const key = keys.retire(domain, selector, inAMoment())
  if (!keys.of(domain).some((one) => signingKeyState(one) === "active"))
    warn(`${domain}: no key is active, mail leaves unsigned`)
  if (options.json) printJson(viewOf(key, config))
  else print(`${selector} of ${domain}: retired; its record stays until ${dayOf(neededUntil(key, config))}`)
}

function remove(written: string, selector: string, options: CommonOptions & { readonly force?: boolean }): void {
  using open = openKeys(options)
  const { config, keys } = open
  const { domain, all } = knownDomain(written, keys)
  const key = all.find((one) => one.selector === selector)
  const until = key === undefined ? null : neededUntil(key, config)
  const state = key === undefined ? "pending" : signingKeyState(key)
  const needed = state === "active" || (until !== null && until > new Date())
  if (needed && !options.force) {
    const why =
      state === "active" ? "is active: rotate or retire it first" : `its record is needed until ${dayOf(until)}`
    throw new GatewayError(
      "DKIM_KEY_STATE",
      `dkim key ${selector} of ${domain}: ${why}; --force destroys it all the same`,
    )
  }
  const removed = keys.remove(domain, selector)
  if (options.json) printJson(viewOf(removed, config))
  else print(`${selector} of ${domain}: destroyed; its record, if it is still there: ${selector}._domainkey.${domain}.`)
}

function dns(written: string | undefined, options: CommonOptions): void {
  const config = configOf(options)
  const keys = dkimKeysOf(config)
  const domains = written === undefined ? keys.domains() : [knownDomain(written, keys).domain]
  const records = domains.flatMap((domain) => keyRecords(keys.of(domain), config, new Date()))
  if (options.json) {
    printJson(records)
    return
  }
  for (const record of records) print(record.act === "publish" ? zoneLine(record) : `; remove: ${record.name} TXT`)
}

function list(options: CommonOptions): void {
  const config = configOf(options)
  const keys = dkimKeysOf(config)
  const views = keys.domains().flatMap((domain) => keys.of(domain).map((key) => viewOf(key, config)))
  if (options.json) {
    printJson(views)
    return
  }
  if (views.length === 0) print("no keys: mail leaves unsigned")
  for (const view of views) {
    const since = view.retiredAt ?? view.activeAt ?? view.madeAt
    const until = view.recordUntil === null ? "" : `, record until ${view.recordUntil.slice(0, 10)}`
    print([view.domain, view.selector, view.algorithm, `${view.state} since ${since.slice(0, 10)}${until}`].join("\t"))
  }
}

function dayOf(date: Date | null): string {
  return date?.toISOString().slice(0, 10) ?? "-"
}
