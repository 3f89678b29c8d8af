import { GatewayError } from "../../errors.ts"
import type { UpstreamLogins } from "../upstream.ts"
import { AccessTokens, type AccessTokensOptions } from "./access-tokens.ts"

/** An identity of the server that may open every mailbox there. */
export interface Master {
  readonly user: string
  readonly password: string
  /** `separator`: logs in as `account*user` (Dovecot). `authzid`: SASL PLAIN with the account to act as (Cyrus, Dovecot). */
  readonly form: "separator" | "authzid"
}

/** One identity for all accounts. */
export function masterLogins({ user, password, form }: Master): UpstreamLogins {
  return {
    async identity(account) {
      return form === "authzid"
        ? { kind: "password", user, password, authorizeAs: account }
        : { kind: "password", user: `${account}*${user}`, password, authorizeAs: "" }
    },
    another: async () => null,
  }
}

/** Each account's own, as stored: looked up at every login. */
export function storedLogins(options: AccessTokensOptions): UpstreamLogins {
  const { credentials, now } = options
  const tokens = new AccessTokens(options)
  const refusals = new Map<string, Refusal>()
  return {
    async identity(account, signal) {
      const stored = credentials.read(account)
      if (stored === null) throw refused(`no credential is stored for ${account}`)
      const { id, credential } = stored
      if (credential.kind === "oauth")
        return { kind: "bearer", user: credential.user, token: await tokens.token(account, null, signal) }
      const refusal = refusals.get(account)
      if (refusal?.id === id && Math.abs(now().getTime() - refusal.atMs) < REFUSED_MS)
        throw refused(`the password was refused at ${new Date(refusal.atMs).toISOString()}`)
      return { kind: "password", user: credential.user, password: credential.password, authorizeAs: "" }
    },
    async another(account, identity, signal) {
      if (identity.kind === "bearer") return { ...identity, token: await tokens.token(account, identity.token, signal) }
      const id = credentials.read(account)?.id
      if (id !== undefined) refusals.set(account, { id, atMs: now().getTime() })
      return null
    },
  }
}

/** Of a stored password. */
interface Refusal {
  /** Of the credential: one that is set anew is tried at once. */
  readonly id: string
  readonly atMs: number
}

function refused(why: string): GatewayError {
  return new GatewayError("UPSTREAM_REFUSED", `imap upstream: ${why}`)
}

/** Clients try again every few seconds, and many servers lock an account after some wrong passwords in ten minutes. */
const REFUSED_MS = 120_000
