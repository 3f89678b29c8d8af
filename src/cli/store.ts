import { existsSync } from "node:fs"
import { join } from "node:path"
import type { Command } from "commander"
import type { Config, StoreConfig } from "../config/config.ts"
import { readPostgresUrl } from "../config/postgres-url.ts"
import { GatewayError } from "../errors.ts"
import { type Copied, copyState } from "../store/copy-state.ts"
import { openSpool } from "../store/open-spool.ts"
import { openState } from "../store/state.ts"
import { type CommonOptions, configOf, optionsOf, print, printJson } from "./shell.ts"

const STEPS = `
To go from the embedded state to PostgreSQL: let the queue run empty, stop the server, name the database in [store] of postern.toml, then
  postern store copy embedded:
To go back: let the queue run empty, stop all servers, take [store] out of postern.toml, then
  postern store copy postgres://user@host/database --password-file FILE
The place that was copied from stays as it is. Do not go back to it later: whoever was added meanwhile is not there. Revoked devices stay
revoked all the same, as long as the folder of secrets is the same.`

interface CopyOptions extends CommonOptions {
  readonly passwordFile?: string
}

/** `postern store`. */
export function registerStore(program: Command): void {
  const store = program.command("store").description("Where people, devices and their keys are kept.")
  store
    .command("copy <from>")
    .description("Copy the whole state from another place into the empty one that the configuration names.")
    .option("--password-file <file>", "password for a postgres:// URL; one trailing newline is dropped")
    .option("--json", "one JSON value on stdout")
    .addHelpText("after", STEPS)
    .action((from: string, _options: unknown, command: Command) => copy(from, optionsOf(command)))
}

async function copy(from: string, options: CopyOptions): Promise<void> {
  const config = configOf(options)
  const place = placeOf(from, options)
  const [source, target] = [urlOf(place), urlOf(config.store)]
  if (source === target) throw new GatewayError("USAGE", `store: ${config.file} names ${target} already`)
  if (place.kind === "embedded" && !existsSync(join(config.data, "state.db")))
    throw new GatewayError("USAGE", `store: there is no state in ${config.data}`)
  const rows = await copyBetween({ ...config, store: place }, config)
  if (options.json) {
    printJson({ from: source, to: target, rows })
    return
  }
  for (const [name, count] of Object.entries(rows)) if (count > 0) print(`${name}\t${count}`)
  print(`copied from ${source} to ${target}; ${source} is as it was`)
}

async function copyBetween(from: Config, to: Config): Promise<Copied> {
  const source = openState(from)
  try {
    await refuseMail(from)
    const target = openState(to)
    try {
      return copyState(source, target, new Date())
    } finally {
      target.close()
    }
  } finally {
    source.close()
  }
}

/** @throws GatewayError USAGE */
function placeOf(from: string, { passwordFile }: CopyOptions): StoreConfig {
  if (from === "embedded:") return { kind: "embedded" }
  try {
    readPostgresUrl(from)
  } catch (cause) {
    throw new GatewayError("USAGE", 'store: <from> is "embedded:" or "postgres://user@host/database"', { cause })
  }
  return { kind: "postgres", url: from, password: passwordFile ? { kind: "file", path: passwordFile } : null }
}

function urlOf(store: StoreConfig): string {
  return store.kind === "embedded" ? "embedded:" : store.url
}

/** The spool is where the state is, and would stay behind. */
async function refuseMail(source: Config): Promise<void> {
  const use = { accepts: false, opens: false, runsOn: false, now: () => new Date() }
  const { spool } = await openSpool(source, use)
  await using _spool = spool
  let messages = 0
  for await (const _id of spool.ids()) messages += 1
  if (messages > 0)
    throw new GatewayError(
      "USAGE",
      `store: messages on their way: ${messages} in the spool of ${urlOf(source.store)}, which would stay behind: let the queue run empty first`,
    )
}
