import { createConnection, type Socket } from "node:net"

/** A client that sends lines and shows what comes back, one character per octet. */
export class ImapClient implements AsyncDisposable {
  readonly #socket: Socket
  #received = ""
  #wake = (): void => undefined
  #ended = false
  #tag = 0

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on("data", (octets: Buffer) => {
      this.#received += octets.toString("latin1")
      this.#wake()
    })
    const end = (): void => {
      this.#ended = true
      this.#wake()
    }
    socket.on("close", end).on("error", end)
  }

  /** Connects and waits for the greeting. */
  static async connect(port: number): Promise<ImapClient> {
    const socket = createConnection(port, "127.0.0.1")
    socket.setNoDelay(true)
    const client = new ImapClient(socket)
    await client.until(/^\* .*\r\n/)
    return client
  }

  /** Sends a command; gives all up to its tagged response, which stands last. */
  async command(text: string): Promise<string> {
    this.#tag += 1
    this.send(`t${this.#tag} ${text}\r\n`)
    return this.until(new RegExp(`(?:^|\\r\\n)t${this.#tag} .*\\r\\n`))
  }

  /** A command that must be answered OK. */
  async ok(text: string): Promise<string> {
    const answer = await this.command(text)
    if (!new RegExp(`(?:^|\\r\\n)t${this.#tag} OK`).test(answer)) throw new Error(answer)
    return answer
  }

  send(text: string): void {
    this.#socket.write(text, "latin1")
  }

  /** Takes what came up to the end of the first match. */
  async until(pattern: RegExp): Promise<string> {
    for (;;) {
      const found = pattern.exec(this.#received)
      if (found) {
        const end = found.index + found[0].length
        const taken = this.#received.slice(0, end)
        this.#received = this.#received.slice(end)
        return taken
      }
      if (this.#ended) throw new Error(`connection ended after: ${this.#received}`)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  /** What came until the server ended the connection. */
  async rest(): Promise<string> {
    while (!this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    return this.#received
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy()
  }
}
