import { readFileSync } from "node:fs"
import { type Command, Option } from "commander"
import type { Config } from "../config/config.ts"
import { type DkimAlgorithm, makeDkimKey } from "../crypto/primitives/dkim-key.ts"
import { GatewayError } from "../errors.ts"
import { parseDomain } from "../message/address.ts"
import { type DkimKey, type DkimKeys, dkimState } from "../store/dkim-keys.ts"
import { askPublished, dkimKeysOf, type KeyRecord, keyRecords, neededUntil, PUBLISHED_TEXT } from "./dkim-records.ts"
import { zoneLine } from "./dns-records.ts"
import { type CommonOptions, configOf, optionsOf, print, printJson, warn } from "./shell.ts"

type AlgorithmWord = "rsa" | "ed25519" | "both"

interface MakeOptions extends CommonOptions {
  readonly selector?: string
  readonly algorithm?: AlgorithmWord
  readonly key?: string
  readonly activate?: boolean
}

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

function registerMaking(dkim: Command): void {
  const algorithm = (text: string) => new Option("--algorithm <name>", text).choices(["rsa", "ed25519", "both"])
  dkim
    .command("add <domain>")
    .description("Make pending keys for a domain and print their records.")
    .option(
      "--selector <name>",
      "of the record (with both algorithms -rsa and -ed25519 are added; default: from the date)",
    )
    .addOption(
      algorithm("RSA-2048, Ed25519 (RFC 8463; not every verifier knows it), or both: two signatures").default("both"),
    )
    .addOption(
      new Option("--key <file>", "take over an existing private key (PEM); needs --selector").conflicts("algorithm"),
    )
    .option("--activate", "sign at once, whatever DNS has")
    .option("--json", "one JSON value on stdout")
    .action((domain: string, _options: unknown, command: Command) => add(domain, optionsOf(command)))
  dkim
    .command("rotate <domain>")
    .description(
      "Make pending successors of the active keys and print their records. The active ones go on until `activate`.",
    )
    .option("--selector <name>", "as with add")
    .addOption(algorithm("(default: as the active keys)"))
    .option("--activate", "sign with the new ones at once, whatever DNS has")
    .option("--json", "one JSON value on stdout")
    .action((domain: string, _options: unknown, command: Command) => rotate(domain, optionsOf(command)))
}

function add(written: string, options: MakeOptions): void {
  const config = configOf(options)
  const domain = parseDomain(written)
  if (!config.domains.includes(domain))
    throw new GatewayError("USAGE", `${domain}: is not among domains of ${config.file}`)
  const keys = dkimKeysOf(config)
  const { key: file, selector } = options
  if (file !== undefined) {
    if (selector === undefined) throw new GatewayError("USAGE", "dkim add: --key needs --selector, that of its record")
    finish(domain, [keys.add(domain, selector, readFileSync(file, "utf8"), new Date())], keys, config, options)
  } else finish(domain, make(domain, ALGORITHMS[options.algorithm ?? "both"], keys, selector), keys, config, options)
}

function rotate(written: string, options: MakeOptions): void {
  const config = configOf(options)
  const keys = dkimKeysOf(config)
  const { domain, all } = knownDomain(written, keys)
  const inState = (wanted: string): readonly DkimKey[] => all.filter((key) => dkimState(key) === wanted)
  const [pending] = inState("pending")
  if (pending)
    throw new GatewayError(
      "DKIM_KEY_STATE",
      `dkim keys of ${domain}: ${pending.selector} is pending already: postern dkim activate ${domain}, or postern dkim remove ${domain} ${pending.selector}`,
    )
  const active = [...new Set(inState("active").map(({ algorithm }) => algorithm))]
  const algorithms = options.algorithm === undefined ? active : ALGORITHMS[options.algorithm]
  if (algorithms.length === 0)
    throw new GatewayError("DKIM_KEY_STATE", `dkim keys of ${domain}: none is active: postern dkim add ${domain}`)
  finish(domain, make(domain, algorithms, keys, options.selector), keys, config, options)
}

function make(domain: string, algorithms: readonly DkimAlgorithm[], keys: DkimKeys, wanted?: string): DkimKey[] {
  const now = new Date()
  return algorithms.map((algorithm) => {
    const word = algorithm === "rsa-sha256" ? "rsa" : "ed25519"
    const named = wanted === undefined || algorithms.length === 1 ? wanted : `${wanted}-${word}`
    return keys.add(domain, named ?? freeSelector(word, keys.of(domain), now), makeDkimKey(algorithm), now)
  })
}

/** `rsa-20261126`; a second one of the day ends in -2. */
function freeSelector(word: string, taken: readonly DkimKey[], now: Date): string {
  const base = `${word}-${now.toISOString().slice(0, 10).replaceAll("-", "")}`
  for (let number = 1; ; number++) {
    const selector = number === 1 ? base : `${base}-${number}`
    if (!taken.some((key) => key.selector === selector)) return selector
  }
}

/** Prints what was made, and activates it where that was asked for. */
function finish(domain: string, made: readonly DkimKey[], keys: DkimKeys, config: Config, options: MakeOptions): void {
  if (options.activate) keys.activate(domain, inAMoment())
  const now = keys.of(domain).filter(({ selector }) => made.some((key) => key.selector === selector))
  const records = keyRecords(now, config, new Date())
  if (options.json) {
    printJson(now.map((key) => ({ ...viewOf(key, config), record: recordView(records, key) })))
    return
  }
  print("; publish:")
  for (const record of records) print(zoneLine(record))
  if (options.activate) warn(`${domain} is signed from now on: publish the records at once`)
  else print(`; then: postern dkim activate ${domain}`)
}

async function activate(written: string, options: CommonOptions & { readonly unseen?: boolean }): Promise<void> {
  const config = configOf(options)
  const keys = dkimKeysOf(config)
  const { domain, all } = knownDomain(written, keys)
  const pending = all.filter((key) => dkimState(key) === "pending")
  if (!options.unseen) await mustBePublished(pending, config)
  const active = keys.activate(domain, inAMoment())
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
  const config = configOf(options)
  const keys = dkimKeysOf(config)
  const { domain } = knownDomain(written, keys)
  const key = keys.retire(domain, selector, inAMoment())
  if (!keys.of(domain).some((one) => dkimState(one) === "active"))
    warn(`${domain}: no key is active, mail leaves unsigned`)
  if (options.json) printJson(viewOf(key, config))
  else print(`${selector} of ${domain}: retired; its record stays until ${dayOf(neededUntil(key, config))}`)
}

function remove(written: string, selector: string, options: CommonOptions & { readonly force?: boolean }): void {
  const config = configOf(options)
  const keys = dkimKeysOf(config)
  const { domain, all } = knownDomain(written, keys)
  const key = all.find((one) => one.selector === selector)
  const until = key === undefined ? null : neededUntil(key, config)
  const state = key === undefined ? "pending" : dkimState(key)
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

/** A key as it may be shown. */
function viewOf(key: DkimKey, config: Config) {
  return {
    domain: key.domain,
    selector: key.selector,
    algorithm: key.algorithm,
    state: dkimState(key),
    madeAt: key.madeAt.toISOString(),
    activeAt: key.activeAt?.toISOString() ?? null,
    retiredAt: key.retiredAt?.toISOString() ?? null,
    /** When the record of a retired key may go. */
    recordUntil: neededUntil(key, config)?.toISOString() ?? null,
  }
}

function recordView(records: readonly KeyRecord[], { selector }: DkimKey) {
  const record = records.find((one) => one.selector === selector)
  return record && { name: record.name, type: record.type, value: record.value, text: record.text }
}

/** @throws GatewayError DKIM_KEY_UNKNOWN when the domain has none */
function knownDomain(written: string, keys: DkimKeys): { readonly domain: string; readonly all: readonly DkimKey[] } {
  const domain = parseDomain(written)
  const all = keys.of(domain)
  if (all.length === 0)
    throw new GatewayError("DKIM_KEY_UNKNOWN", `dkim keys of ${domain}: there are none: postern dkim add ${domain}`)
  return { domain, all }
}

function dayOf(date: Date | null): string {
  return date?.toISOString().slice(0, 10) ?? "-"
}

/**
 * A change holds for what is accepted from then on. Every worker sees it by then: what one signs before, another would sign alike.
 */
function inAMoment(): Date {
  return new Date(Date.now() + MOMENT_MS)
}

const MOMENT_MS = 2_000
const ALGORITHMS: Readonly<Record<AlgorithmWord, readonly DkimAlgorithm[]>> = {
  rsa: ["rsa-sha256"],
  ed25519: ["ed25519-sha256"],
  both: ["rsa-sha256", "ed25519-sha256"],
}
