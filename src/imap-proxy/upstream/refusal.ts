import { GatewayError } from "../../errors.ts"
import type { Log } from "../../log/log.ts"

/**
 * What a device whose password was right is told when its mailbox cannot be opened (RFC 5530 §3), and the administrator in the log.
 * AUTHENTICATIONFAILED is never among it: clients would ask for the password again.
 */
export function refusalOf(error: unknown, account: string, log: Log): string {
  const code = error instanceof GatewayError ? error.code : null
  if (code === "UPSTREAM_LIMIT") {
    log.warn("imap.upstream.limit", { account, reason: error instanceof Error ? error.message : "" })
    return "NO [LIMIT] too many connections to the mail store, try again later"
  }
  log.error("imap.upstream.unavailable", { account, code }, error)
  switch (code) {
    case "UPSTREAM_CONSENT":
      return "NO [CONTACTADMIN] the owner of this mailbox must allow access to it again; your password is right"
    case "UPSTREAM_REFUSED":
    case "STATE_CORRUPT":
      return "NO [CONTACTADMIN] the mail store does not let this gateway in; your password is right"
    default:
      return "NO [UNAVAILABLE] mail store is away, try again later"
  }
}
