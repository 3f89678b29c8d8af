import type { OpenStore } from "../cli/remote-store.ts"
import type { Config } from "../config/config.ts"
import type { Connect } from "../deliver/imap-append.ts"
import { ImapStore } from "../deliver/imap-store.ts"
import { GatewayError } from "../errors.ts"
import { createLog } from "../log/written.ts"
import { openState } from "../store/state.ts"
import { imapServer } from "./upstreams.ts"

/** Opens an account's mail on the IMAP server behind the proxy, logged in as the proxy does for its devices. */
export function remoteStore(config: Config, account: string): OpenStore {
  const { imap, file } = config
  if (imap.kind === "embedded")
    throw new GatewayError("CONFIG_INVALID", `${file}: mailboxes.imap is embedded: there is no server behind the proxy`)
  const connect: Connect = async (name, signal) => {
    // Where credentials are stored; a command that works for hours does not keep it open.
    const database = openState(config)
    try {
      const core = { config, database, now: () => new Date(), log: createLog("error") }
      return await imapServer(imap, core, "refuse").connect(name, null, signal)
    } finally {
      database.close()
    }
  }
  return () => ImapStore.open(connect, account, new AbortController().signal)
}
