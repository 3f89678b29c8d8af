import type { Socket } from "node:net"
import { OctetSink, OctetSource } from "./octets.ts"
import { type CommandEvent, type CommandLimits, CommandReader } from "./wire/command-reader.ts"

/** The client's side of a connection: commands in, whole lines out, never a line of ours within a response that is being relayed. */
export class Client {
  /** The TLS socket once there is TLS: only its own timeout sees the traffic. */
  readonly stream: Socket
  readonly address: string
  readonly secure: boolean
  readonly reader: CommandReader
  readonly #source: OctetSource
  readonly #sink: OctetSink
  readonly #arrived = (octets: Uint8Array | null): Promise<CommandEvent | null> | null => {
    if (octets === null) return null
    this.reader.push(octets)
    return this.next()
  }
  #relaying = false
  #deferred: Uint8Array[] = []
  #deferredOctets = 0
  #whenSent: (() => void) | null = null

  constructor(stream: Socket, address: string, secure: boolean, limits?: CommandLimits) {
    this.stream = stream
    this.address = address
    this.secure = secure
    this.reader = new CommandReader(limits)
    this.#source = new OctetSource(stream)
    this.#sink = new OctetSink(stream)
  }

  /** The next event; null when the client is gone or has ended its side. @throws PROTOCOL for a line too long */
  async next(): Promise<CommandEvent | null> {
    // Not waited for here: of a function that waits for days, its frame is kept for each connection.
    return this.reader.next() ?? this.#source.read().then(this.#arrived)
  }

  /** A line of our own (CRLF is added): at once, or behind the response that is being relayed. */
  async say(line: string): Promise<void> {
    this.put(Buffer.from(`${line}\r\n`, "utf8"))
    // Whoever asks on and on while a response stands still is not read meanwhile.
    if (this.#deferredOctets > MAX_DEFERRED_OCTETS)
      await new Promise<void>((resolve) => {
        this.#whenSent = resolve
      })
    await this.flush()
  }

  /** Octets that wait to be read as commands, or to be said behind a response. */
  get heldOctets(): number {
    return this.reader.bufferedOctets + this.#deferredOctets
  }

  /** Whole lines (with CRLF), which go out with the next flush. */
  put(lines: Uint8Array): void {
    if (this.#relaying) {
      this.#deferred.push(lines)
      this.#deferredOctets += lines.length
    } else this.#sink.write(lines)
  }

  /** A piece of a response from the upstream; endResponse follows its last. Nothing goes out before flush. */
  relay(octets: Uint8Array): void {
    this.#relaying = true
    this.#sink.write(octets)
  }

  /** `lineEnd`: the response's own CRLF, where it has one. */
  endResponse(lineEnd: Uint8Array = CRLF): void {
    this.#sink.write(lineEnd)
    this.#relaying = false
    if (this.#deferred.length === 0) return
    for (const lines of this.#deferred) this.#sink.write(lines)
    this.#deferred = []
    this.#deferredOctets = 0
    this.#whenSent?.()
    this.#whenSent = null
  }

  get betweenResponses(): boolean {
    return !this.#relaying
  }

  /** Resolves when the client has taken enough to go on; null when it need not be waited for. */
  flush(): Promise<void> | null {
    return this.#sink.flush()
  }

  /** As {@link flush}, for relayed octets whose memory is used again when this returns. */
  flushLent(): Promise<void> | null {
    return this.#sink.flush(true)
  }

  /** Lets go of the stream, for TLS to take over. */
  detach(): void {
    this.#source.detach()
  }
}

const CRLF = Buffer.from("\r\n")
/** Answers of ours to a client that pipelines: more than any real one has under way. */
const MAX_DEFERRED_OCTETS = 65_536
