import { once } from "node:events"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

/** A request for a token, as its form says. */
export type TokenRequest = Readonly<Record<string, string>>

/** An imitation of Google's and Microsoft's token endpoints, and of the introspection that an IMAP server does (RFC 7662). */
export class TokenEndpoint implements AsyncDisposable {
  readonly url: string
  readonly introspectionUrl: string
  /** Every request for a token so far. */
  readonly requests: TokenRequest[] = []
  /** Whose tokens these are, as an introspection says. */
  user = "alice@example.test"
  /** The only refresh token that is taken. */
  refreshToken = "refresh-0"
  /** Gives a new refresh token with every answer, and takes the old one no more, as Microsoft may. */
  rotates = false
  lifetimeSeconds = 3600
  /** Says something else instead; returns false to answer as usual. */
  interrupt: (response: ServerResponse) => boolean | Promise<boolean> = () => false
  readonly #server
  readonly #valid = new Set<string>()
  #granted = 0

  private constructor(server: ReturnType<typeof createServer>) {
    const { port } = server.address() as AddressInfo
    this.#server = server
    this.url = `http://127.0.0.1:${port}/token`
    this.introspectionUrl = `http://127.0.0.1:${port}/introspect`
    server.on("request", (request, response) => void this.#answer(request, response))
  }

  static async start(): Promise<TokenEndpoint> {
    const server = createServer().listen(0, "127.0.0.1")
    await once(server, "listening")
    return new TokenEndpoint(server)
  }

  /** The access token that was granted last. */
  get accessToken(): string {
    return `access-${this.#granted}`
  }

  isValid(accessToken: string): boolean {
    return this.#valid.has(accessToken)
  }

  /** Ends all access tokens before their time. */
  revokeAccess(): void {
    this.#valid.clear()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, "close")
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = ""
    for await (const octets of request) body += octets
    const form = Object.fromEntries(new URLSearchParams(body))
    if (request.url === "/introspect") {
      const active = this.isValid(form["token"] ?? "")
      json(response, 200, active ? { active, username: this.user, scope: "mail" } : { active })
      return
    }
    this.requests.push(form)
    if (await this.interrupt(response)) return
    if (form["grant_type"] !== "refresh_token" || form["refresh_token"] !== this.refreshToken) {
      json(response, 400, { error: "invalid_grant", error_description: "Token has been expired or revoked." })
      return
    }
    this.#granted += 1
    this.#valid.add(this.accessToken)
    if (this.rotates) this.refreshToken = `refresh-${this.#granted}`
    json(response, 200, {
      access_token: this.accessToken,
      token_type: "Bearer",
      expires_in: this.lifetimeSeconds,
      ...(this.rotates ? { refresh_token: this.refreshToken } : {}),
    })
  }
}

/** Answers with a JSON body. */
export function json(response: ServerResponse, status: number, value: object): void {
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(value))
}
