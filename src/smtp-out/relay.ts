import { hasCode } from "../errors.ts"
import type { Log } from "../log/log.ts"
import { Client, hasPeerCode, replyOf, SessionLost } from "./client.ts"
import { type Demands, findDemands, type StsPolicies } from "./demands.ts"
import { findExchanges, type Target } from "./exchange.ts"
import type { ExchangeHop, Hop, HostHop, RelayMessage, RelayOutcome } from "./hop.ts"
import { outcome } from "./outcome.ts"
import { ClientPool, type Lease } from "./pool.ts"
import type { SessionTimeouts } from "./session.ts"
import { resultOf, resultOfFailure } from "./session-result.ts"
import type { AppliedPolicy, TlsResults, TlsResultType } from "./tls-result.ts"
import { tlsaText } from "./tlsa.ts"
import type { TlsDemand } from "./transport.ts"

export interface RelayOptions {
  /** EHLO argument, and how we know ourselves among mail exchangers. */
  readonly hostname: string
  readonly log: Log
  readonly timeouts?: SessionTimeouts
  /** Absent: MTA-STS is not asked for. */
  readonly policies?: StsPolicies
  /** Where sessions with mail exchangers are counted. */
  readonly results?: TlsResults
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
   * octets must be `sizeOctets`, else LENGTH_MISMATCH), of `policies` and the reason of `signal` are thrown.
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

  async #toHost(message: RelayMessage, given: HostHop, signal: AbortSignal): Promise<RelayOutcome> {
    // RFC 8689 §4.2.1: what is offered is not enough for such a message.
    const hop: HostHop = message.requireTls && given.tls === "opportunistic" ? { ...given, tls: "required" } : given
    const attempt = await this.#attempt(message, { hop, servername: hop.host, observe: UNCOUNTED }, signal)
    return attempt.kind === "unreached" ? attempt.because : attempt
  }

  async #toDomain(message: RelayMessage, hop: ExchangeHop, signal: AbortSignal): Promise<RelayOutcome> {
    const exchanges = await findExchanges(hop, this.#options.hostname)
    if (exchanges.kind !== "targets") {
      const kind = exchanges.kind === "never" ? "failed" : "retry"
      return outcome(kind, message.recipient, exchanges.status, exchanges.diagnostic)
    }
    const { policies = null } = this.#options
    const demands = await findDemands(message, hop, exchanges.secure, policies, signal)
    if (demands.sts.failure)
      this.#count(hop.domain, NO_POLICY, demands.sts.failure.result, null, demands.sts.failure.why)
    let because: RelayOutcome | null = null
    for (const target of exchanges.targets) {
      const attempt = await this.#toTarget(message, hop, target, demands, signal)
      const last = attempt.kind === "unreached" ? attempt.because : attempt
      // Another exchanger may offer what this one does not (RFC 8689 §4.2.1).
      if (attempt.kind !== "unreached" && attempt.status.status !== REQUIRETLS_MISSING) return attempt
      if (because === null || because.kind === "failed" || last.kind === "retry") because = last
    }
    return because ?? outcome("retry", message.recipient, "4.4.1", "no mail exchanger to try")
  }

  async #toTarget(
    message: RelayMessage,
    hop: ExchangeHop,
    target: Target,
    demands: Demands,
    signal: AbortSignal,
  ): Promise<Attempt> {
    const { decision, policy } = await demands.of(target)
    if (decision.kind === "refused") {
      this.#count(hop.domain, policy, decision.result, target, "")
      // Not knowing is no refusal: DNS may tell later.
      if (message.requireTls && decision.result !== "dnssec-invalid")
        return { kind: "unreached", because: outcome("failed", message.recipient, REQUIRETLS_MISSING, decision.why) }
      return { kind: "unreached", because: outcome("retry", message.recipient, "4.7.4", decision.why) }
    }
    const { tls } = decision
    const servername = typeof tls === "object" ? (tls.names[0] ?? target.host) : target.host
    const observe: Observer = {
      opened: ({ security }) => {
        const [result, reason] = resultOf(security, decision.tls, policy, demands.sts.policy, target)
        this.#count(hop.domain, policy, result, target, reason)
      },
      failed: (error) => {
        const [result, reason] = resultOfFailure(error)
        if (result !== null) this.#count(hop.domain, policy, result, target, reason)
      },
    }
    return await this.#attempt(message, { hop: hostHop(target, hop, tls), servername, observe }, signal)
  }

  #count(domain: string, policy: AppliedPolicy, result: TlsResultType, target: Target | null, reason: string): void {
    const { host = "", address = "" } = target ?? {}
    if (result !== "success" && policy.type !== "no-policy-found")
      this.#options.log.warn("relay.tls-failed", { domain, policy: policy.type, result, mx: host, address, reason })
    this.#options.results?.count({ domain, policy, result, mx: host, address, reason })
  }

  /** `unreached`: no session with this host, or it broke before the message began: the next exchanger may do better. */
  async #attempt(message: RelayMessage, way: Way, signal: AbortSignal): Promise<Attempt> {
    const key = sessionKey(way)
    for (;;) {
      const lease = await this.#lease(key, message, way, signal)
      if ("because" in lease) return lease
      try {
        return await lease.client.send(message, signal)
      } catch (error) {
        signal.throwIfAborted()
        if (!(error instanceof SessionLost)) throw error
        // An idle session that the server had closed meanwhile tells nothing about the server.
        if (lease.reused && !error.contentBegun) continue
        const lost = unreached(message, error.cause, way.servername)
        return error.contentBegun ? lost.because : lost
      } finally {
        this.#pool.release(key, lease.client)
      }
    }
  }

  async #lease(key: string, message: RelayMessage, way: Way, signal: AbortSignal): Promise<Lease | Unreached> {
    try {
      return await this.#pool.acquire(key, () => this.#connect(way, signal), signal)
    } catch (error) {
      signal.throwIfAborted()
      return unreached(message, error, way.servername)
    }
  }

  async #connect({ hop, servername, observe }: Way, signal: AbortSignal): Promise<Client> {
    const { hostname } = this.#options
    try {
      const client = await Client.connect({ hop, servername, hostname, timeouts: this.#timeouts }, signal)
      observe.opened(client)
      return client
    } catch (error) {
      if (!signal.aborted) observe.failed(error)
      throw error
    }
  }
}

/** How one host is reached. */
interface Way {
  readonly hop: HostHop
  /** Whose certificate it is to show. */
  readonly servername: string
  readonly observe: Observer
}

/** Hears what new sessions come to. */
interface Observer {
  opened(client: Client): void
  failed(error: unknown): void
}

const UNCOUNTED: Observer = { opened: () => undefined, failed: () => undefined }

type Attempt = RelayOutcome | Unreached

interface Unreached {
  readonly kind: "unreached"
  readonly because: RelayOutcome
}

/** A session is used again only for what demands the same of it. */
function sessionKey({ hop, servername }: Pick<Way, "hop" | "servername">): string {
  return JSON.stringify([
    hop.host,
    hop.port,
    servername,
    typeof hop.tls === "object" ? [hop.tls.names, hop.tls.records.map(tlsaText)] : hop.tls,
    hop.auth?.username ?? null,
    hop.authority ?? null,
    hop.protocol ?? null,
    hop.socketPath ?? null,
  ])
}

/** @throws the error when it is none of the connection's */
function unreached(message: RelayMessage, error: unknown, host: string): Unreached {
  const said = replyOf(error)
  const ours = hasCode(error, "UPSTREAM_UNAVAILABLE") || hasCode(error, "UPSTREAM_REFUSED")
  const status = CONNECTION_CODES.find(([code]) => hasPeerCode(error, code))?.[1]
  if (said === null && status === undefined && !ours) throw error
  const text = said ?? (error instanceof Error ? error.message : "connection failed")
  const refused = message.requireTls === true && hasPeerCode(error, "ETLS")
  const because = outcome(
    refused ? "failed" : "retry",
    message.recipient,
    refused ? REQUIRETLS_MISSING : (status ?? "4.4.1"),
    refused ? `REQUIRETLS needs TLS with a verified certificate: ${text}` : text,
    ...(said === null ? [] : [host]),
  )
  return { kind: "unreached", because }
}

/** RFC 8689 §8: REQUIRETLS support required. */
const REQUIRETLS_MISSING = "5.7.30"

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

function hostHop(target: Target, hop: ExchangeHop, tls: TlsDemand): HostHop {
  return {
    kind: "host",
    host: target.address,
    port: hop.port ?? 25,
    tls,
    ...(hop.authority === undefined ? {} : { authority: hop.authority }),
  }
}

const NO_POLICY: AppliedPolicy = { type: "no-policy-found", strings: [], mx: [] }
