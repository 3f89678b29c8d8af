import pg from "pg"
import { GatewayError } from "../../errors.ts"

/** Names the lock under which schemas change; any number that nothing else in the database uses. */
const MIGRATION_LOCK = 7_067_601
/** Another process may be changing the schema; what it does to large tables takes its time. */
const LONGEST_MS = 600_000

/**
 * Brings the tables of one part of the store (`state`, `spool`) to the newest schema: `migrations[n]` leads from version n to n + 1. All of
 * it is one transaction, of one process at a time.
 * @throws GatewayError STATE_VERSION when a newer Postern wrote it, STATE_CORRUPT when the database holds other text than UTF-8; and what `pg` throws
 */
export async function migrate(client: pg.ClientBase, part: string, migrations: readonly string[]): Promise<void> {
  if (await isMigrated(client, part, migrations)) return
  await client.query("BEGIN")
  try {
    await client.query(`SET LOCAL statement_timeout = ${LONGEST_MS}; SET LOCAL lock_timeout = ${LONGEST_MS}`)
    await client.query("SELECT pg_advisory_xact_lock($1)", [MIGRATION_LOCK])
    await refuseOtherText(client)
    await client.query("CREATE TABLE IF NOT EXISTS schema_version (part TEXT PRIMARY KEY, version INTEGER NOT NULL)")
    // Read again: another process may have migrated while this one waited for the lock.
    const version = await versionOf(client, part)
    if (version > migrations.length)
      throw new GatewayError("STATE_VERSION", `postgres: ${part} was written by a newer version of postern`)
    for (const migration of migrations.slice(version)) await client.query(migration)
    await client.query(
      "INSERT INTO schema_version VALUES ($1, $2) ON CONFLICT (part) DO UPDATE SET version = excluded.version",
      [part, migrations.length],
    )
    await client.query("COMMIT")
  } catch (error) {
    await client.query("ROLLBACK").catch(() => undefined)
    throw error
  }
}

/** True when {@link migrate} has nothing to do; quick, and takes no lock. */
export async function isMigrated(client: pg.ClientBase, part: string, migrations: readonly string[]): Promise<boolean> {
  try {
    return (await versionOf(client, part)) === migrations.length
  } catch (error) {
    if (error instanceof pg.DatabaseError && error.code === UNDEFINED_TABLE) return false
    throw error
  }
}

async function versionOf(client: pg.ClientBase, part: string): Promise<number> {
  const { rows } = await client.query<{ version: number }>("SELECT version FROM schema_version WHERE part = $1", [part])
  return rows[0]?.version ?? 0
}

async function refuseOtherText(client: pg.ClientBase): Promise<void> {
  const { rows } = await client.query<{ server_encoding: string }>("SHOW server_encoding")
  if (rows[0]?.server_encoding !== "UTF8")
    throw new GatewayError(
      "STATE_CORRUPT",
      "postgres: the database is not of encoding UTF8; make it with ENCODING 'UTF8'",
    )
}

const UNDEFINED_TABLE = "42P01"
