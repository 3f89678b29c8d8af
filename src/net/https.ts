import type { ClientRequest, IncomingMessage } from "node:http"
import { request } from "node:https"
import { isIPv6, type LookupFunction } from "node:net"
import { checkServerIdentity, type PeerCertificate } from "node:tls"
import { certificateNames } from "../crypto/primitives/x509.ts"
import { request as requestInClear } from "./http.ts"
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
  /** As resolved; of those that are allowed the first that takes a connection is asked. */
  readonly addresses: readonly string[]
  /** With its query. */
  readonly path: string
  /** The URL's own port; that of the rules unless given. */
  readonly port?: number
  /** Over plain HTTP, port 80 unless given: for what is signed itself, such as a CRL. */
  readonly inClear?: boolean
  /** POSTed; GET without it. */
  readonly body?: { readonly type: string; readonly octets: Uint8Array }
  /** The response may be this long. */
  readonly maxOctets: number
}

export interface HttpsResponse {
  readonly status: number
  /** Media type, lower case, without parameters. */
  readonly type: string
  /** null: no such field. */
  readonly location: string | null
  readonly retryAfter: string | null
  readonly body: Uint8Array
}

/**
 * One exchange over a connection of its own; the certificate is verified, redirects are answers like others. A body is whole: one whose end
 * only the end of the connection tells could have been cut off by whoever sits on the way, and is none (RFC 9112 §8).
 * @throws Error with Node's `code` where it has one; ADDRESS_FORBIDDEN, ENCODED, TOO_LONG, UNFRAMED or TIMEOUT where the rules end it
 */
export async function askHttps(asked: HttpsRequest, rules: HttpsRules, signal: AbortSignal): Promise<HttpsResponse> {
  const addresses = asked.addresses.filter(rules.isAllowed ?? isPublicAddress).slice(0, MAX_ADDRESSES)
  if (addresses.length === 0) throw failure("ADDRESS_FORBIDDEN", `${asked.host} has no public address`)
  const timeout = AbortSignal.timeout(rules.timeoutMs ?? TIMEOUT_MS)
  const { promise, resolve, reject } = Promise.withResolvers<HttpsResponse>()
  const exchange = sent(asked, rules, addresses, AbortSignal.any([signal, timeout]))
  exchange.on("error", (cause) => reject(timeout.aborted ? failure("TIMEOUT", `${asked.host} took too long`) : cause))
  exchange.on("response", (response) => {
    const refuse = (error: Error): void => {
      reject(error)
      exchange.destroy()
    }
    const refused = refusal(response, asked)
    if (refused) refuse(refused)
    else read(response, asked, resolve, refuse)
  })
  exchange.end(asked.body?.octets)
  try {
    return await promise
  } catch (error) {
    signal.throwIfAborted()
    throw error
  }
}

function sent(
  { host, path, body, inClear = false, ...asked }: HttpsRequest,
  rules: HttpsRules,
  addresses: readonly string[],
  signal: AbortSignal,
): ClientRequest {
  const usualPort = inClear ? 80 : 443
  const port = asked.port ?? rules.port ?? usualPort
  const options = {
    host,
    port,
    path,
    method: body ? "POST" : "GET",
    // Never a connection that was verified for somebody else.
    agent: false,
    lookup: among(addresses),
    autoSelectFamilyAttemptTimeout: ATTEMPT_MS,
    headers: {
      host: port === usualPort ? host : `${host}:${port}`,
      "user-agent": "Postern",
      "accept-encoding": "identity",
      ...(body ? { "content-type": body.type, "content-length": body.octets.length } : {}),
    },
    signal,
  }
  if (inClear) return requestInClear(options)
  const authority = rules.authority === undefined ? {} : { ca: rules.authority }
  return request({ ...options, servername: host, checkServerIdentity: identityError, ...authority })
}

/** What was resolved and allowed is what is connected to: the name is not looked up again. */
function among(addresses: readonly string[]): LookupFunction {
  const found = addresses.map((address) => ({ address, family: isIPv6(address) ? 6 : 4 }))
  return (_host, { all }, done) => {
    if (all) done(null, found)
    else done(null, found[0]?.address ?? "", found[0]?.family)
  }
}

/** @returns why its body is not read */
function refusal({ headers }: IncomingMessage, { host, maxOctets }: HttpsRequest): Error | null {
  const encoding = headers["content-encoding"] ?? "identity"
  if (encoding.toLowerCase() !== "identity")
    return failure("ENCODED", `${host} answers in an encoding nobody asked for`)
  if (Number(headers["content-length"] ?? 0) > maxOctets) return tooLong(host, maxOctets)
  return null
}

function read(
  response: IncomingMessage,
  { host, maxOctets }: HttpsRequest,
  resolve: (response: HttpsResponse) => void,
  refuse: (error: Error) => void,
): void {
  const { headers, statusCode: status = 0 } = response
  const parts: Buffer[] = []
  let length = 0
  response.on("data", (octets: Buffer) => {
    parts.push(octets)
    length += octets.length
    if (length > maxOctets) refuse(tooLong(host, maxOctets))
  })
  response.on("error", refuse)
  response.on("end", () => {
    const framed = headers["content-length"] !== undefined || headers["transfer-encoding"] === "chunked"
    if (!framed && length > 0) return refuse(failure("UNFRAMED", `${host} does not say how long its answer is`))
    const type = (headers["content-type"] ?? "").split(";")[0]?.trim().toLowerCase() ?? ""
    const { location = null, "retry-after": retryAfter = null } = headers
    resolve({ status, type, location, retryAfter, body: Buffer.concat(parts) })
  })
}

/** RFC 8461 §3.3: the name must be among subjectAltName; a common name is none. */
export function identityError(host: string, certificate: PeerCertificate): Error | undefined {
  const error = checkServerIdentity(host, certificate)
  if (error || certificateNames(certificate.raw, host)) return error
  return failure("ERR_TLS_CERT_ALTNAME_INVALID", `the certificate has no name ${host}`)
}

function tooLong(host: string, maxOctets: number): Error {
  return failure("TOO_LONG", `${host} answers more than ${maxOctets} octets`)
}

function failure(code: string, message: string): Error {
  return Object.assign(new Error(`https: ${message}`), { code })
}

const TIMEOUT_MS = 30_000
/** What has more is a large site, and its first ones answer. */
const MAX_ADDRESSES = 8
/** Then the next address is tried, such as IPv4 where IPv6 leads nowhere (RFC 8305). */
const ATTEMPT_MS = 500
