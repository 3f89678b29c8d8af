import { once } from "node:events"
import { connect, type TLSSocket } from "node:tls"
import { GatewayError } from "../errors.ts"
import type { DeviceSettings } from "./demo-people.ts"

/** One device's IMAP connection, as a mail client makes it: TLS verified against the instance's authority, LOGIN, SELECT, FETCH. */
export class DemoMailClient implements Disposable {
  readonly #socket: TLSSocket
  #held = Buffer.alloc(0)
  #number = 0

  private constructor(socket: TLSSocket) {
    this.#socket = socket
  }

  /** @throws GatewayError UPSTREAM_REFUSED with the server's words */
  static async login(settings: DeviceSettings, port: number, authority: string): Promise<DemoMailClient> {
    const socket = connect({ host: "127.0.0.1", port, servername: "localhost", ca: authority })
    await once(socket, "secureConnect")
    const client = new DemoMailClient(socket)
    await client.#line()
    await client.command(`LOGIN "${settings.username}" "${settings.password}"`)
    return client
  }

  /** Untagged lines of the answer. @throws GatewayError UPSTREAM_REFUSED unless it ends in OK */
  async command(text: string): Promise<string[]> {
    const tag = `d${++this.#number}`
    this.#socket.write(`${tag} ${text}\r\n`)
    const lines: string[] = []
    for (;;) {
      const line = await this.#line()
      if (!line.startsWith(`${tag} `)) lines.push(line)
      else if (line.startsWith(`${tag} OK`)) return lines
      else throw new GatewayError("UPSTREAM_REFUSED", line.slice(tag.length + 1))
    }
  }

  /** The whole message with this Message-ID, or null. */
  async message(messageId: string): Promise<Uint8Array | null> {
    await this.command("EXAMINE INBOX")
    const [found] = await this.command(`UID SEARCH HEADER Message-ID "${messageId}"`)
    const uid = /^\* SEARCH (\d+)/.exec(found ?? "")?.[1]
    if (!uid) return null
    const tag = `d${++this.#number}`
    this.#socket.write(`${tag} UID FETCH ${uid} (BODY.PEEK[])\r\n`)
    const size = Number(/\{(\d+)\}$/.exec(await this.#line())?.[1])
    while (this.#held.length < size) await this.#more()
    const octets = this.#held.subarray(0, size)
    this.#held = this.#held.subarray(size)
    while (!(await this.#line()).startsWith(tag));
    return octets
  }

  [Symbol.dispose](): void {
    this.#socket.destroy()
  }

  async #line(): Promise<string> {
    for (;;) {
      const end = this.#held.indexOf("\r\n")
      if (end >= 0) {
        const line = this.#held.subarray(0, end).toString("latin1")
        this.#held = this.#held.subarray(end + 2)
        return line
      }
      await this.#more()
    }
  }

  async #more(): Promise<void> {
    const octets: Buffer | null = this.#socket.read()
    if (octets) this.#held = Buffer.concat([this.#held, octets])
    else if (this.#socket.readableEnded || this.#socket.destroyed)
      throw new GatewayError("UPSTREAM_REFUSED", "the connection was ended")
    else await Promise.race([once(this.#socket, "readable"), once(this.#socket, "close")])
  }
}
