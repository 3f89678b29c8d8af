import type { Duplex } from "node:stream"
import { GatewayError } from "../errors.ts"
import type { Prepared } from "../pipeline/prepared.ts"

/** Longest wait for a line of the store, and for it to take octets. */
const SILENCE_MS = 120_000
/** What is asked for here is answered in a line or two; a store that says this much without a line end is none. */
const MAX_LINE_OCTETS = 65_536

/** An IMAP connection as lines of text. Literals are sent, never received: nothing asked for here is answered with one. */
export class ImapLines implements Disposable {
  readonly #connection: Duplex
  readonly #octets: AsyncIterator<Uint8Array>
  readonly #signal: AbortSignal
  readonly #silenceMs: number
  readonly #end = (): void => this[Symbol.dispose]()
  #held = ""

  constructor(connection: Duplex, signal: AbortSignal, silenceMs = SILENCE_MS) {
    this.#connection = connection
    this.#signal = signal
    this.#silenceMs = silenceMs
    // Whoever reads or writes hears of it.
    connection.on("error", () => undefined)
    this.#octets = connection[Symbol.asyncIterator]()
    signal.addEventListener("abort", this.#end, { once: true })
  }

  /** Sends a line. @throws GatewayError UPSTREAM_UNAVAILABLE */
  say(line: string): Promise<void> {
    return this.#write(Buffer.from(`${line}\r\n`, "latin1"))
  }

  /**
   * Sends the message and the line end behind it.
   * @throws GatewayError LENGTH_MISMATCH when the message is not as long as it says: the store then has no whole literal
   */
  async literal({ sizeOctets, content }: Prepared): Promise<void> {
    let left = sizeOctets
    for await (const octets of content()) {
      left -= octets.length
      if (left < 0) break
      await this.#write(octets)
    }
    if (left !== 0) throw new GatewayError("LENGTH_MISMATCH", "imap: the message is not as long as announced")
    await this.say("")
  }

  /** The next line that begins with one of `starts`; others are passed over. @throws GatewayError UPSTREAM_UNAVAILABLE, PROTOCOL */
  async until(...starts: readonly string[]): Promise<string> {
    for (;;) {
      const line = await this.#line()
      if (starts.some((start) => line.startsWith(start))) return line
      if (/^\* BYE\b/i.test(line)) throw new GatewayError("UPSTREAM_UNAVAILABLE", `imap: ${line.slice(2, 200)}`)
    }
  }

  /** Closes the connection. */
  [Symbol.dispose](): void {
    this.#signal.removeEventListener("abort", this.#end)
    this.#connection.destroy()
  }

  async #line(): Promise<string> {
    for (;;) {
      const end = this.#held.indexOf("\r\n")
      if ((end < 0 ? this.#held.length : end) > MAX_LINE_OCTETS)
        throw new GatewayError("PROTOCOL", "imap: line too long")
      if (end >= 0) {
        const line = this.#held.slice(0, end)
        this.#held = this.#held.slice(end + 2)
        return line
      }
      const next = await this.#within(this.#octets.next())
      if (next.done) throw new GatewayError("UPSTREAM_UNAVAILABLE", "imap: connection ended")
      this.#held += Buffer.from(next.value).toString("latin1")
    }
  }

  #write(octets: Uint8Array): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#connection.write(octets, (error) => (error ? reject(error) : resolve()))
    return this.#within(promise)
  }

  async #within<T>(act: Promise<T>): Promise<T> {
    const { promise: late, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(() => reject(new Error(`no answer within ${this.#silenceMs} ms`)), this.#silenceMs)
    try {
      return await Promise.race([act, late])
    } catch (cause) {
      const what = cause instanceof Error ? cause.message : "connection failed"
      throw new GatewayError("UPSTREAM_UNAVAILABLE", `imap: ${what}`, { cause })
    } finally {
      clearTimeout(timer)
    }
  }
}
