import type { Socket } from "node:net"
import type { TLSSocket } from "node:tls"
import { GatewayError } from "../errors.ts"
import type { Counters } from "../log/counters.ts"
import type { Log } from "../log/log.ts"
import { bufferedOctets, cutLargest } from "./buffers.ts"
import { greetingCapabilities, offeredCapabilities } from "./capabilities.ts"
import { Client } from "./client.ts"
import type { Context } from "./context.ts"
import { Handshakes } from "./handshakes.ts"
import { keepAlive } from "./keep-alive.ts"
import { type ImapListener, listenForImap, refuse } from "./listener.ts"
import { ListenerTls, shownKey, type TlsMaterial } from "./listener-tls.ts"
import { login, loginChoice, type Visitor } from "./login.ts"
import { MailboxState } from "./mailbox-state.ts"
import { Meter, SessionMeter } from "./meter.ts"
import { endStream } from "./octets.ts"
import { Pending } from "./pending.ts"
import { Places, type Refusal, type Seats } from "./places.ts"
import type { AppendProtection, CertifiedDevices, DeviceSession, Devices, ProxyLimits, Upstream } from "./ports.ts"
import { Session } from "./session.ts"
import { connectStore } from "./store-connection.ts"
import type { UpstreamLink } from "./upstream-link.ts"
import { WindowCache } from "./windows.ts"

/** How connections are served, whoever accepted them. */
export interface ServeOptions {
  readonly tlsMode: "starttls" | "implicit"
  readonly tls: TlsMaterial
  readonly devices: Devices
  /** Present: clients are asked for a certificate, and log in only with that of a device. */
  readonly certificates?: CertifiedDevices
  readonly upstream: Upstream
  readonly protection: AppendProtection
  readonly limits: ProxyLimits
  /** Shared with other listeners of the process; absent: its own. */
  readonly windows?: WindowCache
  readonly log: Log
  readonly counters: Pick<Counters, "add" | "tally" | "observe" | "beforeReading">
}

export interface ImapProxyOptions extends ServeOptions {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  /** Other processes listen there too. */
  readonly sharesPort?: boolean
  /** Shared with other listeners, where there are some. */
  readonly seats?: Seats
}

/** A listener whose connections are served in this process. */
export interface ImapProxy extends ImapListener {
  readonly connections: Connections
  /** New handshakes use this; open connections stay as they are. */
  reloadTls(tls: TlsMaterial): void
}

/** Starts one listener. @throws LISTEN_FAILED */
export async function startImapProxy(options: ImapProxyOptions): Promise<ImapProxy> {
  const seats = options.seats ?? new Places(options.limits)
  const connections = new Connections(options, seats)
  const listening = await listenForImap({ ...options, seats }, (socket, place) => connections.accept(socket, place))
  return {
    connections,
    address: () => listening.address(),
    close: async (graceMs, spreadMs) => {
      await listening.stop()
      await connections.close(graceMs, spreadMs)
    },
    reloadTls: (tls) => connections.reloadTls(tls),
  }
}

/** One connection, from accepting to its end. */
interface Connection {
  /** Its number among the seats. */
  readonly place: number
  readonly socket: Socket
  readonly address: string
  /** null: in the TLS handshake. */
  client: Client | null
  session: Running | null
}

const WAYS = ["fromClient", "toClient", "fromUpstream", "toUpstream"] as const
/** Octets that went each way. */
type Traffic = Readonly<Record<(typeof WAYS)[number], number>>

/** A logged-in connection. */
interface Running {
  readonly session: Session
  readonly context: Context
  readonly meter: SessionMeter
  readonly sinceMs: number
  /** What of its traffic the metrics have seen. */
  seen: Traffic
}

/** The connections of one kind that this process serves. */
export class Connections {
  readonly #options: ServeOptions
  readonly #seats: Seats
  readonly #meter: Meter
  readonly #windows: WindowCache
  readonly #tls: ListenerTls
  readonly #handshakes: Handshakes
  /** By their places. */
  readonly #connections = new Map<number, Connection>()
  readonly #guard: NodeJS.Timeout
  readonly #stopCounting: () => void
  readonly #empty = Promise.withResolvers<void>()
  #closing = false
  #serial = 0

  constructor(options: ServeOptions, seats: Seats) {
    const { limits, counters } = options
    this.#options = options
    this.#seats = seats
    this.#meter = new Meter(counters)
    this.#windows = options.windows ?? new WindowCache(limits.windowOctets)
    this.#handshakes = new Handshakes(limits.handshakes, HANDSHAKE_TURN_MS)
    this.#tls = new ListenerTls(options.tls, {
      asksForCertificate: options.certificates !== undefined,
      log: options.log,
    })
    this.#stopCounting = counters.beforeReading(() => this.#countOctets())
    this.#guard = setInterval(() => this.#boundBuffers(), GUARD_EVERY_MS).unref()
  }

  /** Connections now. */
  get count(): number {
    return this.#connections.size
  }

  /** Of them, those that wait for their TLS handshake. */
  get waiting(): number {
    return this.#handshakes.waiting
  }

  /** Octets held for peers that are slower than the other side. */
  get bufferedOctets(): number {
    return bufferedOctets(this.#running())
  }

  /** New handshakes use this; open connections stay as they are. */
  reloadTls(tls: TlsMaterial): void {
    this.#tls.use(tls)
  }

  /** Serves a connection that holds `place` among the seats. */
  accept(socket: Socket, place: number): void {
    const { log } = this.#options
    const address = socket.remoteAddress ?? "unknown"
    const connection: Connection = { place, socket, address, client: null, session: null }
    this.#connections.set(place, connection)
    socket.on("error", this.#failed)
    socket.on("close", () => this.#left(connection))
    keepAlive(socket)
    this.#serve(connection).catch((error: unknown) => {
      if (!(error instanceof GatewayError)) log.error("imap.failed", {}, error)
      else log.warn("imap.cut", { reason: error.message })
      socket.destroy()
    })
  }

  /** Ends a connection that there was no place for after all; another process's are not here. */
  evict(place: number, limit: Refusal): void {
    const connection = this.#connections.get(place)
    if (connection === undefined) return
    this.#options.counters.add("postern_imap_refused_total", { limit })
    refuse(connection.client?.stream ?? connection.socket, connection.client !== null, limit)
  }

  /**
   * Ends connections when no command of theirs is in flight, and all of them after `graceMs`. Where others take them, they are told one after
   * the other within `spreadMs`, so that they do not all come back at once. Said again, the shorter time holds.
   */
  async close(graceMs: number, spreadMs = 0): Promise<void> {
    this.#closing = true
    const pauseMs = spreadMs / this.#connections.size
    const drains = [...this.#connections.values()].map((connection, index) => {
      if (spreadMs > 0) return setTimeout(() => drain(connection), pauseMs * (index + 1))
      drain(connection)
      return undefined
    })
    const timer = setTimeout(() => {
      for (const { socket } of this.#connections.values()) socket.destroy()
    }, graceMs)
    if (this.#connections.size > 0) await this.#empty.promise
    for (const drain of [timer, ...drains]) clearTimeout(drain)
    clearInterval(this.#guard)
    this.#stopCounting()
  }

  readonly #failed = (error: Error): void => this.#options.log.debug("imap.socket", { reason: error.message })

  #left(connection: Connection): void {
    if (!this.#connections.delete(connection.place)) return
    this.#seats.leave(connection.place)
    if (this.#closing && this.#connections.size === 0) this.#empty.resolve()
  }

  /** Until a session runs. */
  async #serve(connection: Connection): Promise<void> {
    const { limits, tlsMode } = this.#options
    const { socket, address } = connection
    const timer = setTimeout(() => socket.destroy(), limits.loginTimeoutMs)
    const visitor: Visitor = { failed: 0, key: null }
    try {
      const greeted =
        tlsMode === "implicit" ? await this.#secure(socket, address, visitor) : new Client(socket, address, false)
      if (greeted === null) return
      connection.client = greeted
      const choice = loginChoice(greeted, visitor, this.#options)
      await greeted.say(`* OK [CAPABILITY ${greetingCapabilities(choice)}] Postern ready`)
      const loggedIn = await this.#logIn(connection, greeted, visitor)
      if (loggedIn !== null) await this.#begin(connection, loggedIn)
    } finally {
      clearTimeout(timer)
    }
  }

  /** Until a device is logged in and its upstream is there. null: the connection has ended. */
  async #logIn(connection: Connection, greeted: Client, visitor: Visitor): Promise<LoggedIn | null> {
    const { socket, address } = connection
    let client = greeted
    for (;;) {
      const outcome = await login(client, visitor, this.#options)
      if (outcome.kind === "ended") {
        endStream(client.stream, null, REFUSAL_MS)
        return null
      }
      if (outcome.kind === "startTls") {
        client.detach()
        connection.client = null
        const secured = await this.#secure(socket, address, visitor)
        if (secured === null) return null
        client = secured
        connection.client = client
        continue
      }
      const upstream = await this.#enter(connection, client, outcome.session)
      if (typeof upstream !== "string") return { client, upstream, session: outcome.session, tag: outcome.tag }
      await client.say(`${outcome.tag} ${upstream}`)
    }
  }

  /** A seat and a connection to the store, both at once. Text: what to answer instead. */
  async #enter(connection: Connection, client: Client, session: DeviceSession): Promise<UpstreamLink | string> {
    const [refusal, upstream] = await Promise.all([
      this.#seats.logIn(connection.place, session.account, session.device),
      connectStore(connection.socket, client, session, this.#options),
    ])
    if (refusal === null) {
      this.#countLogin(typeof upstream === "string" ? "store" : "ok")
      return upstream
    }
    if (typeof upstream !== "string") upstream.stream.destroy()
    this.#countLogin("connections")
    return this.#full(session, refusal)
  }

  #full({ account, device }: DeviceSession, limit: Refusal): string {
    this.#options.counters.add("postern_imap_refused_total", { limit })
    this.#options.log.warn("imap.login.limit", { account, device, limit })
    return `NO [LIMIT] too many connections of this ${limit}`
  }

  /** Refusals are counted where they are made (login.ts). */
  #countLogin(outcome: "ok" | "store" | "connections"): void {
    this.#options.counters.add("postern_imap_logins_total", { outcome })
  }

  /** TLS on the socket, when it is its turn; null when the handshake fails. */
  async #secure(socket: Socket, address: string, visitor: Visitor): Promise<Client | null> {
    const endTurn = await this.#handshakes.turn()
    const secured = socket.destroyed ? null : await this.#tls.secure(socket, address)
    endTurn()
    this.#options.counters.add("postern_imap_handshakes_total", { outcome: outcomeOf(secured) })
    if (secured === null) return null
    if (this.#options.certificates !== undefined) visitor.key = shownKey(secured)
    return new Client(secured, address, true)
  }

  /** Answers the login; the session then runs by itself, so that nothing here waits for its end. */
  async #begin(connection: Connection, { client, upstream, session, tag }: LoggedIn): Promise<void> {
    const { limits, log: listenerLog, counters, protection } = this.#options
    const log = listenerLog.with({ account: session.account, device: session.device })
    const meter = new SessionMeter(this.#meter, log)
    const { keep, storeOf } = this.#options.upstream
    const context: Context = {
      client,
      upstream,
      keep: keep ?? null,
      device: session,
      protection,
      pending: new Pending(meter),
      mailbox: new MailboxState(++this.#serial, storeOf?.(upstream.stream) ?? ""),
      windows: this.#windows,
      limits,
      log,
      counters,
      meter,
      ownFetch: null,
    }
    const running = new Session(context)
    connection.session = { session: running, context, meter, sinceMs: performance.now(), seen: seenBefore(context) }
    upstream.onError((error) => log.debug("imap.upstream.socket", { reason: error.message }))
    client.stream.setTimeout(limits.idleTimeoutMs, () => running.end("idle"))
    counters.add("postern_imap_sessions_total")
    log.info("imap.login", { remote: client.address })
    await client.say(`${tag} OK [CAPABILITY ${offeredCapabilities(upstream.capabilities)}] logged in`)
    void running.run().then(() => this.#ended(connection, connection.session))
  }

  #ended(connection: Connection, ended: Running | null): void {
    if (ended === null) return
    const { session, context, meter, sinceMs } = ended
    const { fromClient: octetsIn, toClient: octetsOut } = trafficOf(context)
    this.#count(ended)
    connection.session = null
    if (context.device.revoked.aborted) this.#windows.dropScope(context.device.scope)
    this.#options.counters.add("postern_imap_ended_total", { reason: session.ending })
    context.log.info("imap.end", {
      remote: context.client.address,
      seconds: Math.round((performance.now() - sinceMs) / 100) / 10,
      commands: meter.commands,
      octetsIn,
      octetsOut,
      reason: session.ending,
    })
  }

  *#running(): Generator<Running> {
    for (const { session } of this.#connections.values()) if (session !== null) yield session
  }

  #boundBuffers(): void {
    const { limits, log } = this.#options
    if (this.bufferedOctets > limits.bufferOctets) cutLargest(this.#running(), limits.bufferOctets, log)
  }

  #countOctets(): void {
    for (const session of this.#running()) this.#count(session)
    const { hits, misses } = this.#windows.takeLookups()
    this.#options.counters.add("postern_imap_window_lookups_total", { outcome: "hit" }, hits)
    this.#options.counters.add("postern_imap_window_lookups_total", { outcome: "miss" }, misses)
  }

  #count(running: Running): void {
    const now = trafficOf(running.context)
    for (const way of WAYS) this.#meter.octets[way].count += now[way] - running.seen[way]
    running.seen = now
  }
}

interface LoggedIn {
  readonly client: Client
  readonly upstream: UpstreamLink
  readonly session: DeviceSession
  /** Of the LOGIN or AUTHENTICATE that is still to be answered. */
  readonly tag: string
}

function outcomeOf(secured: TLSSocket | null): string {
  if (secured === null) return "failed"
  return secured.isSessionReused() ? "resumed" : "full"
}

/** Not logged in: at once, with a word where one can be said. */
function drain({ socket, client, session }: Connection): void {
  if (session !== null) void session.session.drain()
  else if (client === null) socket.destroy()
  else endStream(client.stream, Buffer.from("* BYE shutting down\r\n"), REFUSAL_MS)
}

/** Octets without TLS; a store in this process counts nothing. */
function trafficOf({ client, upstream }: Context): Traffic {
  const { bytesRead = 0, bytesWritten = 0 }: { bytesRead?: number; bytesWritten?: number } = upstream.stream as Socket
  return {
    fromClient: client.stream.bytesRead,
    toClient: client.stream.bytesWritten,
    fromUpstream: bytesRead,
    toUpstream: bytesWritten,
  }
}

/** An upstream connection may have carried other sessions. */
function seenBefore(context: Context): Traffic {
  return { ...trafficOf(context), fromClient: 0, toClient: 0 }
}

/** For one line to somebody who is not served. */
const REFUSAL_MS = 1000
/** A handshake takes two round trips; who is slower than this may go on without holding others up. */
const HANDSHAKE_TURN_MS = 1000
const GUARD_EVERY_MS = 1000
