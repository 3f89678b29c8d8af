import { type FastifyInstance, fastify } from "fastify"
import type { Log } from "../log/log.ts"
import { isAskedAs } from "./asked-host.ts"
import { type ContactApi, serveContacts } from "./contacts.ts"
import { type Diagnosis, serveDiagnosis } from "./diagnosis.ts"
import { type ListenAt, listenOn } from "./listen.ts"
import { NO_SCHEMAS } from "./no-schemas.ts"

/** What the administration listener can tell. */
export interface AdminSource {
  /** Prometheus text. */
  metrics(): Promise<string>
  /** Names of what is not well; empty: ready. */
  troubles(): readonly string[]
  /** What `postern status` prints. */
  status(): Promise<Readonly<Record<string, unknown>>>
}

export interface AdminHttpOptions extends ListenAt {
  /** Host names that it is asked by beside `localhost`, lower case. */
  readonly names: readonly string[]
  readonly source: AdminSource
  readonly diagnosis: Diagnosis
  /** null: this gateway has no part in the Mesh. */
  readonly contacts: ContactApi | null
  readonly log: Log
}

/**
 * Administration: health, readiness, metrics, status and diagnosis as plain HTTP. Bind it to loopback: nobody is asked who he is, and
 * whoever reaches it can have keys looked up and read what policy makes of mail; contacts alone ask for a token. Pages in a browser that reaches it cannot: see {@link isAskedAs}.
 */
export async function startAdminHttp(options: AdminHttpOptions): Promise<FastifyInstance> {
  const server = fastify({
    logger: false,
    schemaController: NO_SCHEMAS,
    bodyLimit: 1024,
    requestTimeout: 10_000,
    keepAliveTimeout: 5_000,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: MAX_PARAMETER },
  })
  server.addHook("onRequest", async ({ headers }, reply) => {
    // RFC 9110 §15.5.20: Misdirected Request.
    if (!isAskedAs(options.names, headers.host)) return reply.code(421).type("text/plain").send("not by this name\n")
  })
  server.get("/healthz", async () => ({ status: "alive" }))
  server.get("/readyz", async (_request, reply) => {
    const troubles = options.source.troubles()
    return reply
      .code(troubles.length === 0 ? 200 : 503)
      .send({ status: troubles.length === 0 ? "ready" : "not ready", troubles })
  })
  server.get("/metrics", async (_request, reply) =>
    reply.type("text/plain; version=0.0.4").send(await options.source.metrics()),
  )
  server.get("/status", async () => options.source.status())
  serveDiagnosis(server, options.diagnosis, options.log)
  if (options.contacts !== null) serveContacts(server, options.contacts, options.log)
  server.setErrorHandler((error, _request, reply) => {
    options.log.error("http.failed", { listener: "admin" }, error)
    return reply.code(500).type("text/plain").send("internal error\n")
  })
  await listenOn(server, options, "admin")
  return server
}

/** An address of 254 octets, each of them escaped. */
const MAX_PARAMETER = 762
