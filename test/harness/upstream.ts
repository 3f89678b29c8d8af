import type { Upstream } from "../../src/imap-proxy/ports.ts"
import { masterLogins } from "../../src/imap-proxy/upstream/logins.ts"
import { externalUpstream, type UpstreamEndpoint, type UpstreamOptions } from "../../src/imap-proxy/upstream.ts"
import { MASTER } from "./dovecot.ts"

/** What Dovecot's master user logs in with. */
export const MASTER_LOGINS = masterLogins({ ...MASTER, form: "separator" })

/** An IMAP server outside, with the harness's master user and wide limits unless a test wants something else. */
export function upstreamAt(endpoint: UpstreamEndpoint, more: Partial<UpstreamOptions> = {}): Upstream {
  return externalUpstream({
    endpoint,
    logins: MASTER_LOGINS,
    limits: { connections: 1000, perAccount: 1000, connecting: 1000, whenFull: "refuse" },
    clientAddress: "none",
    authority: null,
    keep: null,
    ...more,
  })
}
