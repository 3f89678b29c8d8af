import { once } from "node:events"
import { connect, type Socket } from "node:net"
import { connect as connectTls } from "node:tls"
import { ResponseReader } from "../../../src/imap-proxy/wire/response-reader.ts"

/**
 * A transcript: what a client sends, and what it waits for before it goes on. `> ` a line of the client; `< ` the tag (or `+`) of
 * the response it waited for; `---` a connection begins; `#` a remark.
 */
export type Step =
  | { readonly kind: "connect" }
  | { readonly kind: "send"; readonly line: string }
  | { readonly kind: "await"; readonly tag: string }

export function parseTranscript(text: string): Step[] {
  return text.split("\n").flatMap((line): Step[] => {
    if (line === "" || line.startsWith("#")) return []
    if (line === "---") return [{ kind: "connect" }]
    const [, kind, rest = ""] = /^([<>]) ?(.*)$/.exec(line) ?? []
    if (kind === undefined) throw new Error(`transcript: ${line}`)
    return [kind === ">" ? { kind: "send", line: rest } : { kind: "await", tag: rest }]
  })
}

/** One response: its text with `{n}` in place of each literal, and the literals. One character per octet. */
export interface Response {
  readonly text: string
  readonly literals: readonly string[]
}

/** Where a transcript is played, and as whom. */
export interface Peer {
  readonly port: number
  readonly tls: boolean
  readonly user: string
  readonly password: string
  /** Octets that go out at once; all that there are unless stated. */
  readonly segmentOctets?: number
}

/**
 * Plays a transcript.
 * @returns every response but the greetings, in order, with those to commands that were sent at once in one list: a server may look
 * at them one by one or together, so what it announces stands before the one or the other
 */
export async function replay(steps: readonly Step[], peer: Peer): Promise<Response[][]> {
  const responses: Response[][] = []
  let connection: Connection | null = null
  let unsent = ""
  for (const step of steps) {
    if (step.kind === "send") {
      unsent += `${withSecrets(step.line, peer)}\r\n`
      continue
    }
    if (unsent !== "") responses.push([])
    await connection?.send(unsent)
    unsent = ""
    if (step.kind === "await") responses.at(-1)?.push(...((await connection?.untilTag(step.tag)) ?? []))
    else {
      connection?.close()
      connection = await Connection.open(peer)
      await connection.untilTag("*")
    }
  }
  connection?.close()
  return responses
}

function withSecrets(line: string, { user, password }: Peer): string {
  const plain = (authzid: string): string => Buffer.from(`${authzid}\0${user}\0${password}`).toString("base64")
  return line
    .replace("{user}", user)
    .replace("{password}", password.replaceAll(/["\\]/g, "\\$&"))
    .replace("{plain}", plain(""))
    .replace("{plain for oneself}", plain(user))
}

class Connection {
  readonly #socket: Socket
  readonly #segmentOctets: number
  readonly #reader = new ResponseReader()
  readonly #received: Response[] = []
  #text = ""
  #literals: string[] = []
  #ended = false
  #wake = (): void => undefined

  private constructor(socket: Socket, segmentOctets: number) {
    this.#socket = socket
    this.#segmentOctets = segmentOctets
    socket.setNoDelay(true)
    socket.on("error", () => undefined)
    socket.on("close", () => {
      this.#ended = true
      this.#wake()
    })
    socket.on("data", (octets: Buffer) => {
      // The reader hands out views; a TLS socket's buffer is not used again.
      this.#reader.push(octets)
      this.#read()
      this.#wake()
    })
  }

  static async open({ port, tls, segmentOctets = Number.POSITIVE_INFINITY }: Peer): Promise<Connection> {
    const socket = tls
      ? connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false })
      : connect({ port, host: "127.0.0.1" })
    const connection = new Connection(socket, segmentOctets)
    await once(socket, tls ? "secureConnect" : "connect")
    return connection
  }

  async send(text: string): Promise<void> {
    const octets = Buffer.from(text, "latin1")
    const step = Math.min(this.#segmentOctets, octets.length)
    for (let at = 0; at < octets.length; at += step)
      await new Promise((resolve) => this.#socket.write(octets.subarray(at, at + step), resolve))
  }

  /** What came, up to the response that begins with `tag`. */
  async untilTag(tag: string): Promise<Response[]> {
    for (;;) {
      const end = this.#received.findIndex(({ text }) => text === tag || text.startsWith(`${tag} `))
      if (end >= 0) return this.#received.splice(0, end + 1)
      if (this.#ended) throw new Error(`ended before ${tag}: ${JSON.stringify(this.#received).slice(0, 2000)}`)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  close(): void {
    this.#socket.destroy()
  }

  #read(): void {
    for (let event = this.#reader.next(); event !== null; event = this.#reader.next()) {
      if (event.kind === "text") this.#text += event.text
      else if (event.kind === "literal") {
        this.#text += `{${event.size}}`
        this.#literals.push("")
      } else if (event.kind === "data") {
        this.#literals.push((this.#literals.pop() ?? "") + Buffer.from(event.octets).toString("latin1"))
      } else {
        this.#received.push({ text: this.#text, literals: this.#literals })
        this.#text = ""
        this.#literals = []
      }
    }
  }
}
