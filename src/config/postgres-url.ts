/** PURE. `postgres://user@host:port/database?sslmode=…`, taken apart. */
import { isLoopback, wrong } from "./values.ts"

/** Where a PostgreSQL server is, and as whom we come. */
export interface PostgresAddress {
  /** Name, address literal without brackets, or the folder of a Unix socket (absolute). */
  readonly host: string
  readonly port: number
  readonly user: string
  readonly database: string
  /** `verified`: its certificate is of this host, from an authority we trust; `unverified`: nobody listens, but somebody may stand between. */
  readonly tls: "off" | "unverified" | "verified"
  /** PEM of the only authority to trust, absolute; null: those of the system. */
  readonly caFile: string | null
}

/** The words of libpq (PostgreSQL documentation, "SSL Support"); the others hide what they do. */
const TLS_OF = { disable: "off", require: "unverified", "verify-full": "verified" } as const
const PARAMETERS = ["host", "sslmode", "sslrootcert"]

/**
 * Reads the URL; `?host=/folder` names the folder of a Unix socket. Without `sslmode` TLS is demanded and verified, except on this machine.
 * @throws what `wrong` makes
 */
export function readPostgresUrl(text: string): PostgresAddress {
  const url = URL.parse(text)
  if (url === null || url.protocol !== "postgres:" || url.password !== "")
    throw wrong('"postgres://user@host/database" without a password')
  const strange = [...url.searchParams.keys()].find((name) => !PARAMETERS.includes(name))
  if (strange !== undefined) throw wrong(`a postgres:// URL that says no more than ${PARAMETERS.join(", ")}`)
  const [user, database] = [url.username, url.pathname.slice(1)].map(decodeURIComponent)
  if (!user || !database) throw wrong("a postgres:// URL that names user and database")
  const host = url.searchParams.get("host") ?? decodeURIComponent(url.hostname).replace(/^\[(.*)\]$/, "$1")
  const mode = url.searchParams.get("sslmode") ?? (isOnThisMachine(host) ? "disable" : "verify-full")
  if (!isMode(mode)) throw wrong(`a postgres:// URL whose sslmode is ${Object.keys(TLS_OF).join(", ")}`)
  const caFile = url.searchParams.get("sslrootcert")
  if (caFile !== null && (mode !== "verify-full" || !caFile.startsWith("/")))
    throw wrong("a postgres:// URL whose sslrootcert is an absolute path, with sslmode=verify-full")
  if (host.startsWith("/") && mode !== "disable") throw wrong("a postgres:// URL without sslmode for a Unix socket")
  return { host, port: url.port === "" ? 5432 : Number(url.port), user, database, tls: TLS_OF[mode], caFile }
}

/** What of it is allowed but worth a thought; null: nothing. */
export function postgresWarning({ host, tls }: PostgresAddress): string | null {
  if (tls === "verified" || isOnThisMachine(host)) return null
  return tls === "off"
    ? "PostgreSQL on another machine is spoken to in clear (sslmode=disable)"
    : "PostgreSQL's certificate is not looked at (sslmode=require): whoever stands between can read and alter"
}

function isMode(mode: string): mode is keyof typeof TLS_OF {
  return Object.hasOwn(TLS_OF, mode)
}

function isOnThisMachine(host: string): boolean {
  return host.startsWith("/") || isLoopback(host)
}
