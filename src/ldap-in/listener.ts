import { once } from "node:events"
import { createServer, type Server, type Socket } from "node:net"
import { createSecureContext, TLSSocket, type TLSSocketOptions } from "node:tls"
import { GatewayError } from "../errors.ts"
import type { Log } from "../log/log.ts"
import type { DirectoryOptions } from "./ports.ts"
import { Session } from "./session.ts"

export interface LdapListenerOptions extends DirectoryOptions {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  /** Others of ours may listen there, too. */
  readonly sharesPort?: boolean
  /** TLS from the start, or by StartTLS, without which nobody can log in. */
  readonly security: "tls" | "starttls"
  /** PEM. */
  readonly tls: LdapTls
  /** Connections at once, of all and of one remote address. */
  readonly maxConnections: number
  readonly maxConnectionsPerAddress: number
  readonly log: Log
}

export interface LdapTls {
  readonly certificate: string
  readonly key: string
}

/** A directory that mail clients ask for certificates (LDAP, RFC 4511): looked up when asked, nothing can be listed, nothing written. */
export class LdapListener implements AsyncDisposable {
  readonly #options: LdapListenerOptions
  readonly #server: Server
  readonly #open = new Map<Socket, string>()
  #tls: TLSSocketOptions

  /** @throws GatewayError LISTEN_FAILED; Error of node:tls where the key does not fit its certificate */
  static async start(options: LdapListenerOptions): Promise<LdapListener> {
    const listener = new LdapListener(options)
    const server = listener.#server
    try {
      server.listen({ host: options.host, port: options.port, reusePort: options.sharesPort ?? false })
      await once(server, "listening")
    } catch (cause) {
      throw new GatewayError("LISTEN_FAILED", `ldap: cannot listen on ${options.host}:${options.port}`, { cause })
    }
    return listener
  }

  private constructor(options: LdapListenerOptions) {
    this.#options = options
    this.#tls = tlsOptions(options.tls)
    this.#server = createServer((socket) => void this.#visit(socket))
  }

  get port(): number {
    const address = this.#server.address()
    return address !== null && typeof address === "object" ? address.port : 0
  }

  /** From now on handshakes use this; connections that are open keep what they began with. */
  use(tls: LdapTls): void {
    this.#tls = tlsOptions(tls)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    for (const socket of this.#open.keys()) socket.destroy()
    await closed
  }

  async #visit(socket: Socket): Promise<void> {
    const remote = socket.remoteAddress ?? ""
    socket.on("error", () => undefined)
    if (!this.#hasRoomFor(remote)) {
      this.#options.log.info("ldap.full", { remote })
      socket.destroy()
      return
    }
    this.#open.set(socket, remote)
    socket.once("close", () => this.#open.delete(socket))
    try {
      const last = await this.#serve(socket, remote)
      // What was said last is still to go out.
      last.destroySoon()
    } catch (error) {
      if (isOurs(error)) this.#options.log.error("ldap.failed", { remote }, error)
      socket.destroy()
    }
  }

  /** @returns what the client was heard on last */
  async #serve(socket: Socket, remote: string): Promise<Socket> {
    if (this.#options.security === "starttls") {
      socket.setTimeout(IDLE_MS, () => socket.destroy())
      const outcome = await new Session({ socket, remote, isSecure: false }, this.#options).run()
      if (outcome === "ended") return socket
    }
    const secure = await this.#secured(socket)
    if (secure === null) return socket
    await new Session({ socket: secure, remote, isSecure: true }, this.#options).run()
    return secure
  }

  /** @returns null when the handshake fails */
  async #secured(socket: Socket): Promise<TLSSocket | null> {
    // Below TLS nothing is seen of what is read: its silence means nothing from now on.
    socket.setTimeout(0)
    const secure = new TLSSocket(socket, this.#tls)
    secure.on("error", (error) => this.#options.log.debug("ldap.tls", { reason: error.message }))
    secure.setTimeout(IDLE_MS, () => secure.destroy())
    const late = setTimeout(() => secure.destroy(), HANDSHAKE_MS)
    const { promise, resolve } = Promise.withResolvers<boolean>()
    secure.once("secure", () => resolve(true)).once("close", () => resolve(false))
    const isThere = await promise
    clearTimeout(late)
    return isThere ? secure : null
  }

  #hasRoomFor(remote: string): boolean {
    const { maxConnections, maxConnectionsPerAddress } = this.#options
    const ofRemote = [...this.#open.values()].filter((one) => one === remote).length
    return this.#open.size < maxConnections && ofRemote < maxConnectionsPerAddress
  }
}

function tlsOptions({ certificate, key }: LdapTls): TLSSocketOptions {
  return { isServer: true, secureContext: createSecureContext({ cert: certificate, key, minVersion: "TLSv1.2" }) }
}

/** Peers that go away in the middle are an ordinary day. */
function isOurs(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? String(error.code) : ""
  return !["ECONNRESET", "EPIPE", "ERR_STREAM_PREMATURE_CLOSE", "ABORT_ERR", "PROTOCOL"].includes(code)
}

/** Thunderbird keeps its connection while a message is written. */
const IDLE_MS = 300_000
const HANDSHAKE_MS = 30_000
