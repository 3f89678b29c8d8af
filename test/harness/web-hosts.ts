import { once } from "node:events"
import type { IncomingMessage, ServerResponse } from "node:http"
import { createServer, type Server } from "node:https"
import type { AddressInfo } from "node:net"
import type { HostAddresses } from "../../src/net/addresses.ts"
import { type AskWeb, type WebRules, webClient } from "../../src/net/web.ts"
import { type TestCertificate, testCertificate } from "./certificate.ts"

export type WebHandler = (request: IncomingMessage, response: ServerResponse) => void

/** Web hosts on loopback, with a certificate that names them, in a DNS of their own. */
export class WebHosts implements AsyncDisposable {
  readonly certificate: TestCertificate
  readonly port: number
  /** What they do; 404 unless set. */
  answer: WebHandler = (_request, response) => void response.writeHead(404).end()
  /** `https://host/path?query` of each request. */
  readonly requests: string[] = []
  /** What DNS says of a name instead; names that nobody serves do not exist. */
  readonly dns = new Map<string, HostAddresses | "SERVFAIL">()
  readonly #names: ReadonlySet<string>
  readonly #server: Server

  private constructor(names: readonly string[], certificate: TestCertificate, server: Server) {
    this.#names = new Set(names)
    this.certificate = certificate
    this.#server = server
    this.port = (server.address() as AddressInfo).port
    server.on("request", (request, response) => {
      this.requests.push(`https://${request.headers.host?.replace(/:\d+$/, "")}${request.url}`)
      this.answer(request, response)
    })
  }

  /** @param served names of hosts that have an address; `certified` of them are in the certificate, all unless given */
  static async open(served: readonly string[], certified = served): Promise<WebHosts> {
    const certificate = await testCertificate(...certified)
    const server = createServer({ key: certificate.key, cert: certificate.certificate }).listen(0, "127.0.0.1")
    await once(server, "listening")
    return new WebHosts(served, certificate, server)
  }

  /** Asks them; `rules` replace what leads to them. */
  client(rules: Partial<WebRules> = {}): AskWeb {
    return webClient({
      resolve: async (host) => {
        const said = this.dns.get(host) ?? (this.#names.has(host) ? LOOPBACK : { kind: "no-name" })
        if (said === "SERVFAIL") throw new Error("queryA ESERVFAIL")
        return said
      },
      port: this.port,
      authority: this.certificate.certificate,
      isAllowed: (address) => address === "127.0.0.1",
      ...rules,
    })
  }

  /** As at the beginning. */
  reset(): void {
    this.answer = (_request, response) => void response.writeHead(404).end()
    this.requests.length = 0
    this.dns.clear()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, "close")
  }
}

export const LOOPBACK: HostAddresses = { kind: "addresses", addresses: ["127.0.0.1"] }
