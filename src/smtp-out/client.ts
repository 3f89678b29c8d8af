import { Readable } from "node:stream"
import type { TLSSocket } from "node:tls"
import type SMTPConnection from "nodemailer/lib/smtp-connection"
import { type CertificateForms, certificateForms } from "../crypto/primitives/x509.ts"
import { GatewayError, hasCode } from "../errors.ts"
import { formatAddress, isNonAscii } from "../message/address.ts"
import { readHeader } from "../mime/header.ts"
import type { HostHop, RelayMessage, RelayOutcome } from "./hop.ts"
import { outcome, outcomeOfReply } from "./outcome.ts"
import { makeSession, type Session, type SessionOptions } from "./session.ts"
import { matchesEndEntity, type TlsaRecord, trustAnchors } from "./tlsa.ts"
import type { DaneDemand } from "./transport.ts"

/** The session broke: nothing is known of the message but whether its octets had begun to go. */
export class SessionLost extends Error {
  readonly contentBegun: boolean

  constructor(contentBegun: boolean, cause: unknown) {
    super("smtp-out: session lost", { cause })
    this.name = "SessionLost"
    this.contentBegun = contentBegun
  }
}

/** How a session is protected. */
export type SessionSecurity =
  | { readonly kind: "clear" }
  /** `untrusted`: OpenSSL's or Node's code of why the certificate is not the host's by an authority trusted here; null: it is. */
  | { readonly kind: "tls"; readonly untrusted: string | null }

/** One open session with a next hop; one message at a time. */
export class Client {
  readonly #session: Session
  readonly #connection: SMTPConnection
  readonly #remote: string
  /** Fails whatever is waited for now. */
  #fail: ((error: unknown) => void) | null = null

  private constructor(session: Session, remote: string) {
    this.#session = session
    this.#connection = session.connection
    this.#remote = remote
    this.#connection.on("error", (error: Error) => this.#fail?.(error))
    // The reply that ended it may still be on its way to its waiter.
    this.#connection.on("end", () =>
      setImmediate(() => this.#fail?.(new GatewayError("UPSTREAM_UNAVAILABLE", "smtp-out: session ended"))),
    )
  }

  /**
   * Connects, says EHLO, goes to TLS and authenticates as the hop asks for.
   * @throws nodemailer's error, with `code`, and `response` where the server said something
   */
  static async connect(options: SessionOptions, signal: AbortSignal): Promise<Client> {
    const { tls } = options.hop
    if (typeof tls === "object") return await Client.#vouched(options, tls, signal)
    try {
      return await Client.#open(options, true, signal)
    } catch (error) {
      // RFC 7435: opportunistic TLS that can't be had is no reason not to send.
      if (tls !== "opportunistic" || !hasPeerCode(error, "ETLS")) throw error
      return await Client.#open(options, false, signal)
    }
  }

  /** RFC 7672 §3: DANE-EE fits the certificate itself; for DANE-TA the session is made anew, so that OpenSSL verifies the chain up to that anchor. */
  static async #vouched(options: SessionOptions, { records }: DaneDemand, signal: AbortSignal): Promise<Client> {
    const client = await Client.#open(options, true, signal)
    const chain = chainOf(client.#session.socket())
    const [leaf] = chain
    if (leaf !== undefined && matchesEndEntity(records, leaf)) return client
    client.quit()
    // An anchor is an issuer, never the certificate itself (RFC 7671 §5.2).
    const issuers = [...chain.slice(1), ...givenAnchors(records)].filter(({ pem }) => pem !== leaf?.pem)
    const anchors = trustAnchors(records, issuers).map(({ pem }) => pem)
    if (anchors.length === 0) throw tlsFailure("no TLSA record is for its certificate", "TLSA_MISMATCH")
    return await Client.#open({ ...options, anchors }, true, signal)
  }

  static async #open(options: SessionOptions, tls: boolean, signal: AbortSignal): Promise<Client> {
    const client = new Client(await makeSession(options, tls), options.servername)
    try {
      await client.#until<void>(signal, (done) => client.#connection.connect((error) => done(error ?? null)))
      // Nobody but opportunistic TLS may end here in clear; nodemailer is not alone in holding to that.
      if (options.hop.tls !== "opportunistic" && client.#session.socket() === null)
        throw tlsFailure("the session is in clear", "NO_TLS")
      await client.#login(options.hop, signal)
      return client
    } catch (error) {
      client.close()
      // A handshake fails as a socket error or a timeout; what it is a failure of decides what may be tried next.
      if (!client.#connection.upgrading || !(error instanceof Error)) throw error
      throw Object.assign(new Error(`TLS handshake failed: ${error.message}`, { cause: error }), { code: "ETLS" })
    }
  }

  /** What the handshake came to; `clear`: there was none. */
  get security(): SessionSecurity {
    const socket = this.#session.socket()
    if (socket === null) return { kind: "clear" }
    // Node has looked at the certificate in any case; whether that mattered was the hop's business.
    return { kind: "tls", untrusted: socket.authorized ? null : (errorCode(socket.authorizationError) ?? "UNVERIFIED") }
  }

  /** False once the session has ended, by either side. */
  get open(): boolean {
    return !this.#connection.destroyed
  }

  /**
   * Relays one message.
   * @throws SessionLost; whatever `content` throws, and then no final dot is sent
   */
  async send(message: RelayMessage, signal: AbortSignal): Promise<RelayOutcome> {
    const impossible = await this.#impossible(message)
    if (impossible) return impossible
    const source = new Source(message)
    try {
      const info = await this.#until<SMTPConnection.SentMessageInfo>(signal, (done) =>
        this.#transmit(message, source.stream, done),
      )
      const outcome = outcomeOfReply(message.recipient, info?.response ?? "", this.#remote)
      return outcome.kind === "relayed" && this.#session.extensions().has("DSN")
        ? { ...outcome, notifies: true }
        : outcome
    } catch (error) {
      return await this.#explain(error, message, source, signal)
    } finally {
      source.stream.destroy()
    }
  }

  /** Says QUIT and closes. */
  quit(): void {
    if (this.open) this.#connection.quit()
    this.close()
  }

  /** Closes at once. */
  close(): void {
    this.#connection.close()
  }

  async #login({ auth, host, tls }: HostHop, signal: AbortSignal): Promise<void> {
    if (!auth) return
    if (!this.#connection.secure && !LOOPBACK.test(host))
      throw new GatewayError("UPSTREAM_REFUSED", "smtp-out: no password is sent without TLS")
    // Whom DANE vouches for is known only behind this.
    if (tls === "encrypted" || typeof tls === "object")
      throw new GatewayError("UPSTREAM_REFUSED", "smtp-out: no password is sent to a server that is not verified")
    const { username: user, password: pass } = auth
    await this.#until<boolean>(signal, (done) => this.#connection.login({ user, pass }, done))
  }

  // RFC 6531 §3.6, RFC 6152 §3: what the next hop can't take in its own form is not sent; octets are never converted.
  async #impossible(message: RelayMessage): Promise<RelayOutcome | null> {
    const extensions = this.#session.extensions()
    // RFC 8689 §4.2.1: handed only to who promises the same.
    if (message.requireTls && (this.#session.socket() === null || !extensions.has("REQUIRETLS")))
      return outcome(
        "failed",
        message.recipient,
        "5.7.30",
        "REQUIRETLS support required, and not offered",
        this.#remote,
      )
    this.#session.declareUtf8(message.smtpUtf8 && extensions.has("SMTPUTF8"))
    if (!extensions.has("SMTPUTF8") && (await needsUtf8(message)))
      return outcome("failed", message.recipient, "5.6.7", "next hop does not offer SMTPUTF8", this.#remote)
    if (!extensions.has("8BITMIME") && (await hasEightBit(message)))
      return outcome("failed", message.recipient, "5.6.3", "next hop does not offer 8BITMIME", this.#remote)
    return null
  }

  #transmit(message: RelayMessage, stream: Readable, done: Done<SMTPConnection.SentMessageInfo>): void {
    const { envelopeId, returnContent, notify, originalRecipient } = message
    this.#connection.send(
      {
        from: message.sender ? formatAddress(message.sender) : false,
        to: formatAddress(message.recipient),
        size: message.sizeOctets,
        use8BitMime: true,
        ...(message.requireTls ? { requireTLSExtensionEnabled: true } : {}),
        dsn: { envid: envelopeId, ret: returnContent, notify: notify ? [...notify] : null, orcpt: originalRecipient },
      },
      stream,
      done,
    )
  }

  async #explain(error: unknown, message: RelayMessage, source: Source, signal: AbortSignal): Promise<RelayOutcome> {
    if (source.failure !== null) {
      // Closing now leaves the message without its final dot: the next hop throws it away.
      this.close()
      throw source.failure.error
    }
    const reply = replyOf(error)
    if (reply === null) {
      this.close()
      // nodemailer compares with the SIZE of EHLO and says nothing to the server.
      if (hasPeerCode(error, "EMESSAGE"))
        return outcome("failed", message.recipient, "5.3.4", "message is larger than the next hop takes", this.#remote)
      throw new SessionLost(source.begun, error)
    }
    await this.#reset(signal)
    return outcomeOfReply(message.recipient, reply, this.#remote)
  }

  /** Ready for the next message, or closed. */
  async #reset(signal: AbortSignal): Promise<void> {
    if (!this.open) return
    try {
      await this.#until<boolean>(signal, (done) => this.#connection.reset(done))
    } catch (error) {
      if (!(error instanceof Error)) throw error
      // The outcome is known; a session that can't go on is not needed.
      this.close()
    }
  }

  async #until<T>(signal: AbortSignal, start: (done: Done<T>) => void): Promise<T | undefined> {
    signal.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<T | undefined>()
    const stop = (): void => {
      reject(signal.reason)
      this.close()
    }
    signal.addEventListener("abort", stop, { once: true })
    this.#fail = reject
    try {
      start((error, value) => (error ? reject(error) : resolve(value)))
      return await promise
    } finally {
      this.#fail = null
      signal.removeEventListener("abort", stop)
    }
  }
}

/** The certificates that the peer showed, its own first; from the first that cannot be read on, none. */
function chainOf(socket: TLSSocket | null): readonly CertificateForms[] {
  const chain: CertificateForms[] = []
  let at = socket?.getPeerCertificate(true)
  // The last one, where it is self-signed, is its own issuer.
  for (let seen: unknown = null; at?.raw && at !== seen && chain.length < MAX_CHAIN; at = at.issuerCertificate) {
    const [forms] = formsOf(at.raw)
    if (forms === undefined) break
    chain.push(forms)
    seen = at
  }
  return chain
}

/** Anchors that stand in a record themselves, `2 0 0`: they need not be in the chain (RFC 7671 §5.2.2). */
function givenAnchors(records: readonly TlsaRecord[]): readonly CertificateForms[] {
  return records.flatMap(({ usage, selector, matchingType, association }) =>
    usage === 2 && selector === 0 && matchingType === 0 ? formsOf(association) : [],
  )
}

/** [] for what OpenSSL cannot read: it fits no record. */
function formsOf(der: Uint8Array): readonly CertificateForms[] {
  try {
    return [certificateForms(der)]
  } catch (error) {
    if (error instanceof Error) return []
    throw error
  }
}

function tlsFailure(what: string, reason: string): Error {
  return Object.assign(new Error(`TLS failed: ${what}`), { code: "ETLS", originalCode: reason })
}

function errorCode(error: unknown): string | null {
  if (typeof error === "string") return error
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : null
}

type Done<T> = (error: Error | null, value?: T) => void

// The octets of one attempt. nodemailer changes errors that pass through it: ours stays here.
class Source {
  readonly stream: Readable
  begun = false
  failure: { readonly error: unknown } | null = null

  constructor(message: RelayMessage) {
    this.stream = Readable.from(this.#octets(message), { objectMode: false, highWaterMark: 65_536 })
  }

  async *#octets(message: RelayMessage): AsyncGenerator<Uint8Array> {
    let sent = 0
    try {
      for await (const octets of message.content()) {
        this.begun = true
        sent += octets.length
        yield octets
      }
      // A content that ends early must not get a final dot.
      if (sent !== message.sizeOctets)
        throw new GatewayError("LENGTH_MISMATCH", `smtp-out: ${sent} octets instead of ${message.sizeOctets}`)
    } catch (error) {
      this.failure = { error }
      throw new Error("content failed", { cause: error })
    }
  }
}

async function needsUtf8({ sender, recipient, smtpUtf8, content }: RelayMessage): Promise<boolean> {
  if (isNonAscii(recipient) || (sender && isNonAscii(sender))) return true
  if (!smtpUtf8) return false
  try {
    const { header } = await readHeader(content()[Symbol.asyncIterator]())
    return header.some((octet) => octet > 127)
  } catch (error) {
    if (hasCode(error, "HEADER_TOO_LARGE")) return true
    throw error
  }
}

async function hasEightBit({ content }: RelayMessage): Promise<boolean> {
  for await (const octets of content()) if (octets.some((octet) => octet > 127)) return true
  return false
}

/** What the server said that made nodemailer fail, null when it said nothing. */
export function replyOf(error: unknown): string | null {
  if (!(error instanceof Error) || !("response" in error)) return null
  return typeof error.response === "string" && /^\d{3}/.test(error.response) ? error.response : null
}

/** True for an error of nodemailer or of the system with this `code`. */
export function hasPeerCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code
}

/** OpenSSL stops at 100; real ones have three. */
const MAX_CHAIN = 10
const LOOPBACK = /^(?:127\.\d+\.\d+\.\d+|::1|localhost)$/
