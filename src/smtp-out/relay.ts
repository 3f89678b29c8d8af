import { hasCode } from "../errors.ts"
import type { Log } from "../log/log.ts"
import { Client, hasPeerCode, replyOf, SessionLost } from "./client.ts"
import { findExchanges, type Target } from "./exchange.ts"
import type { ExchangeHop, Hop, HostHop, RelayMessage, RelayOutcome } from "./hop.ts"
import { outcome } from "./outcome.ts"
import { ClientPool, type Lease } from "./pool.ts"
import type { SessionTimeouts } from "./session.ts"

export interface RelayOptions {
  /** EHLO argument, and how we know ourselves among mail exchangers. */
  readonly hostname: string
  readonly log: Log
  readonly timeouts?: SessionTimeouts
  /** Sessions with one hop at a time. */
  readonly perHop?: number
  readonly idleMs?: number
}

/** Sends mail to next hops and keeps sessions open for the next message. */
export class Relay implements AsyncDisposable {
  readonly #options: RelayOptions
  readonly #timeouts: SessionTimeouts
  readonly #pool: ClientPool

  constructor(options: RelayOptions) {
    this.#options = options
    // RFC 5321 §4.5.3.2, with a shorter patience for hosts that do not even connect.
    this.#timeouts = options.timeouts ?? { connectMs: 30_000, greetingMs: 60_000, silenceMs: 600_000 }
    this.#pool = new ClientPool({ perHop: options.perHop ?? 10, idleMs: options.idleMs ?? 10_000 })
  }

  /**
   * One attempt at one recipient. What a next hop or its absence means is a value; only errors of `message.content` (whose
   * octets must be `sizeOctets`, else LENGTH_MISMATCH) and the reason of `signal` are thrown.
   */
  async relayMessage(message: RelayMessage, hop: Hop, signal: AbortSignal): Promise<RelayOutcome> {
    const result =
      hop.kind === "host" ? await this.#toHost(message, hop, signal) : await this.#toDomain(message, hop, signal)
    this.#options.log.info("relay.attempt", { kind: result.kind, ...result.status })
    return result
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#pool.close()
  }

  async #toHost(message: RelayMessage, hop: HostHop, signal: AbortSignal): Promise<RelayOutcome> {
    const attempt = await this.#attempt(message, hop, hop.host, signal)
    return attempt.kind === "unreached" ? attempt.because : attempt
  }

  async #toDomain(message: RelayMessage, hop: ExchangeHop, signal: AbortSignal): Promise<RelayOutcome> {
    const exchanges = await findExchanges(hop, this.#options.hostname)
    if (exchanges.kind !== "targets") {
      const kind = exchanges.kind === "never" ? "failed" : "retry"
      return outcome(kind, message.recipient, exchanges.status, exchanges.diagnostic)
    }
    let because = outcome("retry", message.recipient, "4.4.1", "no mail exchanger to try")
    for (const target of exchanges.targets) {
      const attempt = await this.#attempt(message, hostHop(target, hop), target.host, signal)
      if (attempt.kind !== "unreached") return attempt
      because = attempt.because
    }
    return because
  }

  /** `unreached`: no session with this host, or it broke before the message began: the next exchanger may do better. */
  async #attempt(message: RelayMessage, hop: HostHop, servername: string, signal: AbortSignal): Promise<Attempt> {
    const { hostname } = this.#options
    const key = JSON.stringify([
      hop.host,
      hop.port,
      servername,
      hop.tls,
      hop.auth?.username ?? null,
      hop.authority ?? null,
      hop.protocol ?? null,
      hop.socketPath ?? null,
    ])
    const connect = () => Client.connect({ hop, servername, hostname, timeouts: this.#timeouts }, signal)
    for (;;) {
      const lease = await this.#lease(key, connect, message, servername, signal)
      if ("because" in lease) return lease
      try {
        return await lease.client.send(message, signal)
      } catch (error) {
        signal.throwIfAborted()
        if (!(error instanceof SessionLost)) throw error
        // An idle session that the server had closed meanwhile tells nothing about the server.
        if (lease.reused && !error.contentBegun) continue
        const lost = unreached(message, error.cause, servername)
        return error.contentBegun ? lost.because : lost
      } finally {
        this.#pool.release(key, lease.client)
      }
    }
  }

  async #lease(
    key: string,
    connect: () => Promise<Client>,
    message: RelayMessage,
    servername: string,
    signal: AbortSignal,
  ): Promise<Lease | Unreached> {
    try {
      return await this.#pool.acquire(key, connect, signal)
    } catch (error) {
      signal.throwIfAborted()
      return unreached(message, error, servername)
    }
  }
}

type Attempt = RelayOutcome | Unreached

interface Unreached {
  readonly kind: "unreached"
  readonly because: RelayOutcome
}

/** @throws the error when it is none of the connection's */
function unreached(message: RelayMessage, error: unknown, host: string): Unreached {
  const said = replyOf(error)
  const ours = hasCode(error, "UPSTREAM_UNAVAILABLE") || hasCode(error, "UPSTREAM_REFUSED")
  const status = CONNECTION_CODES.find(([code]) => hasPeerCode(error, code))?.[1]
  if (said === null && status === undefined && !ours) throw error
  const text = said ?? (error instanceof Error ? error.message : "connection failed")
  return {
    kind: "unreached",
    because: outcome("retry", message.recipient, status ?? "4.4.1", text, ...(said === null ? [] : [host])),
  }
}

/** nodemailer's codes, RFC 3463. A wrong password of ours is no fault of the sender: retried, like the rest. */
const CONNECTION_CODES: readonly (readonly [string, string])[] = [
  ["ETLS", "4.7.4"],
  ["EAUTH", "4.7.0"],
  ["ENOAUTH", "4.7.0"],
  ["EDNS", "4.4.3"],
  ["ETIMEDOUT", "4.4.2"],
  ["EPROTOCOL", "4.5.0"],
  ["ECONNECTION", "4.4.1"],
  ["ESOCKET", "4.4.1"],
  ["EENVELOPE", "4.5.0"],
]

function hostHop(target: Target, hop: ExchangeHop): HostHop {
  return { kind: "host", host: target.address, port: hop.port ?? 25, tls: "opportunistic" }
}
