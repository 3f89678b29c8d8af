import { Server as TlsServer } from "node:tls"
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify"
import { fastify } from "fastify"
import { hasCode } from "../errors.ts"
import type { Log } from "../log/log.ts"
import { serveAutoconfig } from "./autoconfig.ts"
import { autodiscoverUrl, serveAutodiscover } from "./autodiscover.ts"
import { type ClientSetup, hostDomains } from "./client-setup.ts"
import { type ListenAt, listenOn } from "./listen.ts"
import { serveStsPolicy } from "./sts-policy.ts"

/** The signed mail profiles of our people, found by the hash of the local part. */
export interface Profiles {
  /** @returns the signed document, or null when nobody of `domain` has this hash. */
  byHash(domain: string, hash: string): string | null
  readonly domains: readonly string[]
}

/** PEM. */
interface PublicIdentity {
  readonly key: string
  readonly certificate: string
}

interface PublicTls extends PublicIdentity {
  /** Other identities, by the name that a client asks for (RFC 6066 §3). */
  readonly names?: ReadonlyMap<string, PublicIdentity>
}

export interface PublicHttpOptions extends ListenAt {
  readonly tls: PublicTls
  readonly profiles: Profiles
  readonly clients: ClientSetup
  /** The MTA-STS policy of all our domains; null: none is published. */
  readonly stsPolicy: string | null
  readonly log: Log
}

/** Key material is fetched by machines that cache; five minutes bounds how long a replaced key is still used. */
const CACHE_SECONDS = 300
/** zbase32 of 20 octets of SHA-1. */
const HASH = /^[ybndrfg8ejkmcpqxot1uwisza345h769]{32}$/

/** The http role's public side, over TLS only: mail profiles at their well-known address (docs/PROFILE.md), and what clients set themselves up with. */
export async function startPublicHttp(options: PublicHttpOptions): Promise<FastifyInstance> {
  const { key, certificate } = options.tls
  const server = fastify({
    https: { key, cert: certificate },
    logger: false,
    bodyLimit: 1024,
    requestTimeout: 10_000,
    keepAliveTimeout: 5_000,
    forceCloseConnections: true,
    rewriteUrl: (request) => autodiscoverUrl(request.url ?? "/"),
    frameworkErrors: (_error, _request, reply) => void sendText(reply, 400, "bad request"),
  })
  reloadPublicTls(server, options.tls)
  serveProfiles(server, options.profiles)
  serveAutoconfig(server, options.clients)
  serveAutodiscover(server, options.clients)
  if (options.stsPolicy !== null) serveStsPolicy(server, options.stsPolicy, options.clients.domains)
  server.setNotFoundHandler((request, reply) => notFound(server, request, reply))
  server.setErrorHandler((error, _request, reply) => {
    const status = clientsFault(error)
    if (status !== null) return sendText(reply, status, "bad request")
    options.log.error("http.failed", { listener: "https" }, error)
    if (hasCode(error, "STATE_AWAY")) return sendText(reply.header("retry-after", "10"), 503, "try again later")
    return sendText(reply, 500, "internal error")
  })
  await listenOn(server, options, "https")
  return server
}

/** New handshakes show this; open connections stay. */
export function reloadPublicTls({ server }: FastifyInstance, { key, certificate, names }: PublicTls): void {
  if (!(server instanceof TlsServer)) return
  server.setSecureContext({ key, cert: certificate })
  // The one that was added last is taken.
  for (const [name, one] of names ?? []) server.addContext(name, { key: one.key, cert: one.certificate })
}

function serveProfiles(server: FastifyInstance, profiles: Profiles): void {
  server.get<{ Params: { hash: string } }>("/.well-known/mail-profile/:hash", async (request, reply) => {
    const found = hostDomains(request.hostname, profiles.domains)
      .map((domain) => lookUp(profiles, domain, request.params.hash))
      .find((profile) => profile !== null)
    return answer(reply, found ?? null)
  })
  server.get<{ Params: { domain: string; hash: string } }>(
    "/.well-known/mail-profile/:domain/:hash",
    async (request, reply) => answer(reply, lookUp(profiles, request.params.domain.toLowerCase(), request.params.hash)),
  )
}

/** RFC 9110 §15.5.6: a path that is there for other methods says for which. */
function notFound(server: FastifyInstance, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const [url = ""] = request.url.split("?")
  const allowed = METHODS.filter((method) => server.hasRoute({ method, url }))
  if (allowed.length === 0) return sendText(reply, 404, "not found")
  return sendText(reply.header("allow", allowed.join(", ")), 405, "method not allowed")
}

/** @returns the status of a request that is at fault itself (too large, malformed), null for what failed here */
function clientsFault(error: unknown): number | null {
  const status = typeof error === "object" && error !== null && "statusCode" in error ? Number(error.statusCode) : 500
  return status >= 400 && status < 500 ? status : null
}

function sendText(reply: FastifyReply, status: number, line: string): FastifyReply {
  return reply.code(status).type("text/plain; charset=utf-8").send(`${line}\n`)
}

const METHODS = ["GET", "HEAD", "POST"] as const

function lookUp(profiles: Profiles, domain: string, hash: string): string | null {
  return HASH.test(hash) && profiles.domains.includes(domain) ? profiles.byHash(domain, hash) : null
}

function answer(
  reply: {
    code(n: number): typeof reply
    header(name: string, value: string): typeof reply
    send(body: string): unknown
  },
  profile: string | null,
): unknown {
  if (profile === null) return reply.code(404).header("content-type", "text/plain").send("no such profile\n")
  return reply
    .code(200)
    .header("content-type", "application/jose+json; charset=utf-8")
    .header("cache-control", `public, max-age=${CACHE_SECONDS}`)
    .header("access-control-allow-origin", "*")
    .header("x-content-type-options", "nosniff")
    .send(profile)
}
