import { once } from "node:events"
import type { Server } from "node:net"
import { SMTPServer, type SMTPServerOptions, type SMTPServerSession } from "smtp-server"
import type { TestCertificate } from "./certificate.ts"

/** One message as it reached the sink: the envelope it came with, every octet, and how. */
interface SunkMessage {
  readonly sender: string
  readonly recipients: readonly string[]
  readonly octets: Buffer
  readonly smtpUtf8: boolean
  /** Parameters of MAIL, and of each RCPT, as smtp-server reads them. */
  readonly mailParameters: Readonly<Record<string, string | true>>
  readonly rcptParameters: readonly Readonly<Record<string, string | true>>[]
  readonly tls: boolean
  readonly username: string | null
  readonly helo: string
}

export interface SmtpSinkOptions {
  /** Without it there is no STARTTLS. */
  readonly tls?: TestCertificate
  /** TLS from the first octet. */
  readonly implicit?: boolean
  /** Reply to RCPT, or null to take it: `"450 4.2.1 later"`. */
  readonly rcpt?: (address: string) => string | null
  /** Reply to the final dot, or null to take the message. */
  readonly data?: (message: SunkMessage) => string | null
  readonly password?: string
  /** Where it listens, instead of a free port on loopback: a listener of an `Internet`. */
  readonly at?: Server
  /** False for a soak, whose messages would fill the memory: `messages` and `envelopes` stay empty then. */
  readonly keeps?: boolean
  /** Anything else of smtp-server, such as `hideSMTPUTF8`. */
  readonly server?: SMTPServerOptions
}

/** A real SMTP server on a free loopback port that keeps what it gets. */
export interface SmtpSink extends AsyncDisposable {
  readonly port: number
  readonly messages: readonly SunkMessage[]
  /** Sessions ever opened. */
  readonly sessions: number
  /** Senders that MAIL named, whatever came of it. */
  readonly envelopes: readonly string[]
  /** Resolves when `count` messages are there. */
  received(count: number): Promise<void>
  /** Drops every open connection, as a restart does. */
  dropAll(): void
}

/** Opens a sink. */
export async function openSmtpSink(options: SmtpSinkOptions = {}): Promise<SmtpSink> {
  const messages: SunkMessage[] = []
  const waiting: { count: number; resolve: () => void }[] = []
  const envelopes: string[] = []
  let sessions = 0
  const keep = (message: SunkMessage): void => {
    if (options.keeps === false) return
    messages.push(message)
    for (const one of waiting) if (messages.length >= one.count) one.resolve()
  }
  const server = new SMTPServer({
    ...serverOptions(options),
    onConnect: (_session, callback) => {
      sessions++
      callback()
    },
    onMailFrom: (address, _session, callback) => {
      if (options.keeps !== false) envelopes.push(address.address)
      callback()
    },
    onRcptTo: (address, _session, callback) => callback(refusal(options.rcpt?.(address.address) ?? null)),
    onData: (stream, session, callback) => {
      const chunks: Buffer[] = []
      stream.on("data", (chunk: Buffer) => chunks.push(chunk))
      stream.on("end", () => {
        const message = sunk(session, Buffer.concat(chunks))
        const reply = options.data?.(message) ?? null
        if (reply === null) keep(message)
        callback(refusal(reply))
      })
    },
  })
  server.on("error", () => undefined)
  const { at } = options
  if (at) server.server.listen(at)
  else server.listen(0, "127.0.0.1")
  if (!server.server.listening) await once(server.server, "listening")
  const address = server.server.address()
  if (address === null || typeof address === "string") throw new Error("sink: no port")
  return {
    port: address.port,
    messages,
    envelopes,
    get sessions() {
      return sessions
    },
    received: (count) =>
      messages.length >= count ? Promise.resolve() : new Promise((resolve) => waiting.push({ count, resolve })),
    dropAll: () => {
      for (const connection of server.connections) connection._socket.destroy()
    },
    [Symbol.asyncDispose]: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const connection of server.connections) connection._socket.destroy()
      await closed
    },
  }
}

function serverOptions(options: SmtpSinkOptions): SMTPServerOptions {
  return {
    name: "sink.example",
    secure: options.implicit === true,
    ...(options.tls ? { key: options.tls.key, cert: options.tls.certificate } : {}),
    disabledCommands: [...(options.tls ? [] : ["STARTTLS"]), ...(options.password === undefined ? ["AUTH"] : [])],
    authOptional: true,
    allowInsecureAuth: true,
    disableReverseLookup: true,
    hideDSN: false,
    closeTimeout: 100,
    logger: false,
    onAuth: (auth, _session, callback) =>
      callback(null, auth.password === options.password ? { user: auth.username } : {}),
    ...options.server,
  }
}

function sunk(session: SMTPServerSession, octets: Buffer): SunkMessage {
  const { mailFrom, rcptTo, smtpUtf8 } = session.envelope
  return {
    sender: mailFrom ? mailFrom.address : "",
    recipients: rcptTo.map((one) => one.address),
    octets,
    smtpUtf8: smtpUtf8 === true,
    mailParameters: mailFrom === false ? {} : mailFrom.args || {},
    rcptParameters: rcptTo.map((one) => one.args || {}),
    tls: session.secure,
    username: typeof session.user === "string" ? session.user : null,
    helo: session.hostNameAppearsAs,
  }
}

/** `"450 4.2.1 text"` as smtp-server wants to be told; its status codes are off, so the text has ours. */
function refusal(reply: string | null): Error | null {
  if (reply === null) return null
  return Object.assign(new Error(reply.slice(4)), { responseCode: Number(reply.slice(0, 3)) })
}
