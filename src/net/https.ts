import { request } from "node:https"
import { checkServerIdentity, type PeerCertificate } from "node:tls"
import { certificateNames } from "../crypto/primitives/x509.ts"
import { isPublicAddress } from "./public-address.ts"

/** How other people's HTTPS servers are asked. */
export interface HttpsRules {
  /** 443 unless given. */
  readonly port?: number
  /** PEM of the authorities to verify against, instead of the system's. */
  readonly authority?: string
  /** {@link isPublicAddress} unless given. */
  readonly isAllowed?: (address: string) => boolean
  /** Of the whole exchange; 30 s unless given (RFC 8461 §3.3 suggests a minute, and mail waits). */
  readonly timeoutMs?: number
}

export interface HttpsRequest {
  readonly host: string
  /** As resolved; the first one that is allowed is asked. */
  readonly addresses: readonly string[]
  /** With its query. */
  readonly path: string
  /** The URL's own port; that of the rules unless given. */
  readonly port?: number
  /** POSTed; GET without it. */
  readonly body?: { readonly type: string; readonly octets: Uint8Array }
  /** The response may be this long. */
  readonly maxOctets: number
}

export interface HttpsResponse {
  readonly status: number
  /** Media type, lower case, without parameters. */
  readonly type: string
  readonly body: Uint8Array
}

/**
 * One exchange over a connection of its own; the certificate is verified, redirects are answers like others.
 * @throws Error with Node's `code` where it has one; ADDRESS_FORBIDDEN, TOO_LONG or TIMEOUT where the rules end it
 */
export async function askHttps(asked: HttpsRequest, rules: HttpsRules, signal: AbortSignal): Promise<HttpsResponse> {
  const address = asked.addresses.find(rules.isAllowed ?? isPublicAddress)
  if (address === undefined) throw failure("ADDRESS_FORBIDDEN", `${asked.host} has no public address`)
  const timeout = AbortSignal.timeout(rules.timeoutMs ?? TIMEOUT_MS)
  const { promise, resolve, reject } = Promise.withResolvers<HttpsResponse>()
  const port = asked.port ?? rules.port ?? 443
  const exchange = request({
    host: address,
    servername: asked.host,
    port,
    path: asked.path,
    method: asked.body ? "POST" : "GET",
    // Never a connection that was verified for somebody else.
    agent: false,
    headers: {
      host: port === 443 ? asked.host : `${asked.host}:${port}`,
      "user-agent": "Postern",
      ...(asked.body ? { "content-type": asked.body.type, "content-length": asked.body.octets.length } : {}),
    },
    signal: AbortSignal.any([signal, timeout]),
    checkServerIdentity: identityError,
    ...(rules.authority === undefined ? {} : { ca: rules.authority }),
  })
  exchange.on("error", (cause) => reject(timeout.aborted ? failure("TIMEOUT", `${asked.host} took too long`) : cause))
  exchange.on("response", (response) => {
    const parts: Buffer[] = []
    let length = 0
    response.on("data", (octets: Buffer) => {
      parts.push(octets)
      length += octets.length
      if (length <= asked.maxOctets) return
      reject(failure("TOO_LONG", `${asked.host} answers more than ${asked.maxOctets} octets`))
      exchange.destroy()
    })
    response.on("error", reject)
    response.on("end", () => {
      const type = (response.headers["content-type"] ?? "").split(";")[0]?.trim().toLowerCase() ?? ""
      resolve({ status: response.statusCode ?? 0, type, body: Buffer.concat(parts) })
    })
  })
  exchange.end(asked.body?.octets)
  try {
    return await promise
  } catch (error) {
    signal.throwIfAborted()
    throw error
  }
}

/** RFC 8461 §3.3: the name must be among subjectAltName; a common name is none. */
function identityError(host: string, certificate: PeerCertificate): Error | undefined {
  const error = checkServerIdentity(host, certificate)
  if (error || certificateNames(certificate.raw, host)) return error
  return failure("ERR_TLS_CERT_ALTNAME_INVALID", `the certificate has no name ${host}`)
}

function failure(code: string, message: string): Error {
  return Object.assign(new Error(`https: ${message}`), { code })
}

const TIMEOUT_MS = 30_000
