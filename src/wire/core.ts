import { hostname } from "node:os"
import { join } from "node:path"
import type { Config } from "../config/config.ts"
import { Counters } from "../log/counters.ts"
import type { Log } from "../log/log.ts"
import type { State } from "../store/database.ts"
import { openSpool } from "../store/open-spool.ts"
import { People } from "../store/people.ts"
import { RecryptionKeys } from "../store/recryption-keys.ts"
import { refuseOtherSecrets } from "../store/shared-secrets.ts"
import type { Spool } from "../store/spool.ts"
import type { SpoolKeys } from "../store/spool-keys.ts"
import { openState } from "../store/state.ts"

/** The parts that a process can play. */
export const ROLES = ["mx", "submission", "worker", "imap", "http"] as const
export type Role = (typeof ROLES)[number]

/** What every role stands on. */
export interface Core extends AsyncDisposable {
  readonly config: Config
  readonly roles: ReadonlySet<Role>
  readonly log: Log
  readonly counters: Counters
  readonly database: State
  readonly people: People
  readonly spool: Spool
  /** null: this process plays no role that opens accepted mail. */
  readonly spoolKeys: SpoolKeys | null
  readonly now: () => Date
}

/** Opens state and spool with no more secrets than the roles need: only a worker opens the spool, only worker and imap recrypt. */
export async function openCore(
  config: Config,
  roles: ReadonlySet<Role>,
  log: Log,
  counters: Counters = new Counters(),
): Promise<Core> {
  const database = openState(config, { runsOn: true })
  try {
    return await coreOn(database, config, roles, log, counters)
  } catch (error) {
    database.close()
    throw error
  }
}

async function coreOn(
  database: State,
  config: Config,
  roles: ReadonlySet<Role>,
  log: Log,
  counters: Counters,
): Promise<Core> {
  const now = () => new Date()
  const recrypts = roles.has("worker") || roles.has("imap")
  if (recrypts && config.store.kind !== "embedded") refuseOtherSecrets(database, config.secrets)
  const people = new People(database, {
    domains: config.domains,
    postmaster: config.postmaster,
    recryptionKeys: recrypts ? new RecryptionKeys(database, join(config.secrets, "recryption")) : null,
  })
  const { spool, spoolKeys } = await openSpool(config, {
    accepts: roles.has("mx") || roles.has("submission") || (roles.has("http") && config.mesh.service !== null),
    opens: roles.has("worker"),
    runsOn: true,
    now,
  })
  await spoolKeys?.rotate(now())
  return {
    config,
    roles,
    log: log.with({ host: hostname() }),
    counters,
    database,
    people,
    spool,
    spoolKeys,
    now,
    async [Symbol.asyncDispose]() {
      await spool[Symbol.asyncDispose]()
      database.close()
    },
  }
}
