import type { Socket } from "node:net"
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls"
import { GatewayError } from "../../errors.ts"
import { keepAlive } from "../keep-alive.ts"
import { OctetSource } from "../octets.ts"
import { ResponseReader } from "../wire/response-reader.ts"
import { latin1 } from "../wire/tokens.ts"
import type { SaslExchange } from "./sasl.ts"

/** The commands before login, one at a time. */
export class Dialogue implements AsyncDisposable {
  readonly #socket: Socket | TLSSocket
  readonly #signal: AbortSignal
  readonly #source: OctetSource
  readonly #reader = new ResponseReader(MAX_LINE_OCTETS)
  readonly #abort = (): void => this.destroy()
  readonly #failed = (error: unknown): void => {
    this.#failure = error
  }
  #failure: unknown
  #commands = 0
  #released = false
  #untagged: string[] = []
  #lastRead: Uint8Array = new Uint8Array(0)
  /** What the greeting said; TLS makes it void. */
  #announced: string | null = null

  constructor(socket: Socket | TLSSocket, signal: AbortSignal) {
    this.#socket = socket
    this.#signal = signal
    this.#source = new OctetSource(socket)
    socket.setNoDelay(true)
    keepAlive(socket)
    socket.off("error", ignore).on("error", this.#failed)
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

  /**
   * Reads the greeting. PREAUTH is refused too: it would be somebody else's mailbox, and no TLS could follow (RFC 9051 §7.1.4).
   * @throws GatewayError UPSTREAM_UNAVAILABLE
   */
  async greeting(): Promise<void> {
    const line = await this.response("*")
    if (!/^\* OK\b/i.test(line)) {
      const why = /^\* BYE\b/i.test(line) ? line.slice(2, 200) : "greeting is not OK"
      throw new GatewayError("UPSTREAM_UNAVAILABLE", `imap upstream: ${why}`)
    }
    this.#announced = /^\* OK \[CAPABILITY ([^\]]*)\]/i.exec(line)?.[1] ?? null
  }

  /** Sends a command and reads to its tagged response. */
  async command(text: string): Promise<string> {
    const tag = `p${++this.#commands}`
    this.#socket.write(Buffer.from(`${tag} ${text}\r\n`, "latin1"))
    return this.response(tag)
  }

  /**
   * One AUTHENTICATE (RFC 9051 §6.2.2), with an initial response where the server takes one (RFC 4959).
   * @returns the tagged response
   */
  async authenticate({ mechanism, response, toErrorChallenge }: SaslExchange, initial: boolean): Promise<string> {
    const tag = `p${++this.#commands}`
    const answers = [...(initial ? [] : [response]), toErrorChallenge]
    this.#socket.write(`${tag} AUTHENTICATE ${mechanism}${initial ? ` ${response}` : ""}\r\n`)
    for (;;) {
      const line = await this.response(tag, true)
      if (!line.startsWith("+")) return line
      const answer = answers.shift()
      if (answer === undefined) throw new GatewayError("PROTOCOL", "imap upstream: too many challenges")
      this.#socket.write(`${answer}\r\n`)
    }
  }

  /** LOGIN (RFC 9051 §6.2.3). */
  async login(user: string, password: string): Promise<string> {
    const tag = `p${++this.#commands}`
    let line = `${tag} LOGIN`
    for (const text of [user, password]) {
      const octets = Buffer.from(text).toString("latin1")
      if (isQuotable(octets)) line += ` "${octets.replaceAll(/["\\]/g, "\\$&")}"`
      else {
        this.#socket.write(`${line} {${octets.length}}\r\n`, "latin1")
        const answer = await this.response(tag, true)
        if (!answer.startsWith("+")) return answer
        line = octets
      }
    }
    this.#socket.write(`${line}\r\n`, "latin1")
    return this.response(tag)
  }

  /** As the greeting told them, or asked for; in upper case. */
  async capabilities(): Promise<string[]> {
    return words((this.#announced ?? (await this.askCapabilities())).toUpperCase())
  }

  /** As the server sends them now. */
  async askCapabilities(): Promise<string> {
    await this.command("CAPABILITY")
    return this.toldCapabilities() ?? ""
  }

  /** Those that came untagged since the last command was sent, as sent. */
  toldCapabilities(): string | null {
    const told = this.#untagged.findLast((line) => /^\* CAPABILITY /i.test(line))
    return told === undefined ? null : told.slice("* CAPABILITY ".length)
  }

  /** RFC 9051 §6.2.1: what came before TLS is forgotten; octets behind the OK are an attack. */
  async startTls(options: ConnectionOptions): Promise<Dialogue> {
    const status = await this.command("STARTTLS")
    if (!/^\S+ OK\b/i.test(status)) throw new GatewayError("UPSTREAM_UNAVAILABLE", "imap upstream: STARTTLS refused")
    if (this.#reader.bufferedOctets > 0 || this.#socket.readableLength > 0) {
      throw new GatewayError("PROTOCOL", "imap upstream: octets behind STARTTLS")
    }
    this.#letGo()
    return new Dialogue(connectTls({ ...options, socket: this.#socket }), this.#signal)
  }

  /** The line that starts with `tag`, or a continuation when one is wanted. Untagged lines before it are kept. */
  async response(tag: string, continuation = false): Promise<string> {
    this.#untagged = []
    for (;;) {
      const line = await this.#line()
      if (line.startsWith(`${tag} `) || (continuation && line.startsWith("+"))) return line
      if (/^\* BYE\b/i.test(line))
        throw new GatewayError("UPSTREAM_UNAVAILABLE", `imap upstream: ${line.slice(2, 200)}`)
      if (this.#untagged.push(line) > MAX_UNTAGGED) throw new GatewayError("PROTOCOL", "imap upstream: too many lines")
    }
  }

  /** Hands the connection on as a stream that begins with a PREAUTH greeting, as the embedded store's does. */
  release(capabilities: string): Socket {
    // A server may go on behind the login at once. Only whole lines were taken before, so the rest is the end of what came last.
    const rest = this.#lastRead.subarray(this.#lastRead.length - this.#reader.bufferedOctets)
    this.#letGo()
    // Whoever takes it listens for itself; of a connection that lasts for days, nothing of this is kept.
    this.#socket.off("error", this.#failed).on("error", ignore)
    this.#socket.unshift(Buffer.concat([Buffer.from(`* PREAUTH [CAPABILITY ${capabilities}] logged in\r\n`), rest]))
    return this.#socket
  }

  #letGo(): void {
    this.#source.detach()
    this.#signal.removeEventListener("abort", this.#abort)
    this.#released = true
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
        if (octets === null) throw this.#ended()
        this.#lastRead = octets
        this.#reader.push(octets)
      }
    }
  }

  #ended(): GatewayError {
    const cause = this.#signal.aborted ? this.#signal.reason : this.#failure
    const why = cause instanceof Error ? `: ${cause.message}` : ""
    return new GatewayError("UPSTREAM_UNAVAILABLE", `imap upstream: connection failed${why}`, { cause })
  }
}

function ignore(): void {
  // The stream's end says the rest.
}

/** A quoted string holds 7-bit text (RFC 3501 §9; not every server knows RFC 9051's UTF-8). */
function isQuotable(octets: string): boolean {
  return /^[\x01-\x09\x0b\x0c\x0e-\x7f]*$/.test(octets)
}

function words(line: string): string[] {
  return line.split(" ").filter((word) => word !== "")
}

const MAX_LINE_OCTETS = 16_384
/** Before login a server says a line or two. */
const MAX_UNTAGGED = 100
