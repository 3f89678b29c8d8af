import type { FastifyInstance } from "fastify"
import type { ClientService } from "../config/config.ts"
import { type Address, formatAddress } from "../message/address.ts"
import { element, type Xml, xmlDocument } from "../message/xml.ts"
import { MAX_REQUEST_OCTETS, readAutodiscoverRequest } from "./autodiscover-request.ts"
import { type ClientSetup, readAddress } from "./client-setup.ts"

const POX_PATH = "/autodiscover/autodiscover.xml"
const JSON_PATH = "/autodiscover/autodiscover.json"

/** Outlook writes this path in several cases; ours are in lower case. For Fastify's `rewriteUrl`. */
export function autodiscoverUrl(url: string): string {
  const [path = "", ...query] = url.split("?")
  const lower = path.toLowerCase()
  return lower === POX_PATH || lower === JSON_PATH ? [lower, ...query].join("?") : url
}

/**
 * Outlook's Autodiscover: "plain old XML" ([MS-OXDSCLI]) for IMAP and SMTP, and the second version's pointer to it. Nobody has to log
 * in, and the answer is the same for every local part.
 */
export function serveAutodiscover(server: FastifyInstance, setup: ClientSetup): void {
  server.register(async (scope) => {
    // Clients label the document as they like, or not at all.
    scope.removeAllContentTypeParsers()
    const options = { parseAs: "buffer", bodyLimit: MAX_REQUEST_OCTETS } as const
    scope.addContentTypeParser("*", options, (_request, body, done) => done(null, body))
    scope.post(POX_PATH, { bodyLimit: MAX_REQUEST_OCTETS }, async (request, reply) => {
      const body = request.body instanceof Uint8Array ? request.body : new Uint8Array()
      return reply.headers(UNCACHED).type(XML).send(answerPox(body, setup))
    })
    // What a browser sees, and what an administrator takes for the sign that it is there.
    scope.get(POX_PATH, async (_request, reply) => reply.headers(UNCACHED).type(XML).send(errorDocument(INVALID)))
    scope.get<{ Querystring: Readonly<Record<string, unknown>> }>(JSON_PATH, async (request, reply) => {
      const { status, body } = answerJson(request.query, setup)
      return reply.headers(UNCACHED).code(status).send(body)
    })
  })
}

/** The response to a POX request: settings, or the protocol's own error. Both go with HTTP status 200. */
export function answerPox(body: Uint8Array, { domains, services }: ClientSetup): string {
  const request = readAutodiscoverRequest(body)
  const address = readAddress(request?.address)
  if (request === null || address === null) return errorDocument(INVALID)
  if (request.schema !== OUTLOOK_SCHEMA) return errorDocument(NO_PROVIDER)
  const [imap, smtp] = [services.imap[0], services.smtp[0]]
  if (!domains.includes(address.domain) || imap === undefined || smtp === undefined) return errorDocument(NOT_FOUND)
  return settings(address, imap, smtp)
}

/** [MS-OXDSCLI] §2.2.4.1. One protocol of each type: Outlook takes the first that it knows. */
function settings(address: Address, imap: ClientService, smtp: ClientService): string {
  const account = element("Account", [
    element("AccountType", "email"),
    element("Action", "settings"),
    element("Protocol", protocol("IMAP", address, imap)),
    element("Protocol", [
      ...protocol("SMTP", address, smtp),
      // The user name and password of IMAP.
      element("UsePOPAuth", "on"),
      element("SMTPLast", "off"),
    ]),
  ])
  return response(element("Response", [account], { xmlns: OUTLOOK_SCHEMA }))
}

function protocol(type: string, address: Address, { host, port, security }: ClientService): readonly Xml[] {
  return [
    element("Type", type),
    element("Server", host),
    element("Port", String(port)),
    element("LoginName", formatAddress(address)),
    element("DomainRequired", "off"),
    element("SPA", "off"),
    element("SSL", "on"),
    // Says which kind of TLS: SSL from the start, TLS after STARTTLS.
    element("Encryption", security === "tls" ? "SSL" : "TLS"),
    element("AuthRequired", "on"),
  ]
}

interface PoxError {
  readonly code: number
  readonly message: string
}

function errorDocument({ code, message }: PoxError): string {
  const error = element("Error", [
    element("ErrorCode", String(code)),
    element("Message", message),
    element("DebugData", ""),
  ])
  return response(element("Response", [error]))
}

function response(content: Xml): string {
  return xmlDocument(element("Autodiscover", [content], { xmlns: RESPONSE_SCHEMA }))
}

/** Version 2 knows services by URL only, and here the POX one is the only one. */
function answerJson(
  query: Readonly<Record<string, unknown>>,
  { domains, services }: ClientSetup,
): { readonly status: number; readonly body: object } {
  const parameters = new Map(Object.entries(query).map(([name, value]) => [name.toLowerCase(), value]))
  const address = readAddress(parameters.get("email"))
  if (address === null || !domains.includes(address.domain))
    return refusal("UserNotFound", "Email is no address of a domain here.")
  if (String(parameters.get("protocol")).toLowerCase() !== "autodiscoverv1")
    return refusal("InvalidProtocol", "The only protocol here is AutodiscoverV1.")
  const { host, port } = services.https ?? { host: address.domain, port: HTTPS_PORT }
  const authority = port === HTTPS_PORT ? host : `${host}:${port}`
  return { status: 200, body: { Protocol: "AutodiscoverV1", Url: `https://${authority}${POX_PATH}` } }
}

function refusal(code: string, message: string): { readonly status: number; readonly body: object } {
  return { status: code === "UserNotFound" ? 404 : 400, body: { ErrorCode: code, ErrorMessage: message } }
}

const HTTPS_PORT = 443
const XML = "text/xml; charset=utf-8"
const UNCACHED = { "cache-control": "no-store", "x-content-type-options": "nosniff" }
const RESPONSE_SCHEMA = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
const OUTLOOK_SCHEMA = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
const INVALID: PoxError = { code: 600, message: "Invalid Request" }
const NO_PROVIDER: PoxError = { code: 601, message: "Provider is not available" }
const NOT_FOUND: PoxError = { code: 500, message: "The email address can't be found." }
