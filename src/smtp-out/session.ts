import { connect, isIP } from "node:net"
import {
  checkServerIdentity,
  type PeerCertificate,
  TLSSocket,
  type ConnectionOptions as TlsConnectionOptions,
} from "node:tls"
import type SMTPConnection from "nodemailer/lib/smtp-connection"
import { GatewayError } from "../errors.ts"
import type { HostHop } from "./hop.ts"

/** Where and how to connect. */
export interface SessionOptions {
  readonly hop: HostHop
  /** The name that the certificate should have, and SNI; differs from `hop.host` where that is an address. */
  readonly servername: string
  /** EHLO argument. */
  readonly hostname: string
  readonly timeouts: SessionTimeouts
  /** PEM of the certificates that a DANE-TA record is for: the peer's chain must end in one of them. */
  readonly anchors?: readonly string[]
}

export interface SessionTimeouts {
  readonly connectMs: number
  readonly greetingMs: number
  /** Silence within the session; RFC 5321 §4.5.3.2.6 asks for 10 minutes after the final dot. */
  readonly silenceMs: number
}

/** nodemailer's session, with the two things it has no door to: what EHLO announced, and SMTPUTF8 for ASCII addresses. */
export interface Session {
  readonly connection: SMTPConnection
  /** Extensions of the last EHLO, upper case. */
  extensions(): ReadonlySet<string>
  /** null: the session is in clear. */
  socket(): TLSSocket | null
  /** The next MAIL command declares SMTPUTF8 (RFC 6531 §3.4), whatever its addresses. */
  declareUtf8(declare: boolean): void
}

/** A session that is not connected yet. */
export async function makeSession(options: SessionOptions, tls: boolean): Promise<Session> {
  // Loaded by the first message for somewhere else: most servers' threads that store mail never need it.
  const { default: Connection } = await import("nodemailer/lib/smtp-connection")
  const connection = new Connection({ ...connectionOptions(options), ...(tls ? {} : { ignoreTLS: true }) })
  const sendCommand: unknown = Reflect.get(connection, "_sendCommand")
  if (typeof sendCommand !== "function") throw new GatewayError("PROTOCOL", "smtp-out: nodemailer has changed inside")
  let utf8 = false
  Reflect.set(connection, "_sendCommand", (command: string, logged?: string) => {
    const declared = utf8 && command.startsWith("MAIL FROM:") && !/ SMTPUTF8( |$)/.test(command)
    Reflect.apply(sendCommand, connection, [declared ? `${command} SMTPUTF8` : command, logged])
  })
  return {
    connection,
    extensions: () => extensionsOf(connection),
    socket: () => {
      const socket: unknown = Reflect.get(connection, "_socket")
      return socket instanceof TLSSocket ? socket : null
    },
    declareUtf8: (declare) => {
      utf8 = declare
    },
  }
}

function extensionsOf(connection: SMTPConnection): ReadonlySet<string> {
  const supported: unknown = Reflect.get(connection, "_supportedExtensions")
  if (!Array.isArray(supported)) throw new GatewayError("PROTOCOL", "smtp-out: nodemailer has changed inside")
  return new Set(supported.filter((name) => typeof name === "string"))
}

function connectionOptions({ hop, servername, hostname, timeouts, anchors }: SessionOptions): SMTPConnection.Options {
  const opportunistic = hop.tls === "opportunistic"
  return {
    host: hop.host,
    port: hop.port,
    ...(isIP(servername) ? {} : { servername }),
    name: hostname,
    secure: hop.tls === "implicit",
    requireTLS: !opportunistic && hop.tls !== "implicit",
    opportunisticTLS: opportunistic,
    tls: {
      minVersion: opportunistic ? "TLSv1" : "TLSv1.2",
      ...(hop.authority === undefined ? {} : { ca: hop.authority }),
      ...verification(hop.tls, anchors ?? null),
    },
    connectionTimeout: timeouts.connectMs,
    greetingTimeout: timeouts.greetingMs,
    socketTimeout: timeouts.silenceMs,
    socketCloseTimeout: 1_000,
    logger: false,
    ...(hop.protocol === "lmtp" ? { lmtp: true } : {}),
    ...(hop.socketPath === undefined ? {} : { connection: connect(hop.socketPath) }),
  }
}

function verification(demand: HostHop["tls"], anchors: readonly string[] | null): TlsConnectionOptions {
  switch (demand) {
    case "opportunistic":
    case "encrypted":
      // RFC 7435: encryption to anybody is better than none, and none is what the alternative is.
      return { rejectUnauthorized: false }
    case "required":
    case "implicit":
      return { rejectUnauthorized: true }
    default:
      // DANE-EE is looked at behind the handshake; names and dates of the certificate play no part in it (RFC 7671 §5.1).
      if (anchors === null) return { rejectUnauthorized: false }
      return {
        rejectUnauthorized: true,
        ca: [...anchors],
        // RFC 7671 §5.2: a trust anchor need not be a root.
        allowPartialTrustChain: true,
        checkServerIdentity: (_host, certificate) => identityError(demand.names, certificate),
      }
  }
}

/** RFC 7672 §3.2.2: one of the reference identifiers is enough. */
function identityError(names: readonly string[], certificate: PeerCertificate): Error | undefined {
  const errors = names.map((name) => checkServerIdentity(name, certificate))
  return errors.includes(undefined) ? undefined : errors[0]
}
