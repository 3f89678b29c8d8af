/** PURE. The signed requests of ACME: JWS (RFC 7515) with ES256, flattened JSON serialization (RFC 8555 §6.2). */
import { sha256 } from "../crypto/primitives/hash.ts"
import { p256PublicPoint } from "../crypto/primitives/p256.ts"
import { signP256 } from "../crypto/primitives/sign.ts"

/** The protected header of a request (RFC 8555 §6.2). */
export interface RequestHead {
  readonly url: string
  readonly nonce: string
  /** URL of the account; null: the request shows the key itself (newAccount). */
  readonly account: string | null
}

/**
 * The body of a POST. `payload` null: POST-as-GET (RFC 8555 §6.3).
 * @throws GatewayError SCALAR_INVALID
 */
export function signRequest({ url, nonce, account }: RequestHead, payload: unknown, scalar: Uint8Array): string {
  const key = account === null ? { jwk: publicJwk(scalar) } : { kid: account }
  const head = base64url(JSON.stringify({ alg: "ES256", nonce, url, ...key }))
  const body = payload === null ? "" : base64url(JSON.stringify(payload))
  const signature = signP256(scalar, new TextEncoder().encode(`${head}.${body}`), "raw")
  return JSON.stringify({ protected: head, payload: body, signature: base64url(signature) })
}

/** What a challenge's token is answered with (RFC 8555 §8.1): token, ".", thumbprint of the account's key (RFC 7638). */
export function keyAuthorization(token: string, scalar: Uint8Array): string {
  return `${token}.${base64url(sha256(new TextEncoder().encode(JSON.stringify(publicJwk(scalar)))))}`
}

/** Members in the order of their names: the thumbprint is over this text (RFC 7638 §3.3). */
function publicJwk(scalar: Uint8Array): Readonly<Record<"crv" | "kty" | "x" | "y", string>> {
  const point = p256PublicPoint(scalar)
  return { crv: "P-256", kty: "EC", x: base64url(point.subarray(1, 33)), y: base64url(point.subarray(33)) }
}

function base64url(content: string | Uint8Array): string {
  return Buffer.from(content).toString("base64url")
}
