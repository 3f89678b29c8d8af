import { join } from "node:path"
import type { Config } from "../config/config.ts"
import { openFileSpool } from "./file-spool.ts"
import { FolderHalves } from "./public-halves.ts"
import type { Spool } from "./spool.ts"
import { SpoolKeys, SpoolPublicKeys } from "./spool-keys.ts"

/** What a process does with the spool. */
export interface SpoolUse {
  /** It opens what was accepted, and so needs the private keys. */
  readonly opens: boolean
  /** It is a server, not a command. */
  readonly runsOn: boolean
  readonly now: () => Date
}

/** Opens the spool that the configuration names. Without a use for the private keys there are none in the process, and `spoolKeys` is null. */
export async function openSpool(
  config: Config,
  { opens, runsOn, now }: SpoolUse,
): Promise<{ readonly spool: Spool; readonly spoolKeys: SpoolKeys | null }> {
  const halves = new FolderHalves(join(config.data, "spool-keys"))
  const spoolKeys = opens ? new SpoolKeys(halves, join(config.secrets, "spool")) : null
  const publicKeys = new SpoolPublicKeys(halves, now)
  const folder = join(config.data, "spool")
  const spool = await openFileSpool({ folder, publicKeys, privateKeys: spoolKeys, now, reuse: runsOn })
  return { spool, spoolKeys }
}
