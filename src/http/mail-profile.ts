import type { FastifyInstance } from "fastify"
import { hostDomains } from "./client-setup.ts"
import type { FindPublished, KeyAnswers } from "./published.ts"

/** Signed mail profiles at their well-known addresses (docs/PROFILE.md). */
export function serveMailProfiles(server: FastifyInstance, answers: KeyAnswers): void {
  const { keys } = answers
  serveVersion(server, answers, "", (domain, hash) => {
    const body = keys.profile(domain, hash)
    return body === null ? null : { type: "application/jose+json; charset=utf-8", body }
  })
  serveVersion(server, answers, "v2/", (domain, hash) => {
    const body = keys.meshProfile(domain, hash)
    return body === null ? null : { type: "application/dare", body }
  })
}

/** No domain is called as a version. */
function serveVersion(server: FastifyInstance, answers: KeyAnswers, version: "" | "v2/", find: FindPublished): void {
  const { keys } = answers
  server.get<{ Params: { hash: string } }>(`/.well-known/mail-profile/${version}:hash`, (request, reply) => {
    const { hash } = request.params
    const domains = hostDomains(request.hostname, keys.domains)
    const domain = domains.find((one) => keys.profile(one, hash) !== null) ?? domains[0] ?? null
    return answers.answer(request, reply, { domain, hash }, find)
  })
  server.get<{ Params: { domain: string; hash: string } }>(
    `/.well-known/mail-profile/${version}:domain/:hash`,
    (request, reply) => {
      const { domain, hash } = request.params
      return answers.answer(request, reply, { domain: domain.toLowerCase(), hash }, find)
    },
  )
}
