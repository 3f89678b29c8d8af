import type { SpoolUse } from "../spool.ts"
import { SpoolKeys, SpoolPublicKeys } from "../spool-keys.ts"
import { connectionOptions, type PostgresStore } from "./connection.ts"
import { openMigrated } from "./pool.ts"
import { TableHalves } from "./public-halves.ts"
import { PostgresSpool } from "./spool.ts"
import { SPOOL_MIGRATIONS } from "./spool-schema.ts"

/** Measured: with more no more is accepted, and a server has 100 for everybody unless told otherwise. */
const CONNECTIONS_TO_ACCEPT = 8
/** Who makes a key holds one while another is asked. */
const CONNECTIONS = 3

/**
 * Opens the spool in PostgreSQL, and makes its tables when they are not there. What killed writers left is the sweep's to remove.
 * @param secretFolder secrets/spool; null: this process only accepts mail
 * @throws GatewayError STATE_AWAY, STATE_REFUSED, STATE_VERSION, STATE_CORRUPT, CONFIG_INVALID
 */
export async function openPostgresSpool(
  store: PostgresStore,
  secretFolder: string | null,
  { accepts, now }: Pick<SpoolUse, "accepts" | "now">,
): Promise<{ readonly spool: PostgresSpool; readonly spoolKeys: SpoolKeys | null }> {
  const connections = accepts ? CONNECTIONS_TO_ACCEPT : CONNECTIONS
  const pool = await openMigrated(connectionOptions(store, "spool"), connections, "spool", SPOOL_MIGRATIONS)
  const halves = new TableHalves(pool)
  const spoolKeys = secretFolder === null ? null : new SpoolKeys(halves, secretFolder)
  const publicKeys = new SpoolPublicKeys(halves, now)
  return { spool: new PostgresSpool({ pool, publicKeys, privateKeys: spoolKeys, now }), spoolKeys }
}
