import type { FastifyInstance } from "fastify"
import type { ClientService, ClientsConfig } from "../config/config.ts"
import { element, type Xml, xmlDocument } from "../message/xml.ts"
import { type ClientSetup, hostDomains, readAddress } from "./client-setup.ts"

/** On the domain itself, and on `autoconfig.` before it. */
const PATHS = ["/.well-known/autoconfig/mail/config-v1.1.xml", "/mail/config-v1.1.xml"]
/** Names and ports seldom change, and who asks has no account yet. */
const CACHE_SECONDS = 300

/**
 * Thunderbird's autoconfiguration, which other clients ask for as well (draft-ietf-mailmaint-autoconfig). The answer is that of
 * the domain in `emailaddress`, or of the host that was asked; it is the same for every local part.
 */
export function serveAutoconfig(server: FastifyInstance, { domains, services }: ClientSetup): void {
  for (const path of PATHS)
    server.get<{ Querystring: { emailaddress?: unknown } }>(path, async (request, reply) => {
      reply.type("text/plain; charset=utf-8")
      const { emailaddress } = request.query
      const address = emailaddress === undefined ? null : readAddress(emailaddress)
      if (emailaddress !== undefined && address === null) return reply.code(400).send("emailaddress is no address\n")
      const domain = address === null ? hostDomains(request.hostname, domains)[0] : address.domain
      if (domain === undefined || !domains.includes(domain)) return reply.code(404).send("no such domain here\n")
      const document = autoconfigDocument(domain, services)
      if (document === null) return reply.code(404).send("no mailboxes here\n")
      return reply
        .type("text/xml; charset=utf-8")
        .header("cache-control", `public, max-age=${CACHE_SECONDS}`)
        .header("x-content-type-options", "nosniff")
        .send(document)
    })
}

/** config-v1.1.xml of one domain. @returns null when there is nothing to read from or nothing to send through: the form demands both */
export function autoconfigDocument(domain: string, { imap, smtp }: ClientsConfig): string | null {
  if (imap.length === 0 || smtp.length === 0) return null
  const provider = element(
    "emailProvider",
    [
      element("domain", domain),
      element("displayName", domain),
      element("displayShortName", domain),
      ...imap.map((service) => server("incomingServer", "imap", service)),
      ...smtp.map((service) => server("outgoingServer", "smtp", service)),
    ],
    { id: domain },
  )
  return xmlDocument(element("clientConfig", [provider], { version: "1.1" }))
}

function server(name: string, type: string, { host, port, security }: ClientService): Xml {
  return element(
    name,
    [
      element("hostname", host),
      element("port", String(port)),
      element("socketType", security === "tls" ? "SSL" : "STARTTLS"),
      // The client puts in what its owner typed.
      element("username", "%EMAILADDRESS%"),
      // "cleartext" is about the mechanism: it is spoken inside TLS.
      element("authentication", "password-cleartext"),
    ],
    { type },
  )
}
