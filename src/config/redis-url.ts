/** PURE. `redis://user@host:port/database` or `rediss://…` (TLS), taken apart. */
import { hostIn, isLoopback, wrong } from "./values.ts"

/** Where a Redis server is, and as whom we come. */
export interface RedisAddress {
  /** Name, or address literal without brackets. */
  readonly host: string
  readonly port: number
  /** null: the default user. */
  readonly user: string | null
  /** Number of the database. */
  readonly database: number
  /** With its certificate verified. */
  readonly tls: boolean
}

/**
 * Reads a URL of one of the two schemes, without a password.
 * @throws what `wrong` makes
 */
export function readRedisUrl(text: string): RedisAddress {
  const url = new URL(text)
  const [, database] = /^\/?(\d{0,5})$/.exec(url.pathname) ?? []
  if (database === undefined) throw wrong("a Redis URL whose path is the number of a database")
  return {
    host: hostIn(url),
    port: url.port === "" ? 6379 : Number(url.port),
    user: url.username === "" ? null : decodeURIComponent(url.username),
    database: Number(database),
    tls: url.protocol === "rediss:",
  }
}

/** What of it is allowed but worth a thought; null: nothing. */
export function redisWarning({ host, tls }: RedisAddress): string | null {
  return tls || isLoopback(host) ? null : "recipients and password go to another machine in clear: use rediss://"
}
