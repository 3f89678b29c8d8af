import { Server as TlsServer } from "node:tls"
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify"
import { fastify } from "fastify"
import { hasCode } from "../errors.ts"
import type { Log } from "../log/log.ts"
import { serveAutoconfig } from "./autoconfig.ts"
import { autodiscoverUrl, serveAutodiscover } from "./autodiscover.ts"
import type { ClientSetup } from "./client-setup.ts"
import { type ListenAt, listenOn } from "./listen.ts"
import { serveMailProfiles } from "./mail-profile.ts"
import { type MeshShelf, serveMeshBulk } from "./mesh-bulk.ts"
import { type MeshDoor, serveMesh } from "./mesh-service.ts"
import { NO_SCHEMAS } from "./no-schemas.ts"
import { type Askers, KeyAnswers, type PublishedKeys } from "./published.ts"
import { serveStsPolicy } from "./sts-policy.ts"
import { serveWebKeyDirectory } from "./web-key-directory.ts"

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
  readonly keys: PublishedKeys
  readonly askers: Askers
  readonly clients: ClientSetup
  /** The MTA-STS policy of all our domains; null: none is published. */
  readonly stsPolicy: string | null
  /** null: there is no Mesh service here. */
  readonly mesh: MeshDoor | null
  /** null: nothing is published. */
  readonly shelf: MeshShelf | null
  readonly log: Log
}

/** The http role's public side, over TLS only: keys of our people at their well-known addresses, what clients set themselves up with, and the Mesh service. */
export async function startPublicHttp(options: PublicHttpOptions): Promise<FastifyInstance> {
  const { key, certificate } = options.tls
  const server = fastify({
    https: { key, cert: certificate },
    logger: false,
    schemaController: NO_SCHEMAS,
    bodyLimit: 1024,
    requestTimeout: 10_000,
    keepAliveTimeout: 5_000,
    forceCloseConnections: true,
    rewriteUrl: (request) => autodiscoverUrl(request.url ?? "/"),
    frameworkErrors: (_error, _request, reply) => void sendText(reply, 400, "bad request"),
  })
  reloadPublicTls(server, options.tls)
  const answers = new KeyAnswers(options.keys, options.askers)
  serveMailProfiles(server, answers)
  serveWebKeyDirectory(server, answers)
  serveAutoconfig(server, options.clients)
  serveAutodiscover(server, options.clients)
  if (options.stsPolicy !== null) serveStsPolicy(server, options.stsPolicy, options.clients.domains)
  if (options.mesh !== null) serveMesh(server, options.mesh, options.askers)
  if (options.shelf !== null) serveMeshBulk(server, options.shelf, options.askers)
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
