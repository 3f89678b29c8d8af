import { once } from "node:events"
import { connect, type Socket } from "node:net"
import { type ConnectionOptions, connect as connectTls } from "node:tls"
import { ACCOUNT, type Rig } from "./rig.ts"

/** A client that sends octets as it is told and shows what comes back, one character per octet. */
export class BareClient implements AsyncDisposable {
  readonly #rig: Rig
  readonly #tcp: Socket
  #socket: Socket
  #received = ""
  #ended = false
  #wake = (): void => undefined
  #tags = 0

  private constructor(rig: Rig, socket: Socket) {
    this.#rig = rig
    this.#tcp = socket
    this.#socket = socket
    this.#listen()
  }

  /** Connects in clear; the greeting is left to be read. */
  static async plain(rig: Rig): Promise<BareClient> {
    const socket = connect(rig.port, "127.0.0.1")
    await once(socket, "connect")
    return new BareClient(rig, socket)
  }

  /** Connects, STARTTLS, and logs in with a device's password. */
  static async loggedIn(rig: Rig, password: string): Promise<BareClient> {
    const client = await BareClient.secure(rig)
    await client.ok(`LOGIN ${ACCOUNT} ${quoted(password)}`)
    return client
  }

  static async secure(rig: Rig): Promise<BareClient> {
    const client = await BareClient.plain(rig)
    await client.until("\r\n")
    client.send("s STARTTLS\r\n")
    await client.until("s OK begin TLS\r\n")
    await client.startTls()
    return client
  }

  /** Connects to a listener with TLS from the start; the greeting is left to be read. */
  static async implicit(rig: Rig, options: ConnectionOptions = {}): Promise<BareClient> {
    const client = await BareClient.plain(rig)
    await client.startTls(options)
    return client
  }

  async startTls(options: ConnectionOptions = {}): Promise<void> {
    this.#socket.removeAllListeners("data")
    const ca = this.#rig.certificate.certificate
    const socket = connectTls({ socket: this.#socket, ca, servername: "localhost", ...options })
    await once(socket, "secureConnect")
    this.#socket = socket
    this.#listen()
  }

  #listen(): void {
    const end = (): void => {
      this.#ended = true
      this.#wake()
    }
    this.#socket.setNoDelay(true)
    this.#socket.on("close", end).on("error", end).on("end", end)
    this.#socket.on("data", (octets: Buffer) => {
      this.#received += octets.toString("latin1")
      this.#wake()
    })
  }

  get ended(): boolean {
    return this.#ended
  }

  send(text: string): void {
    this.#socket.write(text, "latin1")
  }

  /** Sends a command; gives everything up to its tagged line, which stands last. */
  async command(text: string): Promise<string> {
    const tag = `t${++this.#tags}`
    this.send(`${tag} ${text}\r\n`)
    return this.tagged(tag)
  }

  async tagged(tag: string): Promise<string> {
    return this.until(new RegExp(`(?:^|\r\n)${tag} [^\r]*\r\n`))
  }

  /** A command that must be answered OK. */
  async ok(text: string): Promise<string> {
    const answer = await this.command(text)
    if (!answer.includes(`t${this.#tags} OK`)) throw new Error(answer)
    return answer
  }

  /** Takes what came, up to the end of `what`. */
  async until(what: string | RegExp): Promise<string> {
    for (;;) {
      const end = this.#endOf(what)
      if (end !== null) {
        const taken = this.#received.slice(0, end)
        this.#received = this.#received.slice(end)
        return taken
      }
      if (this.#ended) throw new Error(`connection ended; had come: ${this.#received.slice(0, 2000)}`)
      await this.#more()
    }
  }

  /** Everything until the other side ends. */
  async rest(): Promise<string> {
    while (!this.#ended) await this.#more()
    return this.#received
  }

  /** Reads nothing more. */
  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  end(): void {
    this.#socket.end()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  /** As a program that crashes, or a network that is gone: without a goodbye of TLS or TCP. */
  reset(): void {
    this.#tcp.resetAndDestroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy()
  }

  #endOf(what: string | RegExp): number | null {
    if (typeof what === "string") {
      const at = this.#received.indexOf(what)
      return at < 0 ? null : at + what.length
    }
    const found = what.exec(this.#received)
    return found === null ? null : found.index + found[0].length
  }

  #more(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }
}

/** RFC 9051 quoted string. */
export function quoted(text: string): string {
  return `"${text.replaceAll(/["\\]/g, "\\$&")}"`
}

/** The octets of the literal (or quoted string) behind `item` in a FETCH response; null when it is not there. */
export function literalOf(response: string, item: string): string | null {
  const at = response.indexOf(`${item} {`)
  if (at < 0) return null
  const start = response.indexOf("}\r\n", at) + 3
  const size = Number(response.slice(at + item.length + 2, start - 3))
  return response.slice(start, start + size)
}
