import { connect, type Socket } from "node:net"
import { connect as connectTls } from "node:tls"

/** A bare SMTP client that says exactly what it is told, octet by octet. */
export class Wire implements AsyncDisposable {
  #socket: Socket
  #text = ""
  #ended = false
  #wake: () => void = () => undefined

  private constructor(socket: Socket) {
    this.#socket = socket.setNoDelay(true)
    this.#listen()
  }

  /** Connects and reads the greeting. */
  static async open(port: number): Promise<Wire> {
    const wire = new Wire(connect({ port, host: "127.0.0.1" }))
    await wire.reply()
    return wire
  }

  /** Connects and reads nothing. */
  static connect(port: number): Wire {
    return new Wire(connect({ port, host: "127.0.0.1" }))
  }

  static async openTls(port: number): Promise<Wire> {
    const wire = new Wire(connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false }))
    await wire.reply()
    return wire
  }

  write(text: string | Uint8Array): void {
    this.#socket.write(typeof text === "string" ? Buffer.from(text, "utf8") : text)
  }

  /** Sends octets and waits until the system has taken them. */
  flushed(octets: Uint8Array): Promise<void> {
    return new Promise((resolve) => this.#socket.write(octets, () => resolve()))
  }

  /** Sends one line and returns the reply. */
  say(line: string): Promise<string> {
    this.write(`${line}\r\n`)
    return this.reply()
  }

  /** The next whole reply, lines joined by LF; empty when the server has closed. */
  async reply(): Promise<string> {
    for (;;) {
      const match = /^(?:\d{3}-[^\r\n]*\r\n)*\d{3}(?: [^\r\n]*)?\r\n/.exec(this.#text)
      if (match) {
        this.#text = this.#text.slice(match[0].length)
        return match[0].trimEnd().replaceAll("\r\n", "\n")
      }
      if (this.#ended) return ""
      await this.#more()
    }
  }

  /** Everything that still comes until the server closes. */
  async rest(): Promise<string> {
    while (!this.#ended) await this.#more()
    return this.#text
  }

  async startTls(): Promise<void> {
    await this.say("STARTTLS")
    this.#socket.removeAllListeners("data")
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#socket = connectTls({ socket: this.#socket, rejectUnauthorized: false }, resolve)
    this.#socket.once("error", reject)
    this.#listen()
    await promise
  }

  /** Envelope, DATA, octets with their final dot; the reply to them. */
  async send(from: string, to: readonly string[], octets: string | Uint8Array, parameters = ""): Promise<string> {
    const mail = await this.say(`MAIL FROM:<${from}>${parameters}`)
    if (!mail.startsWith("250")) return mail
    for (const recipient of to) {
      const reply = await this.say(`RCPT TO:<${recipient}>`)
      if (!reply.startsWith("250")) return reply
    }
    const go = await this.say("DATA")
    if (!go.startsWith("354")) return go
    this.write(octets)
    return this.reply()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.destroy()
  }

  #listen(): void {
    this.#socket.on("data", (octets: Buffer) => {
      this.#text += octets.toString("utf8")
      this.#wake()
    })
    this.#socket.on("error", () => this.#end())
    this.#socket.on("close", () => this.#end())
  }

  #end(): void {
    this.#ended = true
    this.#wake()
  }

  #more(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }
}
