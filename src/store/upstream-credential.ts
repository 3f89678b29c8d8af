import { GatewayError } from "../errors.ts"

/** What logs one account in at the IMAP server behind the proxy. */
export type UpstreamCredential = PasswordCredential | OAuthCredential

/** A name and a password there, an app password for instance. */
interface PasswordCredential {
  readonly kind: "password"
  readonly user: string
  readonly password: string
}

/** OAuth 2.0: access tokens are fetched with a refresh token (RFC 6749 §6), and shown by XOAUTH2 or OAUTHBEARER. */
export interface OAuthCredential {
  readonly kind: "oauth"
  readonly user: string
  /** https, or http on this machine. */
  readonly tokenEndpoint: string
  readonly clientId: string
  /** null: a public client (RFC 6749 §2.1). */
  readonly clientSecret: string | null
  /** Space-separated; null: what the owner consented to. */
  readonly scope: string | null
  readonly refreshToken: string
  /** What the token endpoint said last; null: it was not asked yet. */
  readonly answer: TokenState | null
}

/** The last word of a token endpoint. */
export type TokenState =
  | {
      readonly kind: "granted"
      readonly accessToken: string
      readonly grantedAtMs: number
      readonly expiresAtMs: number
    }
  /** `reason` is an error code of RFC 6749 §5.2. */
  | { readonly kind: "refused"; readonly reason: string; readonly atMs: number }

/** The octets that are sealed. */
export function encodeCredential(credential: UpstreamCredential): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(credential))
}

/** Reverses {@link encodeCredential}; the seal vouches that we wrote them. */
export function decodeCredential(octets: Uint8Array): UpstreamCredential {
  return JSON.parse(new TextDecoder().decode(octets)) as UpstreamCredential
}

/**
 * Refuses what could not be sent: these characters end a line or a field of a SASL response.
 * @throws GatewayError USAGE naming the field, never its value
 */
export function checkCredential(credential: UpstreamCredential): void {
  for (const [field, value] of Object.entries(credential))
    if (typeof value === "string" && (value === "" || /[\0\x01\r\n]/.test(value)))
      throw new GatewayError("USAGE", `upstream credential: ${field} is empty or has control characters`)
  if (credential.kind === "oauth") checkTokenEndpoint(credential.tokenEndpoint)
}

/** RFC 6749 §3.2: TLS is required; on this machine there is nobody in between. */
function checkTokenEndpoint(text: string): void {
  const url = URL.parse(text)
  if (url === null || url.username !== "" || url.password !== "" || url.hash !== "")
    throw new GatewayError("USAGE", "token endpoint: must be an https:// URL without user and password")
  if (url.protocol !== "https:" && !(url.protocol === "http:" && LOOPBACK.test(url.hostname)))
    throw new GatewayError("USAGE", `token endpoint ${url.host}: must be https:// (http:// on this machine only)`)
}

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/
