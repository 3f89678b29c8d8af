import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify"
import { type ErrorCode, GatewayError } from "../errors.ts"
import type { Log } from "../log/log.ts"
import { isOwnSite, refuse } from "./diagnosis.ts"

/** What is said to who asks, or is kept as a contact. */
export interface ContactAnswer {
  readonly answer: "accept" | "refuse" | "block" | "remove"
  /** Address of who decides; null: the person himself. */
  readonly by: string | null
  /** What he is called here, where he is accepted. */
  readonly name: string | null
}

/** Contacts of our people as programs ask for them. Addresses and names are as somebody wrote them. */
export interface ContactApi {
  /** Whether this is what secrets/mesh/contact-api has. */
  isToken(token: string): boolean
  /** A JSON value. @throws GatewayError ADDRESS_SYNTAX, ACCOUNT_UNKNOWN */
  list(account: string): object
  /** @throws GatewayError ADDRESS_SYNTAX, ACCOUNT_UNKNOWN, CONTACT_UNKNOWN, CONTACT_FORBIDDEN */
  answer(account: string, who: string, answer: ContactAnswer): void
}

interface Params {
  readonly account: string
  readonly who: string
}

/**
 * `GET /api/v1/contacts/ACCOUNT` and `POST /api/v1/contacts/ACCOUNT/WHO { "answer", "by", "name" }`. Unlike everything else here this changes what comes in, and tells
 * what strangers write: whoever asks shows a token that only he can read who could run `postern contact` as well.
 */
export function serveContacts(server: FastifyInstance, api: ContactApi, log: Log): void {
  const serve = (request: FastifyRequest, reply: FastifyReply, act: () => object): FastifyReply => {
    const { "sec-fetch-site": site, authorization = "" } = request.headers
    if (!isOwnSite(site)) return refuse(reply, 403, "FORBIDDEN", "not for pages of other sites")
    const [, token] = /^Bearer ([A-Za-z0-9_-]{1,100})$/i.exec(authorization) ?? []
    if (token === undefined || !api.isToken(token))
      return refuse(
        reply.header("www-authenticate", "Bearer"),
        401,
        "UNAUTHORIZED",
        "needs the token of secrets/mesh/contact-api",
      )
    try {
      return reply.send(act())
    } catch (error) {
      const status = error instanceof GatewayError ? STATUSES[error.code] : undefined
      if (error instanceof GatewayError && status !== undefined) return refuse(reply, status, error.code, error.message)
      log.error("http.failed", { listener: "admin" }, error)
      return refuse(reply, 500, "INTERNAL", "internal error")
    }
  }
  server.get<{ Params: Pick<Params, "account"> }>("/api/v1/contacts/:account", (request, reply) =>
    serve(request, reply, () => api.list(request.params.account)),
  )
  server.post<{ Params: Params }>("/api/v1/contacts/:account/:who", (request, reply) =>
    serve(request, reply, () => {
      const answer = answerIn(request.body)
      api.answer(request.params.account, request.params.who, answer)
      return { answer: answer.answer }
    }),
  )
}

/** @throws GatewayError USAGE */
function answerIn(body: unknown): ContactAnswer {
  const members: Readonly<Record<string, unknown>> = typeof body === "object" && body !== null ? { ...body } : {}
  const { answer, by = null, name = null } = members
  const known = ANSWERS.find((word) => word === answer)
  if (known === undefined || !isTextOrNull(by) || !isTextOrNull(name))
    throw new GatewayError("USAGE", `contact: "answer" is one of ${ANSWERS.join(", ")}; "by" and "name" are texts`)
  return { answer: known, by, name }
}

function isTextOrNull(value: unknown): value is string | null {
  return value === null || typeof value === "string"
}

const ANSWERS = ["accept", "refuse", "block", "remove"] as const
const STATUSES: Partial<Record<ErrorCode, number>> = {
  ADDRESS_SYNTAX: 400,
  USAGE: 400,
  CONTACT_FORBIDDEN: 403,
  ACCOUNT_UNKNOWN: 404,
  CONTACT_UNKNOWN: 404,
}
