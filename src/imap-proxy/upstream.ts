import { connect as connectTcp, type Socket } from "node:net"
import type { Duplex } from "node:stream"
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls"
import { GatewayError } from "../errors.ts"
import type { Log } from "../log/log.ts"
import { OctetSource } from "./octets.ts"
import type { Upstream } from "./ports.ts"
import { ResponseReader } from "./wire/response-reader.ts"
import { latin1 } from "./wire/tokens.ts"

/** Where an IMAP server is. `plain` is for loopback only (contract.md); the configuration sees to it. */
export type UpstreamEndpoint =
  | {
      readonly kind: "tcp"
      readonly host: string
      readonly port: number
      readonly security: "plain" | "starttls" | "tls"
    }
  | { readonly kind: "unix"; readonly path: string }

/** How to reach an IMAP server and log in there. */
export interface UpstreamOptions {
  readonly endpoint: UpstreamEndpoint
  /** Dovecot's master user: logs in as `account*user` with the master's password. */
  readonly master: { readonly user: string; readonly password: string }
  readonly log: Log
  /** PEM of the authority to trust, where it is not a public one. */
  readonly authority?: string
  /** For connecting, TLS and login together; 30 s unless stated. */
  readonly timeoutMs?: number
}

/** An IMAP server outside this process. */
export function externalUpstream(options: UpstreamOptions): Upstream {
  return {
    async connect(account, _client, signal) {
      const within = AbortSignal.any([signal, AbortSignal.timeout(options.timeoutMs ?? CONNECT_MS)])
      try {
        await using dialogue = await open(options, within)
        return dialogue.release(await logIn(dialogue, options, account))
      } catch (error) {
        if (error instanceof GatewayError) throw error
        throw new GatewayError("UPSTREAM_UNAVAILABLE", "imap upstream: connection failed", { cause: error })
      }
    },
  }
}

/** Connects, reads the greeting, and is under TLS where it must be. */
async function open({ endpoint, authority }: UpstreamOptions, signal: AbortSignal): Promise<Dialogue> {
  if (endpoint.kind === "unix") return greeted(new Dialogue(connectTcp({ path: endpoint.path }), signal))
  const { host, port, security } = endpoint
  const tls: ConnectionOptions = { ALPNProtocols: ["imap"], servername: servername(host), host }
  if (authority !== undefined) tls.ca = authority
  const socket = security === "tls" ? connectTls({ ...tls, port }) : connectTcp({ host, port })
  const dialogue = await greeted(new Dialogue(socket, signal))
  return security === "starttls" ? dialogue.startTls(tls) : dialogue
}

/** PREAUTH is refused too: it would be somebody else's mailbox, and no TLS could follow (RFC 9051 §7.1.4). */
async function greeted(dialogue: Dialogue): Promise<Dialogue> {
  const greeting = await dialogue.response("*").catch((error: unknown) => {
    dialogue.destroy()
    throw error
  })
  if (/^\* OK\b/i.test(greeting)) return dialogue
  dialogue.destroy()
  throw new GatewayError("UPSTREAM_UNAVAILABLE", "imap upstream: greeting is not OK")
}

function servername(host: string): string {
  return /^[\d.:]+$/.test(host) ? "" : host
}

/** @returns the capabilities after login */
async function logIn(dialogue: Dialogue, { master, log }: UpstreamOptions, account: string): Promise<string> {
  const username = `${account}*${master.user}`
  const before = await dialogue.capabilities()
  const plain = Buffer.from(`\0${username}\0${master.password}`).toString("base64")
  const status = before.includes("AUTH=PLAIN")
    ? await dialogue.authenticatePlain(plain, before.includes("SASL-IR"))
    : await dialogue.command(`LOGIN ${quoted(username)} ${quoted(master.password)}`)
  if (!/^\S+ OK\b/i.test(status)) {
    const code = /\[(UNAVAILABLE|LIMIT|INUSE)\b/i.test(status) ? "UPSTREAM_UNAVAILABLE" : "UPSTREAM_REFUSED"
    log.error("imap.upstream.refused", { account, code })
    throw new GatewayError(code, "imap upstream: login refused")
  }
  const told = /^\S+ OK \[CAPABILITY ([^\]]*)\]/i.exec(status)?.[1]
  return told ?? (await dialogue.capabilities()).join(" ")
}

/** @throws UPSTREAM_REFUSED for what no quoted string can hold (RFC 9051 §9) */
function quoted(text: string): string {
  if (/[\r\n\0]/.test(text))
    throw new GatewayError("UPSTREAM_REFUSED", "imap upstream: control characters in credentials")
  return `"${Buffer.from(text).toString("latin1").replaceAll(/["\\]/g, "\\$&")}"`
}

/** The commands before login, one at a time. */
class Dialogue implements AsyncDisposable {
  readonly #socket: Socket | TLSSocket
  readonly #signal: AbortSignal
  readonly #source: OctetSource
  readonly #reader = new ResponseReader(MAX_LINE_OCTETS)
  readonly #abort = (): void => this.destroy()
  #failure: unknown
  #commands = 0
  #released = false
  #untagged: string[] = []

  constructor(socket: Socket | TLSSocket, signal: AbortSignal) {
    this.#socket = socket
    this.#signal = signal
    this.#source = new OctetSource(socket)
    socket.setNoDelay(true)
    socket.setKeepAlive(true, KEEP_ALIVE_MS)
    socket.on("error", (error) => {
      this.#failure = error
    })
    signal.addEventListener("abort", this.#abort, { once: true })
    if (signal.aborted) this.destroy()
  }

  destroy(): void {
    this.#signal.removeEventListener("abort", this.#abort)
    this.#socket.destroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#released) this.destroy()
  }

  /** Sends a command and reads to its tagged response. */
  async command(text: string): Promise<string> {
    const tag = `p${++this.#commands}`
    this.#socket.write(Buffer.from(`${tag} ${text}\r\n`, "latin1"))
    return this.response(tag)
  }

  // RFC 9051 §6.2.2; without SASL-IR (RFC 4959) the response waits for `+`
  async authenticatePlain(response: string, initial: boolean): Promise<string> {
    if (initial) return this.command(`AUTHENTICATE PLAIN ${response}`)
    const tag = `p${++this.#commands}`
    this.#socket.write(`${tag} AUTHENTICATE PLAIN\r\n`)
    const answer = await this.response(tag, true)
    if (!answer.startsWith("+")) return answer
    this.#socket.write(`${response}\r\n`)
    return this.response(tag)
  }

  async capabilities(): Promise<string[]> {
    await this.command("CAPABILITY")
    const words = this.#untagged.findLast((line) => /^\* CAPABILITY /i.test(line)) ?? ""
    return words
      .toUpperCase()
      .split(" ")
      .slice(2)
      .filter((word) => word !== "")
  }

  /** RFC 9051 §6.2.1: what came before TLS is forgotten; octets behind the OK are an attack. */
  async startTls(options: ConnectionOptions): Promise<Dialogue> {
    const status = await this.command("STARTTLS")
    if (!/^\S+ OK\b/i.test(status)) throw new GatewayError("UPSTREAM_UNAVAILABLE", "imap upstream: STARTTLS refused")
    if (this.#reader.bufferedOctets > 0 || this.#socket.readableLength > 0) {
      throw new GatewayError("PROTOCOL", "imap upstream: octets behind STARTTLS")
    }
    this.#source.detach()
    this.#signal.removeEventListener("abort", this.#abort)
    this.#released = true
    return new Dialogue(connectTls({ ...options, socket: this.#socket }), this.#signal)
  }

  /** The line that starts with `tag`, or a continuation when one is wanted. Untagged lines before it are kept. */
  async response(tag: string, continuation = false): Promise<string> {
    this.#untagged = []
    for (;;) {
      const line = await this.#line()
      if (line.startsWith(`${tag} `) || (continuation && line.startsWith("+"))) return line
      if (/^\* BYE\b/i.test(line)) throw new GatewayError("UPSTREAM_UNAVAILABLE", "imap upstream: BYE")
      if (this.#untagged.push(line) > MAX_UNTAGGED) throw new GatewayError("PROTOCOL", "imap upstream: too many lines")
    }
  }

  /** Hands the connection on as a stream that begins with a PREAUTH greeting, as the embedded store's does. */
  release(capabilities: string): Duplex {
    if (this.#reader.bufferedOctets > 0) throw new GatewayError("PROTOCOL", "imap upstream: octets behind the login")
    this.#source.detach()
    this.#signal.removeEventListener("abort", this.#abort)
    this.#released = true
    this.#socket.unshift(Buffer.from(`* PREAUTH [CAPABILITY ${capabilities}] logged in\r\n`))
    return this.#socket
  }

  async #line(): Promise<string> {
    let line = ""
    for (;;) {
      const event = this.#reader.next()
      if (event?.kind === "text") line += latin1(event.octets)
      else if (event?.kind === "end") return line
      else if (event !== null) throw new GatewayError("PROTOCOL", "imap upstream: literal before login")
      else {
        const octets = await this.#source.read()
        if (octets === null) {
          throw new GatewayError("UPSTREAM_UNAVAILABLE", "imap upstream: connection failed", { cause: this.#failure })
        }
        this.#reader.push(octets)
      }
    }
  }
}

const CONNECT_MS = 30_000
const MAX_LINE_OCTETS = 16_384
/** Before login a server says a line or two. */
const MAX_UNTAGGED = 100
const KEEP_ALIVE_MS = 100_000
