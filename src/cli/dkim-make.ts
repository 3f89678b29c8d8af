import { readFileSync } from "node:fs"
import { type Command, Option } from "commander"
import type { Config } from "../config/config.ts"
import { type DkimAlgorithm, makeDkimKey } from "../crypto/primitives/dkim-key.ts"
import { GatewayError } from "../errors.ts"
import { parseDomain } from "../message/address.ts"
import type { DkimKey, DkimKeys } from "../store/dkim-keys.ts"
import { signingKeyState } from "../store/signing-folder.ts"
import { type KeyRecord, keyRecords } from "./dkim-records.ts"
import { inAMoment, knownDomain, openKeys, viewOf } from "./dkim-view.ts"
import { zoneLine } from "./dns-records.ts"
import { type CommonOptions, optionsOf, print, printJson, warn } from "./shell.ts"

/** `postern dkim add` and `rotate`: what makes keys. */
export function registerMaking(dkim: Command): void {
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
  using open = openKeys(options)
  const { config, keys } = open
  const domain = parseDomain(written)
  if (!config.domains.includes(domain))
    throw new GatewayError("USAGE", `${domain}: is not among domains of ${config.file}`)
  const { key: file, selector } = options
  if (file !== undefined) {
    if (selector === undefined) throw new GatewayError("USAGE", "dkim add: --key needs --selector, that of its record")
    finish(domain, [keys.add(domain, selector, readFileSync(file, "utf8"), new Date())], keys, config, options)
  } else finish(domain, make(domain, ALGORITHMS[options.algorithm ?? "both"], keys, selector), keys, config, options)
}

function rotate(written: string, options: MakeOptions): void {
  using open = openKeys(options)
  const { config, keys } = open
  const { domain, all } = knownDomain(written, keys)
  const inState = (wanted: string): readonly DkimKey[] => all.filter((key) => signingKeyState(key) === wanted)
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
  if (options.activate)
    keys.activate(
      domain,
      inAMoment(),
      made.map(({ selector }) => selector),
    )
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

function recordView(records: readonly KeyRecord[], { selector }: DkimKey) {
  const record = records.find((one) => one.selector === selector)
  return record && { name: record.name, type: record.type, value: record.value, text: record.text }
}

type AlgorithmWord = "rsa" | "ed25519" | "both"

interface MakeOptions extends CommonOptions {
  readonly selector?: string
  readonly algorithm?: AlgorithmWord
  readonly key?: string
  readonly activate?: boolean
}

const ALGORITHMS: Readonly<Record<AlgorithmWord, readonly DkimAlgorithm[]>> = {
  rsa: ["rsa-sha256"],
  ed25519: ["ed25519-sha256"],
  both: ["rsa-sha256", "ed25519-sha256"],
}
