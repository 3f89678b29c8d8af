import { join } from "node:path"
import { duplexPair } from "node:stream"
import type { ImapConfig, ImapLogin } from "../config/config.ts"
import { readNamed, readSecretText } from "../config/load.ts"
import type { Upstream } from "../imap-proxy/ports.ts"
import type { UpstreamLimits } from "../imap-proxy/upstream/connection-limits.ts"
import { masterLogins, storedLogins } from "../imap-proxy/upstream/logins.ts"
import { externalUpstream, type UpstreamLogins } from "../imap-proxy/upstream.ts"
import type { MailStore } from "../mailbox/store.ts"
import { UpstreamCredentials } from "../store/upstream-credentials.ts"
import type { Core } from "./core.ts"

/** The store that the IMAP proxy shows, as configured. */
export function upstreamOf(core: Core, store: MailStore): Upstream {
  const { imap } = core.config
  return imap.kind === "embedded" ? embeddedUpstream(store) : imapServer(imap, core, "refuse")
}

/** The embedded store: its IMAP server on the other end of a pipe in this process. */
export function embeddedUpstream(store: MailStore): Upstream {
  return {
    async connect(account, _client, signal) {
      const [ours, theirs] = duplexPair()
      store
        .serve(account, theirs, { signal })
        .catch((error: unknown) => ours.destroy(error instanceof Error ? error : new Error(String(error))))
      return ours
    },
  }
}

/** An IMAP server outside, with a bound of its own on connections. */
export function imapServer(
  imap: ImapConfig & { kind: "imap" },
  core: Pick<Core, "config" | "database" | "now" | "log">,
  whenFull: UpstreamLimits["whenFull"],
): Upstream {
  const { endpoint, caFile, clientAddress, connections, connectionsPerAccount, keepSeconds } = imap
  return externalUpstream({
    endpoint,
    logins: loginsOf(imap.login, core),
    clientAddress,
    keep: keepSeconds === 0 ? null : { ...KEPT, milliseconds: keepSeconds * 1000 },
    authority: caFile === null ? null : readNamed(caFile, "authority"),
    limits: {
      connections,
      perAccount: whenFull === "wait" ? Math.min(DELIVERIES_PER_ACCOUNT, connectionsPerAccount) : connectionsPerAccount,
      connecting: CONNECTING,
      whenFull,
    },
  })
}

function loginsOf(login: ImapLogin, { config, database, now, log }: Parameters<typeof imapServer>[1]): UpstreamLogins {
  if (login.kind === "master") return masterLogins({ ...login, password: readSecretText(login.password) })
  const credentials = new UpstreamCredentials(database, join(config.secrets, "upstream"))
  return storedLogins({ credentials, now, log })
}

/** Connections that are not logged in yet: enough for a healthy server to be busy, few enough for one that comes back. */
const CONNECTING = 100
/** By each process, beside those in use and within the same limits: a webmail's busiest people at once. */
const KEPT = { connections: 200, perClient: 4 }
/** In each thread: messages for one account take their turn, so that its devices find places left. */
const DELIVERIES_PER_ACCOUNT = 1
