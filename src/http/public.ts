import type { FastifyInstance } from "fastify"
import { fastify } from "fastify"
import type { Log } from "../log/log.ts"
import { listenOn } from "./listen.ts"

/** The signed mail profiles of our people, found by the hash of the local part. */
export interface Profiles {
  /** @returns the signed document, or null when nobody of `domain` has this hash. */
  byHash(domain: string, hash: string): string | null
  readonly domains: readonly string[]
}

export interface PublicHttpOptions {
  readonly host: string
  readonly port: number
  readonly tls: { readonly key: string; readonly certificate: string }
  readonly profiles: Profiles
  readonly log: Log
}

/** Key material is fetched by machines that cache; five minutes bounds how long a replaced key is still used. */
const CACHE_SECONDS = 300
/** zbase32 of 20 octets of SHA-1. */
const HASH = /^[ybndrfg8ejkmcpqxot1uwisza345h769]{32}$/

/** The http role's public side: mail profiles at their well-known address (docs/PROFILE.md), over TLS only. */
export async function startPublicHttp(options: PublicHttpOptions): Promise<FastifyInstance> {
  const { key, certificate } = options.tls
  const server = fastify({
    https: { key, cert: certificate },
    logger: false,
    bodyLimit: 1024,
    requestTimeout: 10_000,
    keepAliveTimeout: 5_000,
    forceCloseConnections: true,
  })
  server.get<{ Params: { hash: string } }>("/.well-known/mail-profile/:hash", async (request, reply) => {
    const found = hostDomains(request.hostname, options.profiles.domains)
      .map((domain) => lookUp(options.profiles, domain, request.params.hash))
      .find((profile) => profile !== null)
    return answer(reply, found ?? null)
  })
  server.get<{ Params: { domain: string; hash: string } }>(
    "/.well-known/mail-profile/:domain/:hash",
    async (request, reply) =>
      answer(reply, lookUp(options.profiles, request.params.domain.toLowerCase(), request.params.hash)),
  )
  server.setNotFoundHandler((_request, reply) => reply.code(404).type("text/plain").send("not found\n"))
  server.setErrorHandler((error, _request, reply) => {
    options.log.error("http.failed", { listener: "https" }, error)
    return reply.code(500).type("text/plain").send("internal error\n")
  })
  await listenOn(server, options.host, options.port, "https")
  return server
}

function lookUp(profiles: Profiles, domain: string, hash: string): string | null {
  return HASH.test(hash) && profiles.domains.includes(domain) ? profiles.byHash(domain, hash) : null
}

/** The domain that was asked for by name; an address or another name means all of ours. */
function hostDomains(hostname: string, domains: readonly string[]): readonly string[] {
  const named = domains.filter((domain) => hostname === domain || hostname.endsWith(`.${domain}`))
  return named.length > 0 ? named : domains
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
