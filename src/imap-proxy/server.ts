import { createServer, type Server, type Socket } from "node:net"
import { GatewayError } from "../errors.ts"
import type { Counters } from "../log/counters.ts"
import type { Log } from "../log/log.ts"
import { greetingCapabilities, offeredCapabilities } from "./capabilities.ts"
import { Client } from "./client.ts"
import type { Context } from "./context.ts"
import { ListenerTls, shownKey, type TlsMaterial } from "./listener-tls.ts"
import { login, loginChoice, type Visitor } from "./login.ts"
import { MailboxState } from "./mailbox-state.ts"
import { endStream } from "./octets.ts"
import { Pending } from "./pending.ts"
import type {
  AppendProtection,
  CertifiedDevices,
  ClientAddress,
  DeviceSession,
  Devices,
  ProxyLimits,
  Upstream,
} from "./ports.ts"
import { Session } from "./session.ts"
import { refusalOf } from "./upstream/refusal.ts"
import { UpstreamLink } from "./upstream-link.ts"
import { WindowCache } from "./windows.ts"

export interface ImapProxyOptions {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  readonly tlsMode: "starttls" | "implicit"
  readonly tls: TlsMaterial
  readonly devices: Devices
  /** Present: clients are asked for a certificate, and log in only with that of a device. */
  readonly certificates?: CertifiedDevices
  readonly upstream: Upstream
  readonly protection: AppendProtection
  readonly limits: ProxyLimits
  readonly log: Log
  readonly counters: Pick<Counters, "add">
}

/** One listening socket of the proxy. */
export interface ImapListener {
  address(): { readonly host: string; readonly port: number }
  /** Takes no new connections, ends the others when no command is in flight, and all of them after `graceMs`. */
  close(graceMs: number): Promise<void>
  /** New handshakes use this; open connections stay as they are. */
  reloadTls(tls: TlsMaterial): void
}

/** Starts one listener. @throws LISTEN_FAILED */
export async function startImapProxy(options: ImapProxyOptions): Promise<ImapListener> {
  const connections = new Connections(options)
  // Half-open: a client may end its side behind LOGOUT and still wants its answers.
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => connections.accept(socket))
  await listening(server, options)
  return {
    address: () => {
      const address = server.address()
      if (address === null || typeof address === "string")
        throw new GatewayError("LISTEN_FAILED", "imap: not listening")
      return { host: address.address, port: address.port }
    },
    close: async (graceMs) => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      connections.drain()
      const timer = setTimeout(() => connections.destroy(), graceMs)
      await closed
      clearTimeout(timer)
    },
    reloadTls: (tls) => connections.reloadTls(tls),
  }
}

function listening(server: Server, { host, port }: ImapProxyOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause) =>
      reject(new GatewayError("LISTEN_FAILED", `imap: cannot listen on ${host}:${port}`, { cause })),
    )
    server.listen({ host, port, backlog: LISTEN_BACKLOG }, resolve)
  })
}

/** The connections of one listener, from accepting to the end. */
class Connections {
  readonly #options: ImapProxyOptions
  readonly #tls: ListenerTls
  readonly #windows: WindowCache
  readonly #sockets = new Set<Socket>()
  readonly #sessions = new Map<Socket, Session>()
  #serial = 0

  constructor(options: ImapProxyOptions) {
    this.#options = options
    this.#windows = new WindowCache(options.limits.windowOctets)
    this.#tls = new ListenerTls(options.tls, {
      asksForCertificate: options.certificates !== undefined,
      log: options.log,
    })
  }

  reloadTls(tls: TlsMaterial): void {
    this.#tls.use(tls)
  }

  accept(socket: Socket): void {
    const { limits, log } = this.#options
    socket.on("error", (error) => log.debug("imap.socket", { reason: error.message }))
    if (this.#sockets.size >= limits.connections) {
      const refusal =
        this.#options.tlsMode === "implicit" ? null : Buffer.from("* BYE [UNAVAILABLE] too many connections\r\n")
      endStream(socket, refusal, REFUSAL_MS)
      return
    }
    this.#sockets.add(socket)
    socket.on("close", () => {
      this.#sockets.delete(socket)
      this.#sessions.delete(socket)
    })
    socket.setKeepAlive(true, KEEP_ALIVE_MS)
    this.#serve(socket).catch((error: unknown) => {
      if (!(error instanceof GatewayError)) log.error("imap.failed", {}, error)
      else log.warn("imap.cut", { reason: error.message })
      socket.destroy()
    })
  }

  drain(): void {
    for (const socket of this.#sockets) {
      const session = this.#sessions.get(socket)
      if (session === undefined) socket.destroy()
      else void session.drain()
    }
  }

  destroy(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async #serve(socket: Socket): Promise<void> {
    const { limits, tlsMode } = this.#options
    const address = socket.remoteAddress ?? "unknown"
    const timer = setTimeout(() => socket.destroy(), limits.loginTimeoutMs)
    socket.on("close", () => clearTimeout(timer))
    const visitor: Visitor = { failed: 0, key: null }
    const greeted =
      tlsMode === "implicit" ? await this.#secure(socket, address, visitor) : new Client(socket, address, false)
    if (greeted === null) return
    const choice = loginChoice(greeted, visitor, this.#options)
    await greeted.say(`* OK [CAPABILITY ${greetingCapabilities(choice)}] Postern ready`)
    const loggedIn = await this.#logIn(socket, greeted, visitor)
    clearTimeout(timer)
    if (loggedIn === null) return
    await this.#runSession(socket, loggedIn)
  }

  /** Until a device is logged in and its upstream is there. null: the connection has ended. */
  async #logIn(socket: Socket, greeted: Client, visitor: Visitor): Promise<LoggedIn | null> {
    let client = greeted
    for (;;) {
      const outcome = await login(client, visitor, this.#options)
      if (outcome.kind === "ended") {
        endStream(client.stream, null, REFUSAL_MS)
        return null
      }
      if (outcome.kind === "startTls") {
        client.detach()
        const secured = await this.#secure(socket, client.address, visitor)
        if (secured === null) return null
        client = secured
        continue
      }
      const upstream = await this.#connect(socket, client, outcome.session)
      if (typeof upstream === "string") await client.say(`${outcome.tag} ${upstream}`)
      else return { client, upstream, session: outcome.session, tag: outcome.tag }
    }
  }

  /** TLS on the socket; null when the handshake fails. */
  async #secure(socket: Socket, address: string, visitor: Visitor): Promise<Client | null> {
    const secured = await this.#tls.secure(socket, address)
    if (secured === null) return null
    if (this.#options.certificates !== undefined) visitor.key = shownKey(secured)
    return new Client(secured, address, true)
  }

  /** @returns what the client is told where there is no upstream */
  async #connect(socket: Socket, client: Client, session: DeviceSession): Promise<UpstreamLink | string> {
    const { upstream, log } = this.#options
    const gone = new AbortController()
    const leave = (): void => gone.abort()
    client.stream.once("close", leave)
    try {
      const signal = AbortSignal.any([gone.signal, session.revoked])
      const link = new UpstreamLink(await upstream.connect(session.account, addressOf(socket), signal))
      await openLink(link, signal)
      return link
    } catch (error) {
      return refusalOf(error, session.account, log)
    } finally {
      client.stream.off("close", leave)
    }
  }

  async #runSession(socket: Socket, { client, upstream, session, tag }: LoggedIn): Promise<void> {
    const { limits, log, counters, protection } = this.#options
    const context: Context = {
      client,
      upstream,
      device: session,
      protection,
      pending: new Pending(),
      mailbox: new MailboxState(++this.#serial),
      windows: this.#windows,
      limits,
      log: log.with({ account: session.account, device: session.device }),
      counters,
      ownFetch: null,
    }
    const running = new Session(context)
    this.#sessions.set(socket, running)
    upstream.stream.on("error", (error) => context.log.debug("imap.upstream.socket", { reason: error.message }))
    client.stream.setTimeout(limits.idleTimeoutMs, () => running.end("idle for too long"))
    counters.add("postern_imap_sessions_total")
    context.log.info("imap.login", { remote: client.address })
    await client.say(`${tag} OK [CAPABILITY ${offeredCapabilities(upstream.capabilities)}] logged in`)
    await running.run()
    if (session.revoked.aborted) this.#windows.dropPrefix(`${session.scope}\n`)
    context.log.info("imap.end")
  }
}

interface LoggedIn {
  readonly client: Client
  readonly upstream: UpstreamLink
  readonly session: DeviceSession
  /** Of the LOGIN or AUTHENTICATE that is still to be answered. */
  readonly tag: string
}

/** @returns null when the client is gone */
function addressOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): ClientAddress | null {
  return remoteAddress && remotePort && localAddress && localPort
    ? { address: remoteAddress, port: remotePort, localAddress, localPort }
    : null
}

/** Reads the greeting, and gives up with the signal. */
async function openLink(link: UpstreamLink, signal: AbortSignal): Promise<void> {
  const abort = (): void => {
    link.stream.destroy()
  }
  signal.addEventListener("abort", abort, { once: true })
  link.stream.on("error", abort)
  try {
    await link.open()
  } catch (error) {
    link.stream.destroy()
    throw error
  } finally {
    signal.removeEventListener("abort", abort)
    link.stream.off("error", abort)
  }
}

/** trap: thousands of clients come back at once after a restart. */
const LISTEN_BACKLOG = 4096
/** For one line to somebody who is not served. */
const REFUSAL_MS = 1000
const KEEP_ALIVE_MS = 100_000
