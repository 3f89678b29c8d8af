import type { FastifyInstance } from "fastify"
import { hostDomains } from "./client-setup.ts"
import type { KeyAnswers } from "./published.ts"

/** Signed mail profiles at their well-known addresses (docs/PROFILE.md). */
export function serveMailProfiles(server: FastifyInstance, answers: KeyAnswers): void {
  const { keys } = answers
  const find = (domain: string, hash: string) => {
    const body = keys.profile(domain, hash)
    return body === null ? null : { type: "application/jose+json; charset=utf-8", body }
  }
  server.get<{ Params: { hash: string } }>("/.well-known/mail-profile/:hash", (request, reply) => {
    const { hash } = request.params
    const domains = hostDomains(request.hostname, keys.domains)
    const domain = domains.find((one) => keys.profile(one, hash) !== null) ?? domains[0] ?? null
    return answers.answer(request, reply, { domain, hash }, find)
  })
  server.get<{ Params: { domain: string; hash: string } }>(
    "/.well-known/mail-profile/:domain/:hash",
    (request, reply) => {
      const { domain, hash } = request.params
      return answers.answer(request, reply, { domain: domain.toLowerCase(), hash }, find)
    },
  )
}
