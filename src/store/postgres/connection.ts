import { checkServerIdentity } from "node:tls"
import pg from "pg"
import type { StoreConfig } from "../../config/config.ts"
import { readNamed, readSecretText } from "../../config/load.ts"
import { readPostgresUrl } from "../../config/postgres-url.ts"
import { GatewayError } from "../../errors.ts"

/** `store.url` that names a PostgreSQL server. */
export type PostgresStore = Extract<StoreConfig, { readonly kind: "postgres" }>

/** Until the server has let us in. */
export const CONNECT_MS = 5_000
/** A statement that takes longer is ended by the server; so is one that waits for a lock. Longer than any of ours takes on a busy disk. */
export const STATEMENT_MS = 2_500
/** A transaction that does nothing for so long is ended by the server: a process that hangs must not hold what others wait for. */
const IDLE_IN_TRANSACTION_MS = 10_000

/**
 * How a client or pool of `pg` connects to the store. The password is read at each connection, so that it may change.
 * @param purpose tells our connections apart in pg_stat_activity: `postern PURPOSE`
 * @throws GatewayError CONFIG_INVALID when the authority's file cannot be read
 */
export function connectionOptions({ url, password }: PostgresStore, purpose: string): pg.ClientConfig {
  const { host, port, user, database, tls, caFile } = readPostgresUrl(url)
  return {
    host,
    port,
    user,
    database,
    // Always a function: PGPASSWORD and ~/.pgpass are nobody's configuration.
    password: () => (password === null ? "" : readSecretText(password)),
    ssl:
      tls === "off"
        ? false
        : {
            rejectUnauthorized: tls === "verified",
            // pg names no host that is an address, and "localhost" would be looked for instead.
            checkServerIdentity: (_name, certificate) => checkServerIdentity(host, certificate),
            ...(caFile === null ? {} : { ca: readNamed(caFile, "authority") }),
          },
    application_name: `postern ${purpose}`,
    connectionTimeoutMillis: CONNECT_MS,
    statement_timeout: STATEMENT_MS,
    lock_timeout: STATEMENT_MS,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: 5_000,
  }
}

/**
 * True when nothing is wrong with what was asked: no connection, or the server is starting, ending, full or too busy. To be tried again;
 * whether it was done is not known.
 */
export function isAway(error: unknown): boolean {
  if (error instanceof GatewayError) return error.code === "STATE_AWAY"
  if (!(error instanceof pg.DatabaseError)) return true
  return AWAY.test(error.code ?? "")
}

/**
 * What `pg` threw, as one of ours: STATE_AWAY, else STATE_REFUSED (a statement the server does not take: a fault of ours, or somebody
 * altered the schema). Except for `connect`, the server's own words are in the cause only: they may quote what was to be stored.
 * @param what was being done, lower case
 */
export function postgresError(error: unknown, what: string): GatewayError {
  if (error instanceof GatewayError) return error
  const { code = "" } = error instanceof pg.DatabaseError ? error : {}
  const words = what === "connect" && error instanceof Error ? error.message : "no connection"
  const why = code === "" || what === "connect" ? words : `SQLSTATE ${code}`
  return new GatewayError(isAway(error) ? "STATE_AWAY" : "STATE_REFUSED", `postgres: ${what}: ${why}`, { cause: error })
}

/**
 * SQLSTATEs (PostgreSQL documentation, appendix A): connection exceptions, insufficient resources, authorization (a password is being
 * changed), operator intervention, idle in transaction, serialization and lock failures.
 */
const AWAY = /^(?:08|28|53|57P|57014$|25P03$|40001$|40P01$|55P03$)/
