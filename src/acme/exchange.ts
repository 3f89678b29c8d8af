import type { IncomingHttpHeaders } from "node:http"
import { request } from "node:https"
import { AcmeError } from "./problem.ts"

export interface AcmeRequest {
  readonly method: "GET" | "HEAD" | "POST"
  /** https. */
  readonly url: URL
  /** A signed request; "" for GET and HEAD. */
  readonly body: string
}

export interface AcmeResponse {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** Whom the CA's server must be vouched for by: PEM; null: the system's authorities. */
export type Authority = string | null

/**
 * One exchange with the CA over a verified connection of its own. Redirects are answers like others.
 * @throws AcmeError ACME_UNREACHABLE (no connection, certificate, time, length); the signal's reason when it aborts
 */
export async function exchange(
  { method, url, body }: AcmeRequest,
  authority: Authority,
  signal: AbortSignal,
): Promise<AcmeResponse> {
  const { promise, resolve, reject } = Promise.withResolvers<AcmeResponse>()
  const asked = request(url, {
    method,
    agent: false,
    headers: {
      "user-agent": "Postern",
      ...(method === "POST"
        ? { "content-type": "application/jose+json", "content-length": Buffer.byteLength(body) }
        : {}),
    },
    maxHeaderSize: MAX_HEADER_OCTETS,
    signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    ...(authority === null ? {} : { ca: authority }),
  })
  asked.on("error", reject)
  asked.on("response", (response) => {
    const parts: Buffer[] = []
    let length = 0
    response.on("data", (octets: Buffer) => {
      parts.push(octets)
      length += octets.length
      if (length > MAX_BODY_OCTETS) asked.destroy(new Error(`answers more than ${MAX_BODY_OCTETS} octets`))
    })
    response.on("error", reject)
    response.on("end", () =>
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts).toString() }),
    )
  })
  asked.end(body)
  try {
    return await promise
  } catch (cause) {
    signal.throwIfAborted()
    throw new AcmeError("ACME_UNREACHABLE", `${url.host}: ${reasonOf(cause)}`, { cause })
  }
}

function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause)
  if (cause.name === "AbortError" || cause.name === "TimeoutError") return `no answer within ${TIMEOUT_MS / 1000} s`
  // One error for each address that was tried, and no text of its own.
  const first: unknown = cause instanceof AggregateError ? cause.errors[0] : cause
  return first instanceof Error ? first.message : cause.message
}

const TIMEOUT_MS = 30_000
/** A chain of certificates is below 10 KB, an order with a hundred names about as much. */
const MAX_BODY_OCTETS = 262_144
const MAX_HEADER_OCTETS = 16_384
