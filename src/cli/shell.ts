import { join } from "node:path"
import type { Command } from "commander"
import type { Config } from "../config/config.ts"
import { loadConfig } from "../config/load.ts"
import type { Prospect, Question } from "../profiles/prospect.ts"
import type { State } from "../store/database.ts"
import { GatewayKeys } from "../store/gateway-keys.ts"
import { MeshAccounts } from "../store/mesh-accounts.ts"
import { type MeshHost, openConnectedHost, openMeshHost } from "../store/mesh-host.ts"
import { People } from "../store/people.ts"
import { RecryptionKeys } from "../store/recryption-keys.ts"
import { refuseOtherSecrets } from "../store/shared-secrets.ts"
import { openState } from "../store/state.ts"
import { UpstreamCredentials } from "../store/upstream-credentials.ts"
import { otherOwner } from "./owner.ts"
import type { OpenStore } from "./remote-store.ts"

/** How the long-running parts are started; main hands them in, so that no command imports the composition. */
export interface Starters {
  /** `configPath` null: the default places; `roles` null: all. @returns the exit code */
  serve(configPath: string | null, roles: readonly string[] | null): Promise<number>
  /** `port` is the first of seven. @returns the exit code */
  demo(options: DemoOptions): Promise<number>
  /** Logs in at the IMAP server behind the proxy as `account`. @throws GatewayError UPSTREAM_* */
  tryUpstream(config: Config, account: string): Promise<UpstreamTrial>
  /** What each scanner that is configured says of a message with nothing in it. */
  tryScanners(config: Config): Promise<readonly ScannerTrial[]>
  /** What would become of a message to one recipient; asks for the recipient's keys. */
  prospect(instance: Instance, question: Question): Promise<Prospect>
  /** The account's mail on that server. @throws GatewayError CONFIG_INVALID when there is none */
  remoteStore(config: Config, account: string): Promise<OpenStore>
}

/** What the IMAP server behind the proxy said after a login. */
export interface UpstreamTrial {
  /** Its capabilities, as sent. */
  readonly capabilities: readonly string[]
  /** What clients are offered of them. */
  readonly offered: readonly string[]
}

/** What a scanner came to. */
export interface ScannerTrial {
  readonly scanner: string
  /** `clean`, `away`, or what else it thinks of the message. */
  readonly outcome: string
  readonly because: string
}

/** What those need who look something up in an instance. */
export type Instance = Pick<OpenInstance, "config" | "database" | "people">

/** Options of `postern demo`. */
interface DemoOptions {
  readonly port: number
  /** Throw the earlier demonstration away. */
  readonly fresh: boolean
}

/** What every command is given by the program. */
export interface Shell {
  readonly starters: Starters
  /** Ends the program with this code when the command returns. */
  exitWith(code: number): void
}

/** Options that every command understands. */
export interface CommonOptions {
  readonly config?: string
  readonly json?: boolean
}

/** An instance's state, open while a command works on it; a server may run beside it. */
export interface OpenInstance extends Disposable {
  readonly config: Config
  readonly database: State
  readonly people: People
  readonly recryptionKeys: RecryptionKeys
  readonly gatewayKeys: GatewayKeys
  readonly meshAccounts: MeshAccounts
  /** What this gateway is in the Mesh, made when it is first asked for. */
  readonly meshHost: () => MeshHost
  /** The same where accounts are connected to it; throws MESH_HOST_MISSING when it is lost. */
  readonly connectedHost: () => MeshHost
  readonly upstreamCredentials: UpstreamCredentials
}

/** Options as given before and after the subcommand. */
export function optionsOf<T extends object>(command: Command): T & CommonOptions {
  return command.optsWithGlobals()
}

/**
 * The configuration that the command is about.
 * @throws GatewayError CONFIG_INVALID
 */
export function configOf(options: CommonOptions): Config {
  return loadConfig(options.config ?? null, process.cwd())
}

/**
 * Opens the instance's state.
 * @throws GatewayError CONFIG_INVALID, STATE_CORRUPT, STATE_VERSION, STATE_AWAY
 */
export function openInstance(options: CommonOptions): OpenInstance {
  const config = configOf(options)
  const owner = otherOwner(config)
  if (owner !== null)
    warn(`this is root, and ${config.secrets} is of user ${owner}: what root makes, that user cannot read`)
  const database = openState(config)
  if (config.store.kind !== "embedded") refuseOtherSecrets(database, config.secrets)
  const { domains, postmaster } = config
  const meshAccounts = new MeshAccounts(database)
  const recryptionKeys = new RecryptionKeys(database, join(config.secrets, "recryption"))
  const upstreamCredentials = new UpstreamCredentials(database, join(config.secrets, "upstream"))
  const people = new People(database, { domains, postmaster, recryptionKeys, upstreamCredentials })
  // Commands take turns: state's write lock is theirs while they change something.
  const gatewayKeys = new GatewayKeys(join(config.secrets, "signing"), (act) => database.transaction(act))
  return {
    config,
    database,
    people,
    recryptionKeys,
    gatewayKeys,
    meshAccounts,
    meshHost: () => openMeshHost(config.secrets, new Date()),
    connectedHost: () => openConnectedHost(config.secrets, meshAccounts, new Date()),
    upstreamCredentials,
    [Symbol.dispose]: () => database.close(),
  }
}

/** One line for people on stdout. */
export function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

/** The one JSON value of `--json`. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}

/** One line on stderr that stops nothing. */
export function warn(line: string): void {
  process.stderr.write(`postern: warning: ${line}\n`)
}
