import { GatewayError } from "../../errors.ts"
import { LineBuffer } from "./line-buffer.ts"
import { insideQuotes, latin1, type Segment, type Token, tokenize } from "./tokens.ts"

/** One client command; while a literal of it is being decided, what stood before that literal. */
export interface Command {
  readonly tag: string
  /** Upper case; `UID FETCH` and its like are one name. */
  readonly name: string
  readonly arguments: readonly Token[]
  /** Parentheses that the arguments leave open: not 0 only before a literal, as in `APPEND x UTF8 (~{n}`. */
  readonly open: number
  /** The command as it came, cut at its literals, so that it can be sent on with literals of another form. */
  readonly segments: readonly Segment[]
}

/** What the next octets of a client mean. */
export type CommandEvent =
  | { readonly kind: "command"; readonly command: Command }
  /** Nothing more is read until the owner calls collect, stream, discard or refuse. */
  | { readonly kind: "literal"; readonly literal: LiteralStart; readonly command: Command }
  /** Octets of a streamed literal; `last` comes exactly once, possibly with no octets. */
  | { readonly kind: "data"; readonly octets: Uint8Array; readonly last: boolean }
  /**
   * The text behind a streamed literal: up to the next literal, which is to be decided about, or (null) to the end of the command. What
   * stood before is forgotten, so that a command of many streamed literals takes no memory and its text is limited for each.
   */
  | { readonly kind: "tail"; readonly octets: Uint8Array; readonly literal: LiteralStart | null }
  /** The answer to expectLine: SASL response, DONE. Without line end. */
  | { readonly kind: "line"; readonly octets: Uint8Array }
  /** A line that is no command (answer BAD and go on). `tag` is null when it has none. */
  | { readonly kind: "bad"; readonly tag: string | null; readonly reason: string }

/** `{n}` waits for the owner's `+` before the client sends; `{n+}` does not. */
export interface LiteralStart {
  readonly size: number
  readonly synchronizing: boolean
  readonly binary: boolean
}

export interface CommandLimits {
  /** Text of one command, its literals not counted. */
  readonly lineOctets: number
  /** Literals of one command that are collected in memory, taken together. */
  readonly literalOctets: number
}

/** 64 KiB is Dovecot's imap_max_line_length: Thunderbird and Outlook send sets that long. Names and searches fit 64 KiB. */
export const COMMAND_LIMITS: CommandLimits = { lineOctets: 65536, literalOctets: 65536 }

type State = "text" | "decide" | "collect" | "stream" | "discard" | "tail" | "line"

/**
 * Reads the client-to-server direction (RFC 9051 §2.2.1): push octets, then call next until it gives null.
 * It never answers: `+` is the owner's to send, after which it says collect or stream.
 */
export class CommandReader {
  readonly #buffer = new LineBuffer()
  readonly #limits: CommandLimits
  #state: State = "text"
  #segments: Segment[] = []
  #textOctets = 0
  #collectedOctets = 0
  #literal: LiteralStart = { size: 0, synchronizing: false, binary: false }
  #left = 0
  /** A literal of this command was streamed. */
  #streamed = false
  #collected: Uint8Array[] = []

  constructor(limits: CommandLimits = COMMAND_LIMITS) {
    this.#limits = limits
  }

  push(octets: Uint8Array): void {
    if (octets.length > 0) this.#buffer.push(octets)
  }

  /** Octets received and not yet read: not 0 behind STARTTLS means injection. */
  get bufferedOctets(): number {
    return this.#buffer.length
  }

  /** True between commands: the last one is read to its end and nothing of a next one was read. */
  get idle(): boolean {
    return this.#state === "text" && this.#segments.length === 0
  }

  /**
   * The next event; null when more octets (or a decision about a literal) are needed.
   * @throws PROTOCOL when a line is too long: the connection cannot go on.
   */
  next(): CommandEvent | null {
    switch (this.#state) {
      case "text":
        return this.#readText()
      case "line":
        return this.#readLine()
      case "stream":
        return this.#readStream()
      case "tail":
        return this.#readTail()
      case "collect":
      case "discard":
        return this.#readSilently() ? this.next() : null
      case "decide":
        return null
    }
  }

  /** Whether collect would be within the limits. */
  get collectable(): boolean {
    return this.#collectedOctets + this.#literal.size <= this.#limits.literalOctets
  }

  /** The literal becomes a token of the command. @throws PROTOCOL when over the limit, and behind a streamed literal. */
  collect(): void {
    if (this.#streamed) throw new GatewayError("PROTOCOL", "imap: literal behind one that was streamed")
    if (!this.collectable)
      throw new GatewayError("PROTOCOL", `imap: literals over ${this.#limits.literalOctets} octets`)
    this.#collectedOctets += this.#literal.size
    this.#decide("collect")
  }

  /** The literal comes as data events, and the rest of the command as tails: there is no command event for it. */
  stream(): void {
    this.#decide("stream")
    this.#reset()
    this.#streamed = true
  }

  /** The literal is read and thrown away (a non-synchronizing one that was refused: its octets come anyway). */
  discard(): void {
    this.#decide("discard")
  }

  /** The command ends here: a synchronizing literal was answered NO or BAD and the client sends nothing more of it. */
  refuse(): void {
    this.#decide("text")
    this.#reset()
  }

  /** The next event is the following line as it stands, not a command. */
  expectLine(): void {
    if (!this.idle) throw new GatewayError("PROTOCOL", "imap: a line was expected inside a command")
    this.#state = "line"
  }

  #decide(state: State): void {
    if (this.#state !== "decide") throw new GatewayError("PROTOCOL", "imap: there is no literal to decide about")
    this.#state = state
    this.#left = this.#literal.size
    this.#collected = []
  }

  #readLine(): CommandEvent | null {
    const octets = this.#buffer.takeLine(this.#limits.lineOctets)
    if (octets === null) return null
    this.#state = "text"
    return { kind: "line", octets }
  }

  #readText(): CommandEvent | null {
    const line = this.#buffer.takeLine(this.#limits.lineOctets - this.#textOctets)
    if (line === null) return null
    this.#textOctets += line.length
    const marker = literalMarker(line)
    if (marker === null) {
      this.#segments.push({ kind: "text", octets: line })
      return this.#end()
    }
    this.#segments.push({ kind: "text", octets: line.subarray(0, line.length - marker.length) })
    this.#literal = marker.literal
    this.#state = "decide"
    const command = parseCommand([...this.#segments], true)
    // The octets of `{n+}` come whatever we think of the line; after a broken line nobody waits for `{n}`.
    if (command.kind === "command") return { kind: "literal", literal: marker.literal, command: command.command }
    if (marker.literal.synchronizing) {
      this.refuse()
      return command
    }
    this.discard()
    return this.next()
  }

  #readTail(): CommandEvent | null {
    const line = this.#buffer.takeLine(this.#limits.lineOctets)
    if (line === null) return null
    const marker = literalMarker(line)
    if (marker === null) {
      this.#reset()
      this.#state = "text"
      return { kind: "tail", octets: line, literal: null }
    }
    this.#literal = marker.literal
    this.#state = "decide"
    return { kind: "tail", octets: line.subarray(0, line.length - marker.length), literal: marker.literal }
  }

  #end(): CommandEvent {
    const event = parseCommand(this.#segments, false)
    this.#reset()
    return event
  }

  #reset(): void {
    this.#segments = []
    this.#textOctets = 0
    this.#collectedOctets = 0
    this.#streamed = false
  }

  #readStream(): CommandEvent | null {
    const octets = this.#left === 0 ? new Uint8Array(0) : this.#buffer.takeData(this.#left)
    if (octets === null) return null
    this.#left -= octets.length
    const last = this.#left === 0
    if (last) this.#endLiteral(null)
    return { kind: "data", octets, last }
  }

  /** True when the literal is complete. */
  #readSilently(): boolean {
    while (this.#left > 0) {
      const octets = this.#buffer.takeData(this.#left)
      if (octets === null) return false
      this.#left -= octets.length
      if (this.#state === "collect") this.#collected.push(octets)
    }
    this.#endLiteral(this.#state === "collect" ? Buffer.concat(this.#collected) : null)
    return true
  }

  #endLiteral(octets: Uint8Array | null): void {
    if (!this.#streamed) this.#segments.push({ kind: "literal", ...this.#literal, octets })
    this.#collected = []
    this.#state = this.#streamed ? "tail" : "text"
  }
}

// RFC 9051 §9: literal = "{" number64 ["+"] "}" CRLF *CHAR8; literal8 = "~{" number64 ["+"] "}" CRLF *OCTET
function literalMarker(line: Uint8Array): { readonly literal: LiteralStart; readonly length: number } | null {
  if (line.at(-1) !== 0x7d) return null
  const found = /(~?)\{(\d{1,15})(\+?)\}$/.exec(latin1(line.subarray(-20)))
  if (found === null || insideQuotes(line)) return null
  return {
    literal: { size: Number(found[2]), synchronizing: found[3] === "", binary: found[1] === "~" },
    length: found[0].length,
  }
}

function parseCommand(segments: readonly Segment[], cut: boolean): CommandEvent & { kind: "command" | "bad" } {
  const first = segments[0]
  const head = first?.kind === "text" ? latin1(first.octets) : ""
  // RFC 9051 §9: tag = 1*<any ASTRING-CHAR except "+">; the name is an atom after one SP
  const found = /^([!#$&',-[\]-z|}~]{1,128}) ((?:UID )?[A-Z][A-Z0-9.-]*)(?= |$)/i.exec(head)
  if (found === null || first?.kind !== "text") return { kind: "bad", tag: tagOf(head), reason: "no command" }
  const [start, tag = "", name = ""] = found
  try {
    const { tokens, open } = tokenize([
      { kind: "text", octets: first.octets.subarray(start.length) },
      ...segments.slice(1),
    ])
    if (!cut && open > 0) return { kind: "bad", tag, reason: "unmatched (" }
    return { kind: "command", command: { tag, name: name.toUpperCase(), arguments: tokens, open, segments } }
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    // Cut inside BODY[HEADER.FIELDS ({7}: whether it is right shows when the command is whole.
    if (cut) return { kind: "command", command: { tag, name: name.toUpperCase(), arguments: [], open: 0, segments } }
    return { kind: "bad", tag, reason: error.message.replace(/^imap: /, "") }
  }
}

function tagOf(head: string): string | null {
  return /^([!#$&',-[\]-z|}~]{1,128})(?: |$)/.exec(head)?.[1] ?? null
}
