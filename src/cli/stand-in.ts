import { writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import type { Command } from "commander"
import type { Config } from "../config/config.ts"
import { readCertificate } from "../crypto/cms/certificate.ts"
import { pemEncode } from "../crypto/cms/pem.ts"
import { sha256 } from "../crypto/primitives/hash.ts"
import { GatewayError } from "../errors.ts"
import { makeStandInAuthority } from "../identity/stand-ins.ts"
import { StandInAuthorities, type StandInAuthority, standInState } from "../store/stand-in-authorities.ts"
import { mustBeWritable } from "./given-file.ts"
import { type CommonOptions, configOf, openInstance, optionsOf, print, printJson, warn } from "./shell.ts"

const STEPS = `
Mail clients that insist on a certificate for each recipient are given one of this gateway's for those who have none. What they encrypt to it is opened
here, for the account that was given it and the recipient that it names and for nobody else, and protected again as policy says (policy.standIn).

To set up:     stand-in make --out FILE; install FILE in the clients as an authority for e-mail; keys.standIns = true; listen.ldaps
Key stolen:    stand-in replace --out FILE; take the old one out of the clients, install the new one; stand-in destroy OLD
New domain:    stand-in replace: the authority cannot certify our own people, as far as their domains were known when it was made`

/** `postern stand-in`. */
export function registerStandIn(program: Command): void {
  const command = program
    .command("stand-in")
    .description("The authority of certificates that this gateway makes for people who have none.")
    .addHelpText("after", STEPS)
  command
    .command("make")
    .description("Make the authority, and print its certificate, which clients have to trust for e-mail.")
    .option("--out <file>", "write the certificate (PEM) to this file")
    .option("--json", "one JSON value on stdout")
    .action((_options: unknown, child: Command) => make(optionsOf(child), false))
  command
    .command("replace")
    .description(
      "Make another one. The old one makes no more certificates, and opens what is encrypted to those it made.",
    )
    .option("--out <file>", "write the certificate (PEM) to this file")
    .option("--json", "one JSON value on stdout")
    .action((_options: unknown, child: Command) => make(optionsOf(child), true))
  command
    .command("show")
    .description("The authorities and what they are doing, and the certificate of the one that makes certificates.")
    .option("--out <file>", "write the certificate (PEM) to this file")
    .option("--json", "one JSON value on stdout")
    .action((_options: unknown, child: Command) => show(optionsOf(child)))
  command
    .command("destroy <id>")
    .description(
      "Destroy the secret of one. What is encrypted to its certificates is held from then on: nobody can open it.",
    )
    .option("--json", "one JSON value on stdout")
    .action((id: string, _options: unknown, child: Command) => destroy(id, optionsOf(child)))
}

/** The authorities of an instance, for whoever only reads them. */
export function standInAuthoritiesOf(config: Config): StandInAuthorities {
  return new StandInAuthorities(join(config.secrets, "stand-ins"))
}

interface MakeOptions extends CommonOptions {
  readonly out?: string
}

function make(options: MakeOptions, replaces: boolean): void {
  if (options.out !== undefined) mustBeWritable(options.out)
  using instance = openInstance(options)
  const { config, database } = instance
  // Commands take turns: state's write lock is theirs while they change something.
  const authorities = new StandInAuthorities(join(config.secrets, "stand-ins"), (act) => database.transaction(act))
  const { authority, secret } = makeStandInAuthority(`Gateway of ${config.domains[0]}`, config.domains, new Date())
  const made = authorities.add(authority, secret, replaces)
  secret.fill(0)
  if (!config.keys.standIns) warn("no client is given certificates of it before keys.standIns = true")
  if (options.json) printJson(viewOf(made))
  else print(lineOf(made))
  give(made, options)
}

function show(options: MakeOptions): void {
  const all = standInAuthoritiesOf(configOf(options)).all()
  const active = all.find((one) => standInState(one) === "active")
  if (options.json) printJson(all.map(viewOf))
  else {
    if (all.length === 0) print("no authority: clients are given certificates of people's own only")
    for (const one of all) print(lineOf(one))
  }
  if (active !== undefined) give(active, options)
  else if (options.out !== undefined) throw new GatewayError("STAND_IN_UNKNOWN", "stand-in authority: there is none")
}

function destroy(id: string, options: CommonOptions): void {
  using instance = openInstance(options)
  const { config, database } = instance
  const authorities = new StandInAuthorities(join(config.secrets, "stand-ins"), (act) => database.transaction(act))
  const destroyed = authorities.destroy(id, new Date())
  if (options.json) printJson(viewOf(destroyed))
  else print(`stand-in authority ${id}: destroyed; what comes encrypted to its certificates is held`)
}

/** To the file that was named, else to people. */
function give({ certificate }: StandInAuthority, { out, json }: MakeOptions): void {
  const pem = pemEncode("CERTIFICATE", certificate)
  if (out !== undefined) writeFileSync(resolve(out), pem)
  else if (!json) print(pem.trimEnd())
}

function viewOf(authority: StandInAuthority) {
  const { notAfter } = readCertificate(authority.certificate)
  return {
    id: authority.id,
    state: standInState(authority),
    certificate: pemEncode("CERTIFICATE", authority.certificate),
    fingerprint: fingerprintOf(authority),
    excluded: authority.excluded,
    madeAt: authority.madeAt.toISOString(),
    retiredAt: authority.retiredAt?.toISOString() ?? null,
    destroyedAt: authority.destroyedAt?.toISOString() ?? null,
    notAfter: notAfter.toISOString(),
  }
}

function lineOf(authority: StandInAuthority): string {
  const { state, notAfter, fingerprint } = viewOf(authority)
  return [authority.id, `${state}, until ${notAfter.slice(0, 10)}`, `SHA-256 ${fingerprint}`].join("\t")
}

/** As clients show it. */
function fingerprintOf({ certificate }: StandInAuthority): string {
  const hex = Buffer.from(sha256(certificate)).toString("hex").toUpperCase()
  return hex.match(/../g)?.join(":") ?? ""
}
