import type { Duplex } from "node:stream"
import { GatewayError } from "../../errors.ts"

/** Responses are gathered to so much before they are written: one packet for a line, few writes for a large FETCH. */
const GATHER_OCTETS = 32_768

/** The server-to-client direction: what is written waits for a slow client. */
export class Output {
  writtenOctets = 0
  readonly #stream: Duplex
  #text = ""

  constructor(stream: Duplex) {
    this.#stream = stream
  }

  /** Latin1 text, one character per octet; goes out with the next flush. */
  text(text: string): void {
    this.#text += text
  }

  /** A whole line, without its CRLF. */
  line(text: string): void {
    this.#text += `${text}\r\n`
  }

  /** Writes what was gathered when it is enough. */
  async settle(): Promise<void> {
    if (this.#text.length >= GATHER_OCTETS) await this.flush()
  }

  /** Octets behind the text so far. */
  async octets(octets: Uint8Array): Promise<void> {
    if (octets.length < 4096) {
      this.#text += Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString("latin1")
      return this.settle()
    }
    const head = this.#take()
    this.#stream.cork()
    if (head !== null) this.#stream.write(head)
    this.writtenOctets += octets.length
    const free = this.#stream.write(octets)
    this.#stream.uncork()
    if (!free) await this.#drained()
  }

  /** Writes everything gathered. @throws PROTOCOL when the client is gone */
  async flush(): Promise<void> {
    const head = this.#take()
    if (head !== null && !this.#stream.write(head)) await this.#drained()
  }

  #take(): Uint8Array | null {
    if (this.#stream.destroyed || !this.#stream.writable) throw gone()
    if (this.#text === "") return null
    const octets = Buffer.from(this.#text, "latin1")
    this.#text = ""
    this.writtenOctets += octets.length
    return octets
  }

  /** Waits until the client has read. The stream's owner ends it when that takes too long. */
  #drained(): Promise<void> {
    if (!this.#stream.writableNeedDrain) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const onDrain = (): void => end(resolve)
      const onClose = (): void => end(() => reject(gone()))
      const end = (then: () => void): void => {
        this.#stream.off("drain", onDrain).off("close", onClose)
        then()
      }
      this.#stream.on("drain", onDrain).on("close", onClose)
    })
  }
}

function gone(): GatewayError {
  return new GatewayError("PROTOCOL", "imap: the client is gone")
}
