import { once } from "node:events"
import type { IncomingMessage, Server, ServerResponse } from "node:http"
import { createServer } from "../net/http.ts"
import { type ListenAt, listenOn } from "./listen.ts"

export interface PlainHttpOptions extends ListenAt {
  /** What the CA is to find at a token (RFC 8555 §8.3); null: the token is none of ours. */
  readonly challenge: (token: string) => string | null
  /** "host" or "host:port" of our HTTPS; null: there is none. */
  readonly https: string | null
}

/** A listener that is up. */
export interface PlainHttp {
  address(): { readonly host: string; readonly port: number }
  close(): Promise<void>
}

/**
 * HTTP in clear, for the CA: answers pending challenges of HTTP-01, sends everybody else on to HTTPS (308), and has nothing more.
 * @throws GatewayError LISTEN_FAILED
 */
export async function startPlainHttp({ challenge, https, ...where }: PlainHttpOptions): Promise<PlainHttp> {
  const server = createServer(LIMITS, (request, response) => {
    // Bodies are of no use here; who sends one is cut off with the response.
    answer(request, response, challenge, https)
  })
  server.maxConnections = MAX_CONNECTIONS
  await listenOn({ listen: (options) => listen(server, options) }, where, "http")
  return {
    address: () => {
      const found = server.address()
      return found !== null && typeof found === "object" ? { host: found.address, port: found.port } : where
    },
    async close() {
      const closed = once(server, "close")
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  challenge: PlainHttpOptions["challenge"],
  https: string | null,
): void {
  const { method, url = "" } = request
  const isReading = method === "GET" || method === "HEAD"
  // As it came: an escape or a query makes it another path.
  const [, token] = CHALLENGE_PATH.exec(url) ?? []
  const authorization = isReading && token !== undefined ? challenge(token) : null
  if (authorization !== null) send(response, 200, { "content-type": "application/octet-stream" }, authorization)
  else if (isReading && https !== null && url.startsWith("/") && !url.startsWith(CHALLENGES))
    send(response, 308, { location: `https://${https}${url}`, "content-type": TEXT }, "see https\n")
  else send(response, 404, { "content-type": TEXT }, "not found\n")
}

function send(response: ServerResponse, status: number, headers: Readonly<Record<string, string>>, body: string): void {
  response.writeHead(status, {
    ...headers,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    connection: "close",
  })
  response.end(body)
}

async function listen(server: Server, { host, port }: { host: string; port: number }): Promise<string> {
  server.listen({ host, port })
  await once(server, "listening")
  return host
}

const CHALLENGES = "/.well-known/acme-challenge/"
const CHALLENGE_PATH = /^\/\.well-known\/acme-challenge\/([A-Za-z0-9_-]{1,128})$/
const TEXT = "text/plain; charset=utf-8"
const LIMITS = {
  maxHeaderSize: 8_192,
  headersTimeout: 5_000,
  requestTimeout: 10_000,
  connectionsCheckingInterval: 1_000,
  keepAlive: false,
}
/** A CA asks from a handful of places at once. */
const MAX_CONNECTIONS = 256
