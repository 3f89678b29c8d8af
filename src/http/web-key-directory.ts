import type { FastifyInstance, FastifyReply } from "fastify"
import { type KeyAnswers, sendPublished } from "./published.ts"

/**
 * OpenPGP's Web Key Directory (draft-koch-openpgp-webkey-service §3.1, §4.5), both methods: the advanced one names the domain in its path, the direct one
 * by its host. Keys get there by `postern account`, so there is no submission address and the policy states nothing.
 */
export function serveWebKeyDirectory(server: FastifyInstance, answers: KeyAnswers): void {
  const { keys } = answers
  const find = (domain: string, hash: string) => {
    const body = keys.certificate(domain, hash)
    return body === null ? null : { type: "application/octet-stream", body }
  }
  server.get<{ Params: { hash: string } }>(`${ROOT}/hu/:hash`, (request, reply) => {
    const domain = request.hostname.toLowerCase()
    return answers.answer(request, reply, { domain, hash: request.params.hash }, find)
  })
  server.get<{ Params: { domain: string; hash: string } }>(`${ROOT}/:domain/hu/:hash`, (request, reply) => {
    const domain = request.params.domain.toLowerCase()
    return answers.answer(request, reply, { domain, hash: request.params.hash }, find)
  })
  const policy = (reply: FastifyReply, domain: string): FastifyReply => {
    if (keys.domains.includes(domain.toLowerCase())) return sendPublished(reply, POLICY)
    reply.callNotFound()
    return reply
  }
  server.get(`${ROOT}/policy`, async (request, reply) => policy(reply, request.hostname))
  server.get<{ Params: { domain: string } }>(`${ROOT}/:domain/policy`, async (request, reply) =>
    policy(reply, request.params.domain),
  )
}

const POLICY = { type: "text/plain; charset=utf-8", body: "" }
const ROOT = "/.well-known/openpgpkey"
