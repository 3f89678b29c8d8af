import { setTimeout as delay } from "node:timers/promises"
import type { SMTPServerAuthentication } from "smtp-server"
import { hasCode } from "../errors.ts"
import type { Log } from "../log/log.ts"
import type { GatewayConnection } from "./connection.ts"
import type { Submitter, Submitters } from "./ports.ts"
import * as replies from "./replies.ts"

/** Failures before the connection is closed; real clients stop after two. */
export const MAX_AUTHENTICATION_FAILURES = 5

export interface AuthenticationRules {
  readonly submitters: Submitters
  /** The first failure waits this long, the second twice, and so on. */
  readonly authDelayMs: number
  readonly log: Log
}

/** What AUTH answers: the submitter, or the refusal. Ends the connection when the device is revoked later. */
export async function authenticate(
  given: SMTPServerAuthentication,
  connection: GatewayConnection,
  rules: AuthenticationRules,
): Promise<Submitter | replies.Reply> {
  const log = rules.log.with({ session: connection.id, remote: connection.remoteAddress })
  const submitter = await lookUp(given, connection, rules, log)
  if (submitter === "unavailable") return replies.AUTH_UNAVAILABLE
  if (submitter === "limited") return refuse(replies.TOO_MANY_GUESSES, connection, rules, log)
  if (submitter === null || submitter.revoked.aborted) return refuse(replies.AUTH_FAILED, connection, rules, log)
  const { revoked } = submitter
  const end = (): void =>
    connection.terminate(hasCode(revoked.reason, "STATE_AWAY") ? replies.DEVICE_DOUBTED : replies.DEVICE_REVOKED)
  revoked.addEventListener("abort", end, { once: true, signal: connection.closed })
  log.info("smtp.authenticated", { account: submitter.account, device: submitter.device })
  return submitter
}

async function lookUp(
  given: SMTPServerAuthentication,
  connection: GatewayConnection,
  rules: AuthenticationRules,
  log: Log,
): Promise<Submitter | "unavailable" | "limited" | null> {
  // RFC 4616 §2: nobody acts for somebody else here.
  if (given.authzid && given.authcid && given.authzid !== given.authcid) return null
  if (!given.username || !given.password) return null
  try {
    const found = await rules.submitters.authenticate(given.username, given.password, connection.remoteAddress)
    if (found === null || found === "limited" || !found.readOnly) return found
    log.info("smtp.device-read-only", { account: found.account, device: found.device })
    return null
  } catch (error) {
    log.error("smtp.authentication-unavailable", {}, error)
    return "unavailable"
  }
}

async function refuse(
  reply: replies.Reply,
  connection: GatewayConnection,
  rules: AuthenticationRules,
  log: Log,
): Promise<replies.Reply> {
  connection.authenticationFailures++
  log.warn("smtp.authentication-failed", { failures: connection.authenticationFailures, status: reply.status })
  try {
    await delay(rules.authDelayMs * connection.authenticationFailures, undefined, {
      signal: connection.closed,
      ref: false,
    })
  } catch (error) {
    // The client left while it waited: nobody hears the reply.
    if (!connection.closed.aborted) throw error
  }
  return connection.authenticationFailures < MAX_AUTHENTICATION_FAILURES ? reply : replies.TOO_MANY_FAILURES
}
