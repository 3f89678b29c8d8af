import { setTimeout as delay } from "node:timers/promises"
import { GatewayError } from "../../errors.ts"
import type { Log } from "../../log/log.ts"
import type { OAuthCredential, TokenState } from "../../store/upstream-credential.ts"
import type { StoredCredential, UpstreamCredentials } from "../../store/upstream-credentials.ts"
import { refreshAccess, type TokenAnswer } from "./token-endpoint.ts"

/** What {@link AccessTokens} needs. */
export interface AccessTokensOptions {
  readonly credentials: Pick<UpstreamCredentials, "read" | "replace" | "claim" | "endClaim">
  readonly now: () => Date
  readonly log: Log
}

/**
 * Access tokens of accounts with an OAuth credential. They are kept sealed beside the refresh token until shortly before they expire, so
 * that all processes share them and a restart asks nobody; of all who need a new one, one asks.
 */
export class AccessTokens {
  readonly #options: AccessTokensOptions
  readonly #asking = new Map<string, Promise<string>>()

  constructor(options: AccessTokensOptions) {
    this.#options = options
  }

  /**
   * A token that the server should accept.
   * @param refused the token that it just did not accept
   * @throws GatewayError UPSTREAM_CONSENT when the owner must consent again, UPSTREAM_REFUSED, UPSTREAM_UNAVAILABLE
   */
  async token(account: string, refused: string | null, signal: AbortSignal): Promise<string> {
    const known = this.#usable(this.#read(account).credential.answer, refused)
    if (known !== null) return known
    const asking = this.#asking.get(account) ?? this.#begin(account, refused)
    return orAborted(asking, signal)
  }

  /** Not ended by whoever came first and left: others wait too, and a rotated refresh token must not be lost. */
  #begin(account: string, refused: string | null): Promise<string> {
    const asking = this.#ask(account, refused, AbortSignal.timeout(ASK_MS)).finally(() => this.#asking.delete(account))
    this.#asking.set(account, asking)
    return asking
  }

  async #ask(account: string, refused: string | null, signal: AbortSignal): Promise<string> {
    const { credentials, now } = this.#options
    for (;;) {
      const stored = this.#read(account)
      const known = this.#usable(stored.credential.answer, refused)
      if (known !== null) return known
      const until = credentials.claim(account, stored.id, now, ASK_MS)
      if (until !== null) {
        try {
          const token = this.#keep(account, stored, await refreshAccess(stored.credential, signal))
          if (token !== null) return token
        } finally {
          credentials.endClaim(account, until)
        }
      } else await orAborted(delay(OTHERS_POLL_MS), signal)
    }
  }

  /** @returns null when nothing was granted, or a person set the credential anew meanwhile: what is stored now says more */
  #keep(account: string, { id, credential }: OAuthStored, answer: TokenAnswer): string | null {
    const { credentials, now, log } = this.#options
    const atMs = now().getTime()
    if (answer.kind === "refused") {
      credentials.replace(account, id, { ...credential, answer: { kind: "refused", reason: answer.reason, atMs } })
      return null
    }
    const { accessToken, lifetimeMs } = answer
    const refreshToken = answer.refreshToken ?? credential.refreshToken
    const state: TokenState = { kind: "granted", accessToken, grantedAtMs: atMs, expiresAtMs: atMs + lifetimeMs }
    if (!credentials.replace(account, id, { ...credential, refreshToken, answer: state })) return null
    log.info("imap.upstream.token", { account, rotated: refreshToken !== credential.refreshToken })
    return accessToken
  }

  /** @returns null when the token endpoint must be asked */
  #usable(answer: TokenState | null, refused: string | null): string | null {
    if (answer === null) return null
    const nowMs = this.#options.now().getTime()
    if (answer.kind === "refused") {
      if (Math.abs(nowMs - answer.atMs) < ASK_AGAIN_MS) throw refusal(answer.reason)
      return null
    }
    if (answer.accessToken !== refused) return answer.expiresAtMs - nowMs > leadMs(answer) ? answer.accessToken : null
    if (Math.abs(nowMs - answer.grantedAtMs) < FRESH_MS)
      throw new GatewayError("UPSTREAM_REFUSED", "imap upstream: a fresh access token is refused")
    return null
  }

  #read(account: string): OAuthStored {
    const stored = this.#options.credentials.read(account)
    if (stored?.credential.kind !== "oauth")
      throw new GatewayError("UPSTREAM_REFUSED", `imap upstream: no OAuth credential is stored for ${account}`)
    return { id: stored.id, credential: stored.credential }
  }
}

type OAuthStored = Pick<StoredCredential, "id"> & { readonly credential: OAuthCredential }

function refusal(reason: string): GatewayError {
  return CONSENT.includes(reason)
    ? new GatewayError("UPSTREAM_CONSENT", `token endpoint: ${reason}: the owner must consent again`)
    : new GatewayError("UPSTREAM_REFUSED", `token endpoint: ${reason}`)
}

/** A token that expires between our look and the server's would be refused; short-lived ones have less to give. */
function leadMs({ grantedAtMs, expiresAtMs }: TokenState & { kind: "granted" }): number {
  return Math.min(LEAD_MS, (expiresAtMs - grantedAtMs) / 4)
}

/** `act` goes on when `signal` ends the waiting for it. */
async function orAborted<T>(act: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const abort = (): void =>
    reject(new GatewayError("UPSTREAM_UNAVAILABLE", "token endpoint: no answer", { cause: signal.reason }))
  if (signal.aborted) abort()
  signal.addEventListener("abort", abort, { once: true })
  try {
    return await Promise.race([act, promise])
  } finally {
    signal.removeEventListener("abort", abort)
  }
}

/** RFC 6749 §5.2 and OpenID Connect Core §3.1.2.6: nobody but the owner can mend these. */
const CONSENT: readonly string[] = ["invalid_grant", "interaction_required", "consent_required", "login_required"]
/** More than a token endpoint is given to answer; then a claim that a crash left behind has ended too. */
const ASK_MS = 20_000
const OTHERS_POLL_MS = 50
const LEAD_MS = 120_000
/** A token this young is not refused for its age: another would be refused too. */
const FRESH_MS = 30_000
/** After a refusal, so that a client that tries every minute is not passed on to the token endpoint. */
const ASK_AGAIN_MS = 300_000
