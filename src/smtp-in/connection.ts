import type { Socket } from "node:net"
import { GatewayError } from "../errors.ts"
import { SmtpParser } from "./parser.ts"
import { parsePathCommand, type SmtpPath } from "./path.ts"
import type { Visitor } from "./ports.ts"
import * as replies from "./replies.ts"
import { SMTPConnection, type SMTPServer } from "./smtp-server.ts"

export interface ConnectionRules {
  readonly kind: "mx" | "submission" | "submissions"
  /** A whole command must arrive within this time, however slowly its octets drip. */
  readonly commandMs: number
  /** A whole message must arrive within this time. */
  readonly dataMs: number
  /** Who talks before the greeting is no mail server; this long we wait for it. */
  readonly greetingDelayMs: number
  /** In place of the greeting, or null. */
  readonly refusal: replies.Reply | null
  /** Who it is with; null: nobody counts. */
  readonly visitor: Visitor | null
}

/** RFC 5321 §4.5.3.1.4 asks for 512 octets; DSN, SIZE and internationalized parameters add up to less than this. */
export const MAX_COMMAND_OCTETS = 2048
/** Commands that are none here, before the connection is closed. */
const MAX_STRAY_COMMANDS = 10
/** How long a peer that does not read its last reply keeps the socket. */
const LINGER_MS = 250

/**
 * One SMTP session: smtp-server's, with our reading of paths and our replies. It is a subclass because smtp-server has no other
 * door to these: its own parser splits quoted local parts at blanks, it picks enhanced status codes by reply code, and it waits
 * 100 ms before each greeting.
 */
export class GatewayConnection extends SMTPConnection {
  authenticationFailures = 0
  readonly visitor: Visitor | null
  readonly #rules: ConnectionRules
  readonly #closed = new AbortController()
  readonly #deadline: NodeJS.Timeout
  #dataSince = 0

  constructor(server: SMTPServer, socket: Socket, options: object | null, rules: ConnectionRules) {
    super(server, socket, options)
    this.visitor = rules.visitor
    this.#rules = rules
    this.#deadline = setInterval(() => this.#checkDeadline(), rules.commandMs)
    this.#deadline.unref()
    this.closed.addEventListener("abort", () => clearInterval(this.#deadline))
  }

  /** Aborts when the connection is gone. */
  get closed(): AbortSignal {
    return this.#closed.signal
  }

  /** True while nothing of a message or a command is under way. */
  get idle(): boolean {
    return !this._dataStream && !this._handlerPending
  }

  /** Ends the session at once with a 421; a message under way is not accepted. */
  terminate(reply: replies.Reply): void {
    const stream = this._dataStream
    if (stream && !stream.readableEnded) {
      const cause = new GatewayError("PROTOCOL", `smtp: session ended: ${reply.text}`)
      stream.destroy(stream.listenerCount("error") > 0 ? cause : undefined)
    }
    this.say(reply)
    this.close()
    setTimeout(() => this._socket.destroy(), LINGER_MS).unref()
  }

  /** Sends a reply with its own enhanced status code. */
  say(reply: replies.Reply): void {
    this.send(reply.code, `${reply.status} ${reply.text}`)
  }

  override init(): void {
    const { connections, options } = this._server
    this._setListeners(() => {
      const { refusal } = this.#rules
      if (refusal !== null) this.say(refusal)
      else if (options.maxClients && connections.size > options.maxClients)
        this.send(421, `${this.name} too many connections, try again later`, false)
      else if (this.#rules.greetingDelayMs === 0) this.connectionReady()
      else setTimeout(() => this.connectionReady(), this.#rules.greetingDelayMs).unref()
    })
  }

  override _createParser(): SmtpParser {
    const parser = new SmtpParser({ maxCommandLength: this._server.options.maxCommandLength })
    parser.oncommand = (command, callback) => this._onCommand(command, callback)
    parser.on("error", (error) => this.send(421, `4.5.2 ${error.message}`))
    return parser
  }

  override send(code: number, text?: string | string[] | null, context?: string | false): void {
    if (Array.isArray(text)) {
      // RFC 4954 §4: mechanisms that show the password are not offered before TLS.
      super.send(code, this.secure ? text : text.filter((line) => !line.startsWith("AUTH ")), context)
    } else {
      super.send(code, text, typeof text === "string" && STATUS_CODE.test(text) ? false : context)
    }
  }

  override _parseAddressCommand(verb: string, line: Buffer | string): SmtpPath | false {
    const octets = typeof line === "string" ? Buffer.from(line) : line
    return parsePathCommand(verb === "mail from" ? "MAIL FROM" : "RCPT TO", octets) ?? false
  }

  override _onCommand(command: Buffer, callback?: () => void): void {
    this.#deadline.refresh()
    const refusal = this.#refusal(command)
    if (!refusal) {
      super._onCommand(command, callback)
      return
    }
    this._unrecognizedCommands++
    this.say(this._unrecognizedCommands < MAX_STRAY_COMMANDS ? refusal : { ...refusal, code: 421, status: "4.7.0" })
    if (callback) setImmediate(() => this._whenWritable(callback))
  }

  override handler_DATA(command: Buffer, callback: () => void): void {
    this.#dataSince = performance.now()
    super.handler_DATA(command, callback)
  }

  override _onClose(): void {
    super._onClose()
    this.#closed.abort()
  }

  /** Commands that we answer otherwise than smtp-server does, or null. */
  #refusal(command: Buffer): replies.Reply | null {
    // Lines of an AUTH exchange are no commands; those before the greeting and during a handshake have their own rules.
    if (this._nextHandler || this._upgrading || !this._ready) return null
    const verb = command.toString("latin1").split(" ", 1)[0]?.toUpperCase() ?? ""
    if (verb !== "AUTH" && command.length > MAX_COMMAND_OCTETS) return replies.LINE_TOO_LONG
    if (this.#rules.kind === "mx") return verb === "AUTH" || ABSENT.has(verb) ? replies.NOT_IMPLEMENTED : null
    if (ABSENT.has(verb)) return replies.NOT_IMPLEMENTED
    // RFC 3207 §4, RFC 4954 §6
    return !this.secure && NEEDS_TLS.has(verb) ? replies.TLS_REQUIRED : null
  }

  // The idle timeout starts anew with each octet; a client that drips them would stay for ever.
  #checkDeadline(): void {
    if (this._closing || this._upgrading) return
    const receiving = this._dataStream && !this._dataStream.writableEnded
    if (receiving && performance.now() - this.#dataSince < this.#rules.dataMs) return
    if (!receiving && this._handlerPending) return
    if (!receiving && this._dataStream) return
    this.terminate(replies.TOO_SLOW)
  }
}

const STATUS_CODE = /^[245]\.\d{1,3}\.\d{1,3} /
const NEEDS_TLS: ReadonlySet<string> = new Set(["AUTH", "MAIL", "RCPT", "DATA"])
/** Known verbs that are not served: RFC 3030 (CHUNKING is not offered), RFC 1985, RFC 2645, and smtp-server's jokes. */
const ABSENT: ReadonlySet<string> = new Set(
  "BDAT EXPN ETRN ATRN TURN SEND SOML SAML XCLIENT XFORWARD WIZ SHELL KILL".split(" "),
)
