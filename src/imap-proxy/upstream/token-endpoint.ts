import { GatewayError } from "../../errors.ts"
import type { OAuthCredential } from "../../store/upstream-credential.ts"

/** What a token endpoint says to a refresh token. */
export type TokenAnswer =
  | {
      readonly kind: "granted"
      readonly accessToken: string
      /** null: the old one stays good. */
      readonly refreshToken: string | null
      readonly lifetimeMs: number
    }
  /** An error code of RFC 6749 §5.2: asking again changes nothing. */
  | { readonly kind: "refused"; readonly reason: string }

/**
 * Asks for an access token (RFC 6749 §6).
 * @throws GatewayError UPSTREAM_UNAVAILABLE when there is no answer that means anything, in time
 */
export async function refreshAccess(credential: OAuthCredential, signal: AbortSignal): Promise<TokenAnswer> {
  const { host } = new URL(credential.tokenEndpoint)
  try {
    const response = await fetch(credential.tokenEndpoint, {
      method: "POST",
      headers: { "Content-Type": "application/x-www-form-urlencoded", Accept: "application/json" },
      body: formOf(credential),
      // Nobody else is told a refresh token.
      redirect: "error",
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]),
    })
    const answer = readAnswer(response.status, await readBody(response))
    if (answer !== null) return answer
    throw new GatewayError(
      "UPSTREAM_UNAVAILABLE",
      `token endpoint ${host}: answer of status ${response.status} unusable`,
    )
  } catch (cause) {
    if (cause instanceof GatewayError) throw cause
    throw new GatewayError("UPSTREAM_UNAVAILABLE", `token endpoint ${host}: no answer`, { cause })
  }
}

// Client authentication in the body (RFC 6749 §2.3.1), as Google and Microsoft document it.
function formOf({ clientId, clientSecret, refreshToken, scope }: OAuthCredential): URLSearchParams {
  return new URLSearchParams({
    grant_type: "refresh_token",
    refresh_token: refreshToken,
    client_id: clientId,
    ...(clientSecret === null ? {} : { client_secret: clientSecret }),
    ...(scope === null ? {} : { scope }),
  })
}

/** @returns null when there is too much of it */
async function readBody({ body }: Response): Promise<string | null> {
  if (body === null) return ""
  const decoder = new TextDecoder()
  let text = ""
  for await (const octets of body) {
    text += decoder.decode(octets, { stream: true })
    if (text.length > MAX_ANSWER_CHARACTERS) return null
  }
  return text
}

/** RFC 6749 §5.1, §5.2. @returns null for anything else, as a gateway's own error page */
function readAnswer(status: number, body: string | null): TokenAnswer | null {
  const answer = jsonObject(body)
  if (answer === null) return null
  if (status !== 200) {
    const reason = answer["error"]
    if (status < 400 || status >= 500 || typeof reason !== "string" || !/^[a-z_]{1,64}$/.test(reason)) return null
    return TRANSIENT.includes(reason) ? null : { kind: "refused", reason }
  }
  const {
    access_token: accessToken,
    refresh_token: refreshToken = null,
    token_type: type,
    expires_in: lifetime,
  } = answer
  if (typeof type !== "string" || type.toLowerCase() !== "bearer" || !isToken(accessToken)) return null
  if (refreshToken !== null && !isToken(refreshToken)) return null
  return { kind: "granted", accessToken, refreshToken, lifetimeMs: lifetimeMs(lifetime) }
}

function jsonObject(body: string | null): Readonly<Record<string, unknown>> | null {
  if (body === null) return null
  try {
    const value: unknown = JSON.parse(body)
    return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : null
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}

/** RFC 6749 appendix A.12: visible characters, so that a token ends no field and no line. */
function isToken(value: unknown): value is string {
  return typeof value === "string" && /^[\x20-\x7e]{1,16384}$/.test(value)
}

function lifetimeMs(seconds: unknown): number {
  const value = typeof seconds === "string" || typeof seconds === "number" ? Number(seconds) : Number.NaN
  return value > 0 ? Math.min(value * 1000, LONGEST_LIFETIME_MS) : UNTOLD_LIFETIME_MS
}

/** Google and Microsoft answer within a second; people wait for it with their password shown as right. */
const ANSWER_MS = 15_000
/** Tokens of 2 to 4 kB, and an id token beside them. */
const MAX_ANSWER_CHARACTERS = 65_536
/** RFC 6749 §4.1.2.1 names them for redirects; some servers answer so here as well. */
const TRANSIENT: readonly string[] = ["temporarily_unavailable", "server_error", "slow_down"]
const LONGEST_LIFETIME_MS = 86_400_000
/** RFC 6749 §5.1 leaves it out only where it is known otherwise, and we do not know. */
const UNTOLD_LIFETIME_MS = 300_000
