import type { FastifyInstance } from "fastify"

/** `https://mta-sts.DOMAIN/.well-known/mta-sts.txt` (RFC 8461 §3.3) of each of our domains, and under no other host name. */
export function serveStsPolicy(server: FastifyInstance, text: string, domains: readonly string[]): void {
  const hosts = new Set(domains.map((domain) => `mta-sts.${domain}`))
  server.get("/.well-known/mta-sts.txt", async (request, reply) => {
    if (!hosts.has(request.hostname.toLowerCase())) return reply.code(404).type("text/plain").send("not found\n")
    // Senders keep it by its own max_age, and must not be given an old one in between (§3.3).
    return reply.type("text/plain").header("cache-control", "no-store").send(text)
  })
}
