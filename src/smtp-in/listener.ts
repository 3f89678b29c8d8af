import type { AddressInfo } from "node:net"
import type { SMTPServerDataStream, SMTPServerSession } from "smtp-server"
import { GatewayError } from "../errors.ts"
import type { Counters } from "../log/counters.ts"
import type { Log } from "../log/log.ts"
import { type AdmissionRules, admitRecipient, admitSender, submitterOf } from "./admission.ts"
import { Arrival } from "./arrival.ts"
import { authenticate } from "./authentication.ts"
import { GatewayConnection } from "./connection.ts"
import { type ContentVerdict, inspectContent } from "./content.ts"
import { departing } from "./departing.ts"
import { Handshakes } from "./handshakes.ts"
import type {
  Acceptance,
  ArrivingEntry,
  Authentication,
  Authenticator,
  Departures,
  Recipients,
  ScanFacts,
  Scanner,
  Submitters,
  Visitor,
  Visitors,
} from "./ports.ts"
import { receivedField } from "./received.ts"
import * as replies from "./replies.ts"
import { Scanning } from "./scanning.ts"
import { SMTPServer } from "./smtp-server.ts"
import { checkAuthors, envelopeOf, senderIn } from "./transaction.ts"

export interface SmtpInLimits {
  readonly messageSizeOctets: number
  readonly recipients: number
  /** Open connections of this listener; the next one hears 421. */
  readonly connections: number
  /** Silence of a client before 421; RFC 5321 §4.5.3.2.7 asks for 5 minutes. */
  readonly idleMs?: number
  /** One command line, from the end of the last to its own end. */
  readonly commandMs?: number
  /** One message from 354 to its final dot; 50 MB at 128 kbit/s. */
  readonly dataMs?: number
  /** Time before the greeting in which a client must be silent; 100 at MX, 0 for people's own devices. */
  readonly greetingDelayMs?: number
  /** What the first failed AUTH costs; the n-th costs n times as much. */
  readonly authDelayMs?: number
}

interface SmtpInTls extends SmtpInIdentity {
  /** Other identities, by the name that a client asks for (RFC 6066 §3), in lower case. */
  readonly names?: ReadonlyMap<string, SmtpInIdentity>
}

interface SmtpInIdentity {
  /** PEM */
  readonly key: string
  /** PEM, with its chain */
  readonly certificate: string
}

export interface SmtpInOptions {
  /** `mx`: port 25; `submission`: 587, STARTTLS before AUTH; `submissions`: 465, TLS from the first octet. */
  readonly kind: "mx" | "submission" | "submissions"
  readonly host: string
  /** 0: any free one, see {@link SmtpListener.address}. */
  readonly port: number
  /** Others listen there too, and the system gives each its share of the connections. */
  readonly sharesPort?: boolean
  /** How this server calls itself: greeting and Received. */
  readonly hostname: string
  /** The domain that `<postmaster>` alone belongs to; `hostname` unless given. */
  readonly postmasterDomain?: string
  readonly tls: SmtpInTls
  readonly limits: SmtpInLimits
  readonly recipients: Recipients
  /** Needed by submission. */
  readonly submitters?: Submitters
  readonly acceptance: Acceptance
  /** Absent: everybody is taken as much from as he likes. */
  readonly visitors?: Visitors
  /** Absent: what arrives is taken for what it says. */
  readonly authenticator?: Authenticator
  /** Absent: nobody looks at what messages hold. */
  readonly scanner?: Scanner
  /** Absent: whatever our people send leaves, or is decided about later. */
  readonly departures?: Departures
  readonly counters: Pick<Counters, "add" | "observe">
  readonly log: Log
  readonly now?: () => Date
}

export interface SmtpListener {
  address(): { readonly host: string; readonly port: number }
  /**
   * Stops listening, ends idle sessions with 421, gives those within a message `graceMs`, then cuts them. With `spreadMs` idle ones are left
   * in peace too: somebody else listens, and new ones go there.
   */
  close(graceMs: number, spreadMs?: number): Promise<void>
  /** New handshakes use the new certificate; open sessions stay. */
  reloadTls(tls: SmtpInTls): void
}

/**
 * Listens for SMTP.
 * @throws GatewayError LISTEN_FAILED
 */
export async function startSmtpIn(options: SmtpInOptions): Promise<SmtpListener> {
  const gate = new Gate(options)
  await gate.listen()
  return gate
}

// One listener with its connections.
class Gate implements SmtpListener {
  readonly #options: SmtpInOptions
  readonly #log: Log
  readonly #admission: AdmissionRules
  readonly #server: SMTPServer
  readonly #connections = new Map<string, GatewayConnection>()
  readonly #receiving = new Set<Promise<void>>()
  readonly #handshakes: Handshakes

  constructor(options: SmtpInOptions) {
    this.#options = options
    this.#log = options.log.with({ listener: options.kind })
    const { kind, recipients, postmasterDomain = options.hostname } = options
    this.#admission = { kind, recipients, postmasterDomain }
    this.#handshakes = new Handshakes(options.visitors ?? null, this.#log)
    this.#server = this.#makeServer()
  }

  async listen(): Promise<void> {
    const { host, port, sharesPort: reusePort = false } = this.#options
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const listening = this.#server.listen({ host, port, backlog: 1024, reusePort }, resolve)
    listening.once("error", (cause) => {
      reject(new GatewayError("LISTEN_FAILED", `smtp: can't listen on ${host}:${port}`, { cause }))
    })
    await promise
  }

  address(): { readonly host: string; readonly port: number } {
    const bound = this.#server.server.address()
    if (!isAddressInfo(bound)) throw new GatewayError("LISTEN_FAILED", "smtp: not listening")
    return { host: bound.address, port: bound.port }
  }

  async close(graceMs: number, spreadMs = 0): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    // Behind a look of the event loop at the socket: who had connected before would be cut off.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
    this.#server.options.closeTimeout = Math.max(graceMs, 1)
    this.#server.close(resolve)
    for (const connection of this.#connections.values())
      if (connection.idle && spreadMs === 0) connection.terminate(replies.SHUTTING_DOWN)
    await promise
    for (const connection of this.#connections.values()) connection.terminate(replies.SHUTTING_DOWN)
    // Whoever closes the spool next must find nobody writing.
    await Promise.allSettled(this.#receiving)
  }

  reloadTls(tls: SmtpInTls): void {
    this.#server.updateSecureContext(identities(tls))
  }

  #makeServer(): SMTPServer {
    const { kind, hostname, tls, limits } = this.#options
    const submission = kind !== "mx"
    const server = new SMTPServer({
      name: hostname,
      secure: kind === "submissions",
      ...identities(tls),
      size: limits.messageSizeOctets,
      maxRecipients: limits.recipients,
      maxClients: limits.connections,
      socketTimeout: limits.idleMs ?? 300_000,
      authMethods: ["PLAIN", "LOGIN"],
      authRequiredMessage: `${replies.AUTH_REQUIRED.status} ${replies.AUTH_REQUIRED.text}`,
      // A client that never authenticates meets the connection limits; 10, the default, ends honest NOOPs.
      maxAllowedUnauthenticatedCommands: 100,
      disabledCommands: submission ? [] : ["AUTH"],
      hideENHANCEDSTATUSCODES: false,
      hideDSN: false,
      // Offered within TLS only (RFC 8689 §2): smtp-server sees to that, and to that it is demanded there only.
      hideREQUIRETLS: false,
      disableReverseLookup: true,
      logger: false,
      onAuth: (given, session, callback) => void this.#authenticate(given, session, callback),
      onMailFrom: (given, session, callback) =>
        void this.#judge(session, callback, () => admitSender(given, session, this.#admission, this.#visitor(session))),
      onRcptTo: (given, session, callback) =>
        void this.#judge(session, callback, () =>
          admitRecipient(given, session, this.#admission, this.#visitor(session)),
        ),
      onData: (stream, session, callback) => {
        const receiving = this.#receive(stream, session, callback).finally(() => this.#receiving.delete(receiving))
        this.#receiving.add(receiving)
      },
    })
    server.connect = (socket, socketOptions) => this.#connect(server, socket, socketOptions ?? null)
    const acceptSocket = server._acceptSocket.bind(server)
    server._acceptSocket = (socket, first) =>
      first && !this.#handshakes.begin(socket) ? false : acceptSocket(socket, first)
    server.on("error", (error) => this.#log.debug("smtp.connection-failed", { reason: error.message }))
    return server
  }

  #connect(server: SMTPServer, socket: ConstructorParameters<typeof GatewayConnection>[1], given: object | null): void {
    const { kind, limits, visitors } = this.#options
    const remote = socket.remoteAddress ?? "unknown"
    const visitor = this.#handshakes.end(socket) ?? visitors?.connect(remote)
    const delayMs = limits.greetingDelayMs ?? (kind === "mx" ? 100 : 0)
    const connection = new GatewayConnection(server, socket, given, {
      kind,
      commandMs: limits.commandMs ?? 300_000,
      dataMs: limits.dataMs ?? 3_600_000,
      greetingDelayMs: visitor?.isKnown ? 0 : delayMs,
      refusal: visitor === null ? replies.TOO_MANY_CONNECTIONS : null,
      visitor: visitor ?? null,
    })
    server.connections.add(connection)
    this.#connections.set(connection.id, connection)
    connection.closed.addEventListener("abort", () => {
      this.#connections.delete(connection.id)
      visitor?.leave()
    })
    connection.on("error", (error: Error) => this.#log.debug("smtp.connection-failed", { reason: error.message }))
    connection.init()
  }

  async #authenticate(...[given, session, callback]: Parameters<SMTPServer["onAuth"]>): Promise<void> {
    const connection = this.#connections.get(session.id)
    const { submitters, limits } = this.#options
    if (!connection || !submitters) return callback(replies.replyError(replies.AUTH_UNAVAILABLE))
    const rules = { submitters, authDelayMs: limits.authDelayMs ?? 500, log: this.#log }
    const answer = await authenticate(given, connection, rules)
    if ("code" in answer) callback(replies.replyError(answer))
    else callback(null, { user: answer })
  }

  #visitor({ id }: SMTPServerSession): Visitor | null {
    return this.#connections.get(id)?.visitor ?? null
  }

  /** Answers MAIL or RCPT; what can't be decided now is asked again later. */
  async #judge(
    session: SMTPServerSession,
    callback: (error?: Error | null) => void,
    judge: () => Promise<replies.Reply | null>,
  ): Promise<void> {
    let refusal: replies.Reply | null
    try {
      refusal = await judge()
    } catch (error) {
      this.#log.error("smtp.undecided", { session: session.id }, error)
      refusal = replies.LOCAL_ERROR
    }
    if (refusal) {
      this.#countRefused(refusal)
      this.#log.info("smtp.refused", { session: session.id, remote: session.remoteAddress, ...refusal })
    }
    // Not at once: smtp-server forgets the commands pipelined after a final dot when a whole next message is answered on the
    // stack of the last one's reply.
    queueMicrotask(() => callback(refusal && replies.replyError(refusal)))
  }

  async #receive(...[stream, session, callback]: Parameters<SMTPServer["onData"]>): Promise<void> {
    const verdict: ContentVerdict = { complete: false, sizeOctets: 0, refusal: null }
    const arrival = this.#arrival(session, verdict)
    const scanning = this.#scanning(session, verdict)
    try {
      const entry = this.#entry(session, () => scanning.beside(arrival.authentication))
      const content = arrival.watch(this.#content(stream, session, verdict))
      const scanned = scanning.watch(content, scanFacts(entry, session))
      const departed = departing(scanned, entry, this.#options.departures ?? null, verdict)
      const id = await this.#options.acceptance.accept(entry, departed)
      // Whatever acceptance says: without the last octet there is no message.
      if (!verdict.complete) throw new GatewayError("PROTOCOL", "smtp: accepted before its end")
      this.#visitor(session)?.accepted()
      this.#logAccepted(id, entry, session, verdict)
      callback(null, `accepted as ${id}`)
    } catch (error) {
      const reply = replies.replyFor(verdict.refusal ?? error)
      // A session that ended within the message has heard something else, or nothing.
      if (stream.errored === null) this.#countRefused(reply)
      this.#logRefused(reply, session, verdict, error)
      // The client goes on sending until its final dot; thrown away, so that it reads our reply.
      stream.resume()
      callback(replies.replyError(reply))
    }
  }

  #arrival(session: SMTPServerSession, verdict: ContentVerdict): Arrival {
    const { counters, authenticator } = this.#options
    const facts = {
      sender: senderIn(session),
      remote: session.remoteAddress,
      helo: session.hostNameAppearsAs,
    }
    return new Arrival(authenticator ?? null, facts, verdict, { counters, log: () => this.#messageLog(session) })
  }

  #scanning(session: SMTPServerSession, verdict: ContentVerdict): Scanning {
    const { counters, scanner } = this.#options
    const closed = this.#connections.get(session.id)?.closed ?? AbortSignal.abort()
    return new Scanning(scanner ?? null, verdict, closed, { counters, log: () => this.#messageLog(session) })
  }

  #messageLog(session: SMTPServerSession): Log {
    return this.#log.with({ session: sessionName(session), remote: session.remoteAddress })
  }

  #content(stream: SMTPServerDataStream, session: SMTPServerSession, verdict: ContentVerdict) {
    const submitter = submitterOf(session)
    const rules = {
      maxOctets: this.#options.limits.messageSizeOctets,
      ...(submitter
        ? { checkHeader: (fields: Parameters<typeof checkAuthors>[0]) => checkAuthors(fields, submitter) }
        : {}),
    }
    // Not destroyed when the reader gives up: the rest has to be read from the socket all the same.
    return inspectContent(stream.iterator({ destroyOnReturn: false }), rules, verdict)
  }

  #entry(session: SMTPServerSession, authentication: () => Authentication | null): ArrivingEntry {
    const submitter = submitterOf(session)
    const envelope = envelopeOf(session, this.#admission)
    const receivedAt = this.#options.now?.() ?? new Date()
    const helo = session.hostNameAppearsAs
    const received = receivedField({
      helo,
      remote: submitter ? null : session.remoteAddress,
      hostname: this.#options.hostname,
      transmission: session.transmissionType,
      smtpUtf8: envelope.smtpUtf8,
      cipher: session.tlsOptions ? (session.tlsOptions.standardName ?? session.tlsOptions.name) : null,
      id: sessionName(session),
      recipients: envelope.recipients.map((recipient) => recipient.address),
      receivedAt,
    })
    const origin = {
      kind: submitter ? ("submission" as const) : ("mx" as const),
      account: submitter?.account ?? null,
      device: submitter?.device ?? null,
      remote: session.remoteAddress,
      helo,
      tls: session.secure,
    }
    return { envelope, origin, received, receivedAt, authentication }
  }

  #countRefused({ code }: replies.Reply): void {
    this.#options.counters.add("postern_smtp_refused_total", { listener: this.#options.kind, code: String(code) })
  }

  #logAccepted(id: string, entry: ArrivingEntry, session: SMTPServerSession, verdict: ContentVerdict): void {
    this.#log.info("smtp.accepted", {
      id,
      session: sessionName(session),
      remote: session.remoteAddress,
      account: entry.origin.account,
      recipients: entry.envelope.recipients.length,
      sizeOctets: verdict.sizeOctets,
      tls: session.secure,
    })
  }

  #logRefused(reply: replies.Reply, session: SMTPServerSession, verdict: ContentVerdict, error: unknown): void {
    const fields = { session: sessionName(session), remote: session.remoteAddress, ...reply }
    const closed = this.#connections.get(session.id)?.closed.aborted ?? true
    if (verdict.refusal || closed) this.#log.info(closed ? "smtp.broken-off" : "smtp.refused", fields)
    else this.#log.error("smtp.not-accepted", fields, error)
  }
}

function identities({ key, certificate, names }: SmtpInTls) {
  const named = [...(names ?? [])].map(
    ([name, one]) => [name, { key: one.key, cert: one.certificate, ...TLS_VERSIONS }] as const,
  )
  return { key, cert: certificate, sniOptions: new Map(named), ...TLS_VERSIONS }
}

function scanFacts({ envelope, origin }: ArrivingEntry, session: SMTPServerSession): ScanFacts {
  const { remote, helo, account } = origin
  const recipients = envelope.recipients.map(({ address }) => address)
  return { sender: envelope.sender, recipients, remote, helo, account, id: sessionName(session) }
}

function sessionName(session: SMTPServerSession): string {
  return `${session.id}.${session.transaction}`
}

function isAddressInfo(address: AddressInfo | string | null): address is AddressInfo {
  return typeof address === "object" && address !== null
}

const TLS_VERSIONS = { minVersion: "TLSv1.2" } as const
