import { Socket } from "node:net"
import type { Duplex } from "node:stream"
import { GatewayError } from "../errors.ts"
import { OctetSink, OctetSource, type Take } from "./octets.ts"
import { ResponseReader } from "./wire/response-reader.ts"
import { latin1 } from "./wire/tokens.ts"

/** The upstream's side of a connection: commands out, responses in. */
export class UpstreamLink {
  readonly stream: Duplex
  readonly reader = new ResponseReader()
  /** What is read was made for us and nobody else looks at it: it may be overwritten. A pipe within the process hands over the sender's own octets. */
  readonly ownsOctets: boolean
  readonly #source: OctetSource
  readonly #sink: OctetSink
  /** One string: as words they are 2 KB for each connection. */
  #capabilities = ""
  #failed: ((error: Error) => void) | null = null
  #released = false

  constructor(stream: Duplex) {
    this.stream = stream
    this.ownsOctets = stream instanceof Socket
    this.#source = new OctetSource(stream)
    this.#sink = new OctetSink(stream)
  }

  /** What the upstream said it can do, as sent. */
  get capabilities(): readonly string[] {
    return this.#capabilities.split(" ").filter((word) => word !== "")
  }

  learnCapabilities(words: string): void {
    this.#capabilities = words
  }

  has(capability: string): boolean {
    return this.capabilities.some((word) => word.toUpperCase() === capability)
  }

  /** Gives all that arrives from now on to `take`; resolves at the end. Before this, {@link open} has read the greeting. */
  feed(take: Take): Promise<void> {
    return this.#source.feed(take)
  }

  /** Told of errors of the stream. */
  onError(failed: (error: Error) => void): void {
    this.#failed = failed
    this.stream.on("error", failed)
  }

  /** The stream is somebody else's. */
  get released(): boolean {
    return this.#released
  }

  /** Lets go of the stream, which stays open; {@link feed} ends. @returns null within a response, or when the stream has ended */
  release(): Duplex | null {
    if (!this.reader.betweenLines || this.reader.bufferedOctets > 0 || this.stream.destroyed) return null
    this.#released = true
    this.#source.detach()
    if (this.#failed !== null) this.stream.off("error", this.#failed)
    return this.stream
  }

  /** Ends the stream, unless it is somebody else's. */
  destroy(): void {
    if (!this.#released) this.stream.destroy()
  }

  /** Nothing goes out before flush. */
  write(octets: Uint8Array | string): void {
    if (this.#released) throw new GatewayError("PROTOCOL", "imap: command for a connection that was given back")
    this.#sink.write(typeof octets === "string" ? Buffer.from(octets, "latin1") : octets)
  }

  /** Resolves when the upstream has taken enough to go on; null when it need not be waited for. */
  flush(): Promise<void> | null {
    return this.#sink.flush()
  }

  /**
   * Reads the `* PREAUTH` greeting, and asks for the capabilities where it does not tell them.
   * @throws UPSTREAM_UNAVAILABLE for BYE or a connection that ends, PROTOCOL for any other greeting
   */
  async open(): Promise<void> {
    const greeting = await this.#line()
    if (/^\* BYE\b/i.test(greeting)) throw new GatewayError("UPSTREAM_UNAVAILABLE", "imap upstream: BYE as greeting")
    if (!/^\* PREAUTH\b/i.test(greeting)) throw new GatewayError("PROTOCOL", "imap upstream: no PREAUTH greeting")
    const told = /^\* PREAUTH \[CAPABILITY ([^\]]*)\]/i.exec(greeting)?.[1]
    if (told === undefined) await this.#askCapabilities()
    else this.learnCapabilities(told)
  }

  async #askCapabilities(): Promise<void> {
    this.write(`${ASK_TAG} CAPABILITY\r\n`)
    await this.flush()
    for (;;) {
      const line = await this.#line()
      const told = /^\* CAPABILITY (.*)$/i.exec(line)?.[1]
      if (told !== undefined) this.learnCapabilities(told)
      if (line.startsWith(`${ASK_TAG} `)) return
    }
  }

  async #line(): Promise<string> {
    let line = ""
    for (;;) {
      const event = this.reader.next()
      if (event === null) {
        const octets = await this.#source.read()
        if (octets === null)
          throw new GatewayError("UPSTREAM_UNAVAILABLE", "imap upstream: connection ended before login")
        this.reader.push(octets)
      } else if (event.kind === "text") line += latin1(event.octets)
      else if (event.kind === "end") return line
      else throw new GatewayError("PROTOCOL", "imap upstream: literal in a greeting")
    }
  }
}

const ASK_TAG = "postern0"
