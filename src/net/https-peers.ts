import type { IncomingHttpHeaders } from "node:http"
import { Agent, request } from "node:https"
import { isIPv6, type LookupFunction } from "node:net"
import { addAbortSignal, type Readable } from "node:stream"
import { GatewayError } from "../errors.ts"
import { identityError } from "./https.ts"
import { isPublicAddress } from "./public-address.ts"
import { urlRefusal, type WebRules, webError } from "./web.ts"

/** One exchange with another gateway; what is asked and what is answered may be of any size. */
export interface PeerRequest {
  readonly url: URL
  /** POSTed; GET without it. */
  readonly body?: { readonly type: string; readonly octets: Uint8Array }
  /** Fields beside those that every request has. */
  readonly fields?: Readonly<Record<string, string>>
}

export interface PeerAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Has to be read to its end or {@link discard}ed. Throws GatewayError WEB_* when it breaks off, or nothing comes for {@link IDLE_MS}. */
  readonly body: AsyncIterable<Uint8Array>
  discard(): void
}

/** How peers are reached; as other people's web servers are. */
export type PeerRules = Pick<WebRules, "resolve" | "isAllowed" | "authority" | "port">

/**
 * Asks other gateways by HTTPS, over connections that are kept: a connection is to a host of one name, whose certificate was verified for that. Only public addresses; no
 * redirects, which are answers like others.
 */
export class HttpsPeers implements Disposable {
  readonly #rules: PeerRules
  readonly #agent: Agent

  constructor(rules: PeerRules) {
    this.#rules = rules
    this.#agent = new Agent({
      keepAlive: true,
      maxSockets: PER_HOST,
      maxFreeSockets: PER_HOST,
      maxTotalSockets: MAX_CONNECTIONS,
      // With the request it would make a new connection each time.
      checkServerIdentity: identityError,
    })
  }

  /** @throws GatewayError WEB_*; the signal's reason when it aborts */
  async ask(asked: PeerRequest, signal: AbortSignal): Promise<PeerAnswer> {
    const refused = urlRefusal(asked.url, false, false)
    if (refused !== null) throw new GatewayError("WEB_FORBIDDEN_URL", `${asked.url.host}: ${refused}`)
    try {
      return await this.#exchange(asked, signal)
    } catch (cause) {
      signal.throwIfAborted()
      throw cause instanceof GatewayError ? cause : webError(cause, asked.url)
    }
  }

  [Symbol.dispose](): void {
    this.#agent.destroy()
  }

  #exchange({ url, body, fields }: PeerRequest, signal: AbortSignal): Promise<PeerAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<PeerAnswer>()
    const { authority, port = 443 } = this.#rules
    const exchange = request({
      host: url.hostname,
      port,
      path: `${url.pathname}${url.search}`,
      method: body ? "POST" : "GET",
      agent: this.#agent,
      lookup: this.#lookup,
      servername: url.hostname,
      ...(authority === undefined ? {} : { ca: authority }),
      headers: {
        host: url.hostname,
        "user-agent": "Postern",
        "accept-encoding": "identity",
        ...(body ? { "content-type": body.type, "content-length": body.octets.length } : {}),
        ...fields,
      },
      signal,
    })
    exchange.setTimeout(IDLE_MS, () => exchange.destroy(idle(url)))
    exchange.on("error", reject)
    exchange.on("response", (response) => {
      const { statusCode: status = 0, headers } = response
      response.setTimeout(IDLE_MS, () => response.destroy(idle(url)))
      resolve({
        status,
        headers,
        body: told(addAbortSignal(signal, response), url, signal),
        discard: () => void response.destroy(),
      })
    })
    exchange.end(body?.octets)
    return promise
  }

  /** Asked for a new connection only. */
  #lookup: LookupFunction = (host, { all }, done) => {
    this.#addresses(host).then(
      (addresses) => {
        const found = addresses.map((address) => ({ address, family: isIPv6(address) ? 6 : 4 }))
        if (all) done(null, found)
        else done(null, found[0]?.address ?? "", found[0]?.family)
      },
      (error: Error) => done(error, ""),
    )
  }

  async #addresses(host: string): Promise<readonly string[]> {
    const { resolve, isAllowed = isPublicAddress } = this.#rules
    const found = await resolve(host)
    if (found.kind !== "addresses") throw new GatewayError("WEB_NO_NAME", `${host}: has no address`)
    const allowed = found.addresses.filter(isAllowed)
    if (allowed.length === 0) throw new GatewayError("WEB_FORBIDDEN_ADDRESS", `${host}: has no public address`)
    return allowed.slice(0, MAX_ADDRESSES)
  }
}

async function* told(body: Readable, url: URL, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  try {
    yield* body
  } catch (cause) {
    signal.throwIfAborted()
    throw cause instanceof GatewayError ? cause : webError(cause, url)
  }
}

function idle({ host }: URL): GatewayError {
  return new GatewayError("WEB_TIMEOUT", `${host}: nothing came for ${IDLE_MS} ms`)
}

/** All of an answer, where it is to be a short one. @throws GatewayError WEB_TOO_LONG; as its body */
export async function wholeAnswer({ body, discard }: PeerAnswer, maxOctets: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of body) {
    size += part.length
    if (size > maxOctets) {
      discard()
      throw new GatewayError("WEB_TOO_LONG", `peer: answers more than ${maxOctets} octets`)
    }
    parts.push(part)
  }
  return Buffer.concat(parts)
}

/** Of an exchange in which nothing happens. */
const IDLE_MS = 30_000
/** As many as there are deliveries to one destination at a time. */
const PER_HOST = 8
const MAX_CONNECTIONS = 256
/** What has more is a large site, and its first ones answer. */
const MAX_ADDRESSES = 8
