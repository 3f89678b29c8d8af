import { join } from "node:path"
import type { Config } from "../config/config.ts"
import { openFileSpool } from "./file-spool.ts"
import { FolderHalves } from "./public-halves.ts"
import type { Spool, SpoolUse } from "./spool.ts"
import { SpoolKeys, SpoolPublicKeys } from "./spool-keys.ts"

interface OpenedSpool {
  readonly spool: Spool
  /** null: this process has no use for the private keys, and has none. */
  readonly spoolKeys: SpoolKeys | null
}

/**
 * Opens the spool that the configuration names.
 * @throws GatewayError STATE_AWAY, STATE_REFUSED, STATE_VERSION, STATE_CORRUPT, CONFIG_INVALID
 */
export async function openSpool({ data, secrets, store }: Config, use: SpoolUse): Promise<OpenedSpool> {
  const secretFolder = use.opens ? join(secrets, "spool") : null
  if (store.kind === "postgres") {
    // Loaded where it is used: most instances and commands have no use for it.
    const { openPostgresSpool } = await import("./postgres/open-spool.ts")
    return await openPostgresSpool(store, secretFolder, use)
  }
  const halves = new FolderHalves(join(data, "spool-keys"))
  const spoolKeys = secretFolder === null ? null : new SpoolKeys(halves, secretFolder)
  const publicKeys = new SpoolPublicKeys(halves, use.now)
  const folder = join(data, "spool")
  const options = { folder, publicKeys, privateKeys: spoolKeys, now: use.now, reuse: use.runsOn }
  return { spool: await openFileSpool(options), spoolKeys }
}
