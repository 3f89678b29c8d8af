import { connect as connectTcp, isIP, type Socket } from "node:net"
import type { Duplex } from "node:stream"
import { type ConnectionOptions, connect as connectTls, createSecureContext, getCACertificates } from "node:tls"
import { isDeepStrictEqual } from "node:util"
import { GatewayError } from "../errors.ts"
import type { ClientAddress, Upstream } from "./ports.ts"
import { idOf, proxyHeader } from "./upstream/client-address.ts"
import { ConnectionLimits, type UpstreamLimits } from "./upstream/connection-limits.ts"
import { Dialogue } from "./upstream/dialogue.ts"
import { type KeepLimits, type Kept, KeptConnections, type Login } from "./upstream/kept-connections.ts"
import { lendingSocket } from "./upstream/lending-socket.ts"
import { exchangeFor, type Identity, reveals, type ServerName } from "./upstream/sasl.ts"
import { within } from "./upstream/within.ts"

/** Where an IMAP server is. `plain` is for loopback only (contract.md); the configuration sees to it. */
export type UpstreamEndpoint =
  | {
      readonly kind: "tcp"
      readonly host: string
      readonly port: number
      readonly security: "plain" | "starttls" | "tls"
    }
  | { readonly kind: "unix"; readonly path: string }

/** As whom to log in for an account. Both throw UPSTREAM_REFUSED, UPSTREAM_CONSENT and UPSTREAM_UNAVAILABLE. */
export interface UpstreamLogins {
  identity(account: string, signal: AbortSignal): Promise<Identity>
  /** What to try when the server refuses an identity; null: nothing. */
  another(account: string, refused: Identity, signal: AbortSignal): Promise<Identity | null>
}

/** How to reach an IMAP server and log in there. */
export interface UpstreamOptions {
  readonly endpoint: UpstreamEndpoint
  readonly logins: UpstreamLogins
  readonly limits: UpstreamLimits
  /** How the server learns a client's address: not at all, by ID before login (Dovecot), or by the PROXY protocol. */
  readonly clientAddress: "none" | "id" | "proxy"
  /** PEM of the only authority to trust; null: those of this system. */
  readonly authority: string | null
  /** Connections that clients have logged out of, for the next login; null: none is kept. */
  readonly keep: KeepLimits | null
  /** For connecting, TLS and login together; 30 s unless stated. */
  readonly timeoutMs?: number
}

/** What connections are made with. */
interface Means {
  readonly tls: ConnectionOptions
  /** All that are not under TLS are read into this, one after the other. */
  readonly buffer: Uint8Array
}

/** An IMAP server outside this process. */
export function externalUpstream(options: UpstreamOptions): Upstream {
  const kept = options.keep === null ? null : new KeptConnections(options.keep)
  const limits = new ConnectionLimits(options.limits, (account) => kept?.giveUp(account) ?? false)
  const means = { tls: tlsOptions(options), buffer: Buffer.allocUnsafeSlow(READ_OCTETS) }
  const logins = new WeakMap<Duplex, Login>()
  /** One string for all who are told the same: each connection has it for days. */
  let told = ""
  const connect = async (account: string, client: ClientAddress | null, signal: AbortSignal): Promise<Duplex> => {
    const resumed = client === null || kept === null ? null : await resume(kept, options, account, client, signal)
    if (resumed !== null) return resumed
    const leave = await limits.connection(account, signal)
    try {
      const attempted = await limits.attempt(signal)
      const loggedIn = await logIn(options, means, account, client, signal).finally(attempted)
      loggedIn.stream.on("close", leave)
      if (loggedIn.capabilities !== told) told = loggedIn.capabilities
      const address = toldAddress(options, client)
      if (client !== null) logins.set(loggedIn.stream, { ...loggedIn, capabilities: told, account, address, leave })
      return loggedIn.stream
    } catch (error) {
      leave()
      throw error
    }
  }
  return {
    connect: (account, client, signal) =>
      within(signal, options.timeoutMs ?? CONNECT_MS, async (patience) => {
        try {
          return await connect(account, client, patience)
        } catch (error) {
          throw unavailable(error)
        }
      }),
    ...(kept === null ? {} : { keep: (stream) => keepOrEnd(kept, logins.get(stream), stream) }),
    storeOf: (stream) => logins.get(stream)?.identity.user ?? "",
  }
}

function keepOrEnd(kept: KeptConnections, login: Login | undefined, stream: Duplex): void {
  if (login === undefined) stream.destroy()
  else kept.keep(login)
}

/** What the server was told of a client, without its port, which differs for each connection. */
function toldAddress({ clientAddress }: UpstreamOptions, client: ClientAddress | null): string | null {
  return clientAddress === "none" || client === null ? null : client.address
}

/** A kept connection that is logged in still, as whom one would log in now; null: there is none. */
async function resume(
  kept: KeptConnections,
  options: UpstreamOptions,
  account: string,
  client: ClientAddress,
  signal: AbortSignal,
): Promise<Duplex | null> {
  const take = (): Kept | null => kept.take(account, toldAddress(options, client))
  for (let found = take(); found !== null; found = take()) {
    const stream = await stillLoggedIn(found, options.logins, signal)
    if (stream !== null) return stream
    found.login.leave()
  }
  return null
}

/** Ends what it does not give back. */
async function stillLoggedIn(
  { login, sinceMs }: Kept,
  logins: UpstreamLogins,
  signal: AbortSignal,
): Promise<Duplex | null> {
  await using dialogue = new Dialogue(login.stream, signal)
  const identity = await logins.identity(login.account, signal)
  if (!isDeepStrictEqual(identity, login.identity)) return null
  if (performance.now() - sinceMs > TRUSTED_MS && !(await answers(dialogue))) return null
  return dialogue.release(login.capabilities)
}

async function answers(dialogue: Dialogue): Promise<boolean> {
  const timer = setTimeout(() => dialogue.destroy(), PROBE_MS)
  try {
    return /^\S+ OK\b/i.test(await dialogue.command("NOOP"))
  } catch (error) {
    if (error instanceof GatewayError) return false
    throw error
  } finally {
    clearTimeout(timer)
  }
}

/** What is not ours comes from the network. */
function unavailable(error: unknown): GatewayError {
  if (error instanceof GatewayError) return error
  const why = error instanceof Error ? `: ${error.message}` : ""
  return new GatewayError("UPSTREAM_UNAVAILABLE", `imap upstream: connection failed${why}`, { cause: error })
}

type LoggedIn = Pick<Login, "stream" | "identity" | "capabilities">

/** Logs in; a second time where the server refuses an access token, which it may have ended before its time. */
async function logIn(
  options: UpstreamOptions,
  means: Means,
  account: string,
  client: ClientAddress | null,
  signal: AbortSignal,
): Promise<LoggedIn> {
  const { logins } = options
  const first = await logins.identity(account, signal)
  const attempt = await logInAs(first, options, means, client, signal)
  if (typeof attempt !== "string") return attempt
  const second = await logins.another(account, first, signal)
  const last = second === null ? attempt : await logInAs(second, options, means, client, signal)
  if (typeof last !== "string") return last
  throw new GatewayError("UPSTREAM_REFUSED", `imap upstream: login refused: ${last}`)
}

/** @returns the server's words when it refuses */
async function logInAs(
  identity: Identity,
  options: UpstreamOptions,
  means: Means,
  client: ClientAddress | null,
  signal: AbortSignal,
): Promise<LoggedIn | string> {
  await using dialogue = await open(options, means, client, signal)
  const status = await authenticate(dialogue, options, identity, client)
  if (/^\S+ OK\b/i.test(status)) {
    const capabilities = await capabilitiesOf(dialogue, status)
    return { stream: dialogue.release(capabilities), identity, capabilities }
  }
  if (BUSY.test(status)) throw new GatewayError("UPSTREAM_UNAVAILABLE", `imap upstream: ${said(status, identity)}`)
  return said(status, identity)
}

/** Connects, reads the greeting, and is under TLS where it must be. */
async function open(
  { endpoint, clientAddress }: UpstreamOptions,
  { tls, buffer }: Means,
  client: ClientAddress | null,
  signal: AbortSignal,
): Promise<Dialogue> {
  const socket = await connected(endpoint, buffer, signal)
  if (clientAddress === "proxy") socket.write(proxyHeader(client))
  const security = securityOf(endpoint)
  const dialogue = new Dialogue(security === "tls" ? connectTls({ ...tls, socket }) : socket, signal)
  try {
    await dialogue.greeting()
    return security === "starttls" ? await dialogue.startTls(tls) : dialogue
  } catch (error) {
    dialogue.destroy()
    throw error
  }
}

async function connected(endpoint: UpstreamEndpoint, buffer: Uint8Array, signal: AbortSignal): Promise<Socket> {
  const address = endpoint.kind === "unix" ? { path: endpoint.path } : endpoint
  // TLS reads into memory of its own.
  const socket = securityOf(endpoint) === "plain" ? lendingSocket(address, buffer) : connectTcp(address)
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const abort = (): void => {
    socket.destroy()
    reject(signal.reason)
  }
  // Under TLS nobody else listens to its errors, and what ends it ends the TLS socket too.
  socket.once("connect", resolve).on("error", reject)
  signal.addEventListener("abort", abort)
  if (signal.aborted) abort()
  await promise.finally(() => signal.removeEventListener("abort", abort))
  return socket
}

/** @returns the tagged response. @throws GatewayError UPSTREAM_REFUSED when the server has no way that is ours */
async function authenticate(
  dialogue: Dialogue,
  { endpoint, clientAddress }: UpstreamOptions,
  identity: Identity,
  client: ClientAddress | null,
): Promise<string> {
  const capabilities = await dialogue.capabilities()
  if (clientAddress === "id" && client !== null && capabilities.includes("ID")) await dialogue.command(idOf(client))
  const server: ServerName | null = endpoint.kind === "tcp" ? endpoint : null
  const exchange = exchangeFor(identity, capabilities, server)
  if (exchange !== null) return dialogue.authenticate(exchange, capabilities.includes("SASL-IR"))
  if (identity.kind === "bearer")
    throw new GatewayError("UPSTREAM_REFUSED", "imap upstream: has neither XOAUTH2 nor OAUTHBEARER")
  if (identity.authorizeAs !== "" || capabilities.includes("LOGINDISABLED"))
    throw new GatewayError("UPSTREAM_REFUSED", "imap upstream: does not offer AUTH=PLAIN")
  return dialogue.login(identity.user, identity.password)
}

/** Told with the OK, or before it, or asked for: they may be more than before login (RFC 9051 §6.2.2). */
async function capabilitiesOf(dialogue: Dialogue, status: string): Promise<string> {
  const told = /^\S+ OK \[CAPABILITY ([^\]]*)\]/i.exec(status)?.[1] ?? dialogue.toldCapabilities()
  return told ?? dialogue.askCapabilities()
}

/** The server's words for the administrator, unless it repeats what it was given. */
function said(status: string, identity: Identity): string {
  const text = status.slice(status.indexOf(" ") + 1)
  return reveals(text, identity) ? "(words left out)" : text.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, MAX_SAID)
}

function securityOf(endpoint: UpstreamEndpoint): "plain" | "starttls" | "tls" {
  return endpoint.kind === "unix" ? "plain" : endpoint.security
}

function tlsOptions({ endpoint, authority }: UpstreamOptions): ConnectionOptions {
  if (endpoint.kind === "unix" || endpoint.security === "plain") return {}
  const { host } = endpoint
  // One context for all connections: reading a system's authorities takes tens of milliseconds.
  const secureContext = createSecureContext({ ca: authority ?? systemAuthorities(), minVersion: "TLSv1.2" })
  return { secureContext, ALPNProtocols: ["imap"], servername: isIP(host) ? "" : host, host }
}

/** Those that Node brings, and those that the administrator of this machine has added; undefined: Node's alone. */
function systemAuthorities(): string[] | undefined {
  const known = new Set(getCACertificates("default"))
  const added = getCACertificates("system").filter((certificate) => !known.has(certificate))
  return added.length === 0 ? undefined : [...known, ...added]
}

// RFC 5530 §3: it may work later, and the password has nothing to do with it.
const BUSY = /^\S+ (?:NO|BAD) \[(?:UNAVAILABLE|LIMIT|INUSE|SERVERBUG)\b/i
const CONNECT_MS = 30_000
/** A connection that was in use so lately is not asked whether it still is one. */
const TRUSTED_MS = 1_000
/** For a kept connection to answer; a new one is made then. */
const PROBE_MS = 3_000
/** What a loopback connection holds while we do something else. Measured with TLS to the client: a fifth less work than with 64 KiB. */
const READ_OCTETS = 262_144
const MAX_SAID = 200
