import type { FastifyInstance, FastifyReply } from "fastify"
import { GatewayError, hasCode } from "../errors.ts"
import type { Log } from "../log/log.ts"

/** Answers are JSON values. Addresses are as somebody wrote them: what is none throws GatewayError ADDRESS_SYNTAX. */
export interface Diagnosis {
  /** What every source of keys says of an address now, and what would become of mail to it. `sender` null: somebody. */
  lookup(address: string, sender: string | null): Promise<object>
  /** What policy makes of mail. */
  policy(message: MessageTrial): Promise<object>
}

interface MessageTrial {
  readonly sender: string | null
  readonly recipients: readonly string[]
  readonly subject: string | null
}

type Query = Readonly<Record<string, unknown>>

/** `GET /api/v1/keys/ADDRESS` and `GET /api/v1/policy`. Whatever is wrong is told as JSON: `{ "error": { "code", "message" } }`. */
export function serveDiagnosis(server: FastifyInstance, diagnosis: Diagnosis, log: Log): void {
  let asking = 0
  /** Each look-up has every source asked, of whoever is named in it. */
  const answer = async (reply: FastifyReply, site: unknown, ask: () => Promise<object>): Promise<FastifyReply> => {
    if (!isOwnSite(site)) return refuse(reply, 403, "FORBIDDEN", "not for pages of other sites")
    if (asking >= MAX_ASKING)
      return refuse(reply.header("retry-after", RETRY_AFTER_S), 429, "TOO_MANY", `${MAX_ASKING} look-ups are under way`)
    asking += 1
    try {
      return await reply.send(await ask())
    } catch (error) {
      if (error instanceof GatewayError && BAD_REQUESTS.some((code) => hasCode(error, code)))
        return refuse(reply, 400, error.code, error.message)
      log.error("http.failed", { listener: "admin" }, error)
      return refuse(reply, 500, "INTERNAL", "internal error")
    } finally {
      asking -= 1
    }
  }
  server.get<{ Params: { address: string }; Querystring: Query }>(
    "/api/v1/keys/:address",
    ({ params, query, headers }, reply) =>
      answer(reply, headers["sec-fetch-site"], async () => diagnosis.lookup(params.address, one(query, "from"))),
  )
  server.get<{ Querystring: Query }>("/api/v1/policy", ({ query, headers }, reply) =>
    answer(reply, headers["sec-fetch-site"], async () => diagnosis.policy(trialIn(query))),
  )
}

/** @throws GatewayError USAGE */
function trialIn(query: Query): MessageTrial {
  const recipients = [query["to"] ?? []].flat().filter((text): text is string => typeof text === "string")
  if (recipients.length === 0 || recipients.length > MAX_RECIPIENTS)
    throw new GatewayError("USAGE", `policy: "to" is to be given once to ${MAX_RECIPIENTS} times`)
  return { sender: one(query, "from"), recipients, subject: one(query, "subject") }
}

/** @throws GatewayError USAGE when it was given more than once */
function one(query: Query, name: string): string | null {
  const value = query[name] ?? null
  if (value === null || typeof value === "string") return value
  throw new GatewayError("USAGE", `"${name}" was given more than once`)
}

/** A browser on this machine asks for any page that it shows, and names no site of its own where somebody typed the address (Fetch Metadata §2.3). */
export function isOwnSite(site: unknown): boolean {
  return site === undefined || site === "none" || site === "same-origin"
}

/** Says in JSON what is wrong. */
export function refuse(reply: FastifyReply, status: number, code: string, message: string): FastifyReply {
  return reply.code(status).send({ error: { code, message } })
}

/** Each is a question to every source of keys; who looks after a server asks for one at a time. */
export const MAX_ASKING = 4
/** No look-up takes longer by default. */
const RETRY_AFTER_S = 3
const MAX_RECIPIENTS = 20
const BAD_REQUESTS = ["ADDRESS_SYNTAX", "USAGE"] as const
