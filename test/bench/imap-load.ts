import { createHash, type Hash } from "node:crypto"
import { connect as connectTcp, type OnReadOpts, type Socket } from "node:net"
import { connect as connectTls, createSecureContext } from "node:tls"
import type { Answer, Door, Job, Received } from "./imap-client.ts"

/** A connection that does not answer for so long is stuck. */
const SILENCE_MS = 60_000
const READ_OCTETS = 65_536
/** How many connections are opened side by side for the idle ones. */
const OPENING = 20

/** Made once: a context for every connection would read the system's authorities each time. */
/** The group that all contestants know: Debian 12's OpenSSL has no ML-KEM, which would be half of our handshake's work and 6 KB of its memory. */
const secureContext = createSecureContext({ ca: [], ecdhCurve: "X25519" })
const held: Connection[] = []

process.on("message", (job: Job) => {
  work(job)
    .then((answer): Answer => ({ answer }))
    .catch((error: unknown): Answer => ({ failure: error instanceof Error ? error.message : String(error) }))
    .then((answer) => process.send?.(answer))
})
process.on("disconnect", () => process.exit(0))

function work(job: Job) {
  switch (job.kind) {
    case "fetch":
      return fetchAll(job.door, job.clients, job.digest)
    case "read":
      return read(job.door, job.uids)
    case "latency":
      return latency(job.door, job.commands, job.count)
    case "logins":
      return logins(job.door, job.clients, job.seconds)
    case "idle":
      return idle(job.door, job.connections)
    case "leave":
      return leave()
  }
}

/** Every client fetches its whole mailbox, all at once. */
async function fetchAll(door: Door, clients: number, digest: boolean) {
  const connections = await Promise.all(Array.from({ length: clients }, (_, index) => selected(door, index)))
  const counts = connections.map((connection) => connection.count(digest ? createHash("sha256") : null))
  const start = performance.now()
  await Promise.all(connections.map((connection) => connection.command("UID FETCH 1:* (UID FLAGS BODY.PEEK[])")))
  const seconds = (performance.now() - start) / 1000
  for (const connection of connections) connection.destroy()
  return { seconds, received: counts.map(received) }
}

async function read(door: Door, uids: readonly number[]) {
  const connection = await selected(door, 0)
  const messages: string[] = []
  for (const uid of uids) {
    const parts: Uint8Array[] = []
    connection.collect(parts)
    await connection.command(`UID FETCH ${uid} BODY.PEEK[]`)
    messages.push(Buffer.concat(parts).toString("base64"))
  }
  connection.destroy()
  return messages
}

/** One command after the other. */
async function latency(door: Door, commands: readonly string[], count: number) {
  const connection = await selected(door, 0)
  const times: number[] = []
  for (let index = 0; index < count; index++) {
    const start = performance.now()
    await connection.command(commands[index % commands.length] ?? "NOOP")
    times.push(performance.now() - start)
  }
  connection.destroy()
  return times
}

/** A new connection and a full handshake for each. */
async function logins(door: Door, clients: number, seconds: number) {
  const start = performance.now()
  const end = start + seconds * 1000
  let count = 0
  const client = async (index: number): Promise<void> => {
    while (performance.now() < end) {
      const connection = await Connection.open(door)
      await connection.command("CAPABILITY")
      await connection.command(login(door, index))
      await connection.command("LOGOUT")
      connection.destroy()
      count++
    }
  }
  await Promise.all(Array.from({ length: clients }, (_, index) => client(index)))
  return (count * 1000) / (performance.now() - start)
}

/** Opens connections that wait in IDLE, and keeps them. */
async function idle(door: Door, connections: number) {
  let next = 0
  const open = async (): Promise<void> => {
    while (next < connections) {
      const connection = await selected(door, next++)
      await connection.command("IDLE", true)
      held.push(connection)
    }
  }
  await Promise.all(Array.from({ length: OPENING }, open))
  return null
}

async function leave() {
  for (const connection of held.splice(0)) connection.destroy()
  return null
}

async function selected(door: Door, index: number): Promise<Connection> {
  const connection = await Connection.open(door)
  await connection.command(login(door, index))
  await connection.command("SELECT INBOX")
  return connection
}

function login(door: Door, index: number): string {
  const { user, password } = door.logins[index % door.logins.length] ?? { user: "", password: "" }
  return `LOGIN ${user} ${password}`
}

interface Count {
  messages: number
  octets: number
  readonly digest: Hash | null
}

function received({ messages, octets, digest }: Count): Received {
  return { messages, octets, digest: digest?.digest("base64") ?? null }
}

/** Reads no more of the answers than literals' sizes and the first word of a line: what it costs is in every figure. */
class Connection {
  readonly #socket: Socket
  #tags = 0
  #line = ""
  #literalLeft = 0
  #count: Count = { messages: 0, octets: 0, digest: null }
  #parts: Uint8Array[] | null = null
  #awaited: { readonly start: string; readonly resolve: () => void; readonly reject: (error: Error) => void } | null
  #failure: Error | null = null

  private constructor(door: Door, greeted: () => void, failed: (error: Error) => void) {
    this.#awaited = { start: "*", resolve: greeted, reject: failed }
    const onread: OnReadOpts = {
      buffer: Buffer.allocUnsafe(READ_OCTETS),
      callback: (length, buffer) => {
        this.#take(buffer.subarray(0, length))
        return true
      },
    }
    const where = { host: "127.0.0.1", port: door.port, noDelay: true, onread }
    this.#socket = door.tls ? connectTls({ ...where, secureContext, rejectUnauthorized: false }) : connectTcp(where)
    this.#socket.setTimeout(SILENCE_MS, () => this.#fail(new Error("no answer")))
    this.#socket.on("error", (error) => this.#fail(error))
    this.#socket.on("close", () => this.#fail(new Error("connection closed")))
  }

  static open(door: Door): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const connection: Connection = new Connection(door, () => resolve(connection), reject)
    })
  }

  /** Resolves with the tagged OK, or with `+` where that is waited for. */
  command(text: string, continuation = false): Promise<void> {
    const tag = `t${++this.#tags}`
    return new Promise((resolve, reject) => {
      if (this.#failure) return reject(this.#failure)
      this.#awaited = { start: continuation ? "+" : `${tag} `, resolve, reject }
      // IDLE waits on purpose.
      if (continuation) this.#socket.setTimeout(0)
      this.#socket.write(`${tag} ${text}\r\n`)
    })
  }

  /** Counts literals from here on. */
  count(digest: Hash | null): Count {
    this.#count = { messages: 0, octets: 0, digest }
    return this.#count
  }

  /** Keeps literals from here on. */
  collect(parts: Uint8Array[]): void {
    this.#parts = parts
  }

  destroy(): void {
    this.#awaited = null
    this.#socket.destroy()
  }

  #take(octets: Uint8Array): void {
    const buffer = octets as Buffer
    for (let at = 0; at < buffer.length; ) {
      if (this.#literalLeft > 0) {
        const end = Math.min(at + this.#literalLeft, buffer.length)
        this.#literalLeft -= end - at
        this.#literal(buffer, at, end)
        at = end
        continue
      }
      const lineEnd = buffer.indexOf(LF, at)
      this.#line += buffer.toString("latin1", at, lineEnd < 0 ? buffer.length : lineEnd + 1)
      if (lineEnd < 0) return
      const line = this.#line
      this.#line = ""
      this.#complete(line)
      at = lineEnd + 1
    }
  }

  #literal(buffer: Buffer, start: number, end: number): void {
    this.#count.octets += end - start
    this.#count.digest?.update(buffer.subarray(start, end))
    this.#parts?.push(Uint8Array.from(buffer.subarray(start, end)))
  }

  #complete(line: string): void {
    if (line.endsWith("}\r\n")) {
      this.#literalLeft = Number(line.slice(line.lastIndexOf("{") + 1, -3))
      this.#count.messages++
      return
    }
    const awaited = this.#awaited
    if (awaited === null || !line.startsWith(awaited.start)) return
    this.#awaited = null
    if (awaited.start === "+" || /^\S+ OK/.test(line)) awaited.resolve()
    else awaited.reject(new Error(line.trim()))
  }

  #fail(error: Error): void {
    this.#failure = error
    this.#awaited?.reject(error)
    this.#awaited = null
    this.#socket.destroy()
  }
}

const LF = 10
