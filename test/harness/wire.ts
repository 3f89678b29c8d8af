import { once } from "node:events"
import { connect as connectTcp, type Socket } from "node:net"
import { type ConnectionOptions, connect as connectTls } from "node:tls"

/**
 * A line-oriented client for tests: says octets, waits for lines. Deliberately dumb, so that what goes over the wire is what the
 * test says.
 */
export class WireClient implements Disposable {
  #socket: Socket
  #held = Buffer.alloc(0)
  #wake: () => void = () => undefined
  #ended = false

  private constructor(socket: Socket) {
    this.#socket = socket
    this.#listen()
  }

  /** `tls`: true, or what it is to be spoken with. */
  static async connect(
    port: number,
    options: { readonly tls?: boolean | (ConnectionOptions & { readonly localAddress?: string }) } = {},
  ): Promise<WireClient> {
    const more = typeof options.tls === "object" ? options.tls : {}
    const socket = options.tls
      ? connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false, ...more })
      : connectTcp({ port, host: "127.0.0.1" })
    await once(socket, options.tls ? "secureConnect" : "connect")
    socket.setNoDelay(true)
    return new WireClient(socket)
  }

  /** The same over a connection that is there already. */
  static async over(socket: Socket, options: { readonly tls?: boolean } = {}): Promise<WireClient> {
    if (!options.tls) return new WireClient(socket.setNoDelay(true))
    const secure = connectTls({ socket, rejectUnauthorized: false })
    await once(secure, "secureConnect")
    return new WireClient(secure)
  }

  /** Writes as it is; resolves when the kernel took it. */
  write(octets: Uint8Array | string): Promise<void> {
    return new Promise((resolve, reject) => this.#socket.write(octets, (error) => (error ? reject(error) : resolve())))
  }

  /** Everything up to and including the first match of `pattern`, as latin1. */
  async until(pattern: RegExp, deadlineMs = 20_000): Promise<string> {
    const end = Date.now() + deadlineMs
    for (;;) {
      const text = this.#held.toString("latin1")
      const match = pattern.exec(text)
      if (match) {
        const length = match.index + match[0].length
        this.#held = this.#held.subarray(length)
        return text.slice(0, length)
      }
      if (this.#ended)
        throw new Error(`connection ended while waiting for ${pattern}; got ${JSON.stringify(text.slice(-300))}`)
      if (Date.now() > end)
        throw new Error(`not within ${deadlineMs} ms: ${pattern}; got ${JSON.stringify(text.slice(-300))}`)
      await this.#more(end - Date.now())
    }
  }

  /** Exactly `count` octets. */
  async take(count: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = []
    for (let left = count; left > 0; ) {
      if (this.#held.length === 0) {
        if (this.#ended) throw new Error(`connection ended, ${left} octets short`)
        await this.#more(20_000)
        continue
      }
      const part = this.#held.subarray(0, left)
      this.#held = this.#held.subarray(part.length)
      parts.push(part)
      left -= part.length
    }
    return Buffer.concat(parts)
  }

  /** Resolves when the peer has closed the connection. */
  async closed(deadlineMs = 10_000): Promise<void> {
    const end = Date.now() + deadlineMs
    while (!this.#ended) {
      if (Date.now() > end) throw new Error(`still open after ${deadlineMs} ms`)
      await this.#more(end - Date.now())
    }
  }

  /** Changes to TLS on the same connection (after the answer to STARTTLS). */
  async upgrade(): Promise<void> {
    this.#socket.removeAllListeners("data")
    const secure = connectTls({ socket: this.#socket, rejectUnauthorized: false })
    await once(secure, "secureConnect")
    this.#socket = secure
    this.#listen()
  }

  [Symbol.dispose](): void {
    this.#socket.destroy()
  }

  #listen(): void {
    this.#socket.on("data", (octets) => {
      this.#held = this.#held.length === 0 ? octets : Buffer.concat([this.#held, octets])
      // What the test does not take stays in the kernel, and then with the server.
      if (this.#held.length > HELD_OCTETS) this.#socket.pause()
      this.#wake()
    })
    for (const event of ["end", "close", "error"])
      this.#socket.on(event, () => {
        this.#ended = true
        this.#wake()
      })
  }

  #more(timeoutMs: number): Promise<void> {
    this.#socket.resume()
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(1, timeoutMs))
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

/** Octets that a client holds before it stops reading. */
const HELD_OCTETS = 1_048_576

/** Sends one message by SMTP without authentication. @returns the reply to the end of DATA, or the first refusal */
export async function sendMail(
  port: number,
  from: string,
  to: readonly string[],
  message: Uint8Array,
): Promise<string> {
  using client = await WireClient.connect(port)
  await client.until(/^220 .*\r\n/m)
  for (const command of [
    "EHLO client.test",
    `MAIL FROM:<${from}>`,
    ...to.map((recipient) => `RCPT TO:<${recipient}>`),
    "DATA",
  ]) {
    await client.write(`${command}\r\n`)
    const reply = await client.until(/^\d{3} .*\r\n/m)
    if (!/^[23]\d\d[ -]/.test(reply)) return reply.trim()
  }
  await client.write(stuffed(message))
  const reply = await client.until(/^\d{3} .*\r\n/m)
  await client.write("QUIT\r\n")
  return reply.trim()
}

/** Submits one message as a device, over a connection that speaks TLS. @returns the reply to the end of DATA @throws Error with an earlier refusal */
export async function submitMail(
  client: WireClient,
  { username, password }: { readonly username: string; readonly password: string },
  to: readonly string[],
  message: Uint8Array,
): Promise<string> {
  await client.until(/^220 .*\r\n/m)
  for (const command of [
    "EHLO client.test",
    `AUTH PLAIN ${Buffer.from(`\0${username}\0${password}`).toString("base64")}`,
    `MAIL FROM:<${username}>`,
    ...to.map((recipient) => `RCPT TO:<${recipient}>`),
    "DATA",
  ]) {
    await client.write(`${command}\r\n`)
    const reply = await client.until(/^\d{3} .*\r\n/m)
    if (!/^[23]\d\d[ -]/.test(reply)) throw new Error(`${command}: ${reply}`)
  }
  await client.write(stuffed(message))
  return (await client.until(/^\d{3} .*\r\n/m)).trim()
}

/** The same over a connection of its own. */
export async function submitBy(
  device: { readonly username: string; readonly password: string; readonly smtp: { readonly port: number } },
  to: readonly string[],
  message: Uint8Array,
): Promise<string> {
  using client = await WireClient.connect(device.smtp.port, { tls: true })
  return await submitMail(client, device, to, message)
}

/** RFC 5321 §4.5.2, with the final dot. */
export function stuffed(message: Uint8Array): Uint8Array {
  const text = Buffer.from(message).toString("latin1").replace(/^\./gm, "..")
  return Buffer.from(`${text}${text === "" || text.endsWith("\r\n") ? "" : "\r\n"}.\r\n`, "latin1")
}
