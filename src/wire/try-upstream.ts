import type { Config } from "../config/config.ts"
import { GatewayError } from "../errors.ts"
import { offeredCapabilities } from "../imap-proxy/capabilities.ts"
import { UpstreamLink } from "../imap-proxy/upstream-link.ts"
import { createLog } from "../log/written.ts"
import { openState } from "../store/state.ts"
import { imapServer } from "./upstreams.ts"

/** What the IMAP server behind the proxy said after a login. */
export interface UpstreamTrial {
  /** Its capabilities, as sent. */
  readonly capabilities: readonly string[]
  /** What clients are offered: ours, and those of it that we know. */
  readonly offered: readonly string[]
}

/**
 * Logs in at the IMAP server behind the proxy as `account`, as the proxy does for its devices, and leaves again.
 * @throws GatewayError UPSTREAM_*, CONFIG_INVALID when the store is embedded
 */
export async function logInUpstream(config: Config, account: string): Promise<UpstreamTrial> {
  const { imap, file } = config
  if (imap.kind === "embedded")
    throw new GatewayError("CONFIG_INVALID", `${file}: mailboxes.imap is embedded: there is no server behind the proxy`)
  const database = openState(config)
  try {
    const core = { config, database, now: () => new Date(), log: createLog("error") }
    const stream = await imapServer(imap, core, "refuse").connect(account, null, AbortSignal.timeout(LONGEST_MS))
    stream.on("error", () => undefined)
    const link = new UpstreamLink(stream)
    await link.open()
    stream.end("z LOGOUT\r\n", () => stream.destroy())
    return { capabilities: link.capabilities, offered: offeredCapabilities(link.capabilities).split(" ") }
  } finally {
    database.close()
  }
}

const LONGEST_MS = 60_000
