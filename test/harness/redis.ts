import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { connect } from "node:net"
import { peer, type TemporaryFolder, temporaryFolder } from "./peers.ts"
import { freePorts } from "./ports.ts"

export const redisPossible = peer("redis-server")

interface RedisOptions {
  readonly password?: string | null
  /** When a command is on the disk: redis.conf's words. */
  readonly appendfsync?: "always" | "everysec"
}

/** A Redis of the test's own that appends to a file with every command. It ends with this process, however that ends. */
export class Redis implements AsyncDisposable {
  readonly port: number
  readonly #folder: TemporaryFolder
  readonly #password: string | null
  readonly #appendfsync: string
  #process: ChildProcess | null = null

  private constructor(folder: TemporaryFolder, port: number, password: string | null, appendfsync: string) {
    this.#appendfsync = appendfsync
    this.#folder = folder
    this.port = port
    this.#password = password
  }

  static async start({ password = null, appendfsync = "always" }: RedisOptions = {}): Promise<Redis> {
    const [port = 0] = await freePorts(1)
    const redis = new Redis(await temporaryFolder(), port, password, appendfsync)
    await redis.start()
    return redis
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}/0`
  }

  /** Starts it again after {@link kill}. */
  async start(): Promise<void> {
    const end = Date.now() + 60_000
    let child = this.#spawn()
    while (!(await this.#answers())) {
      if (Date.now() > end) throw new Error("redis-server does not answer")
      // Somebody else may have had its port for a moment.
      if (child.exitCode !== null) child = this.#spawn()
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  #spawn(): ChildProcess {
    const args = ["--port", String(this.port), "--bind", "127.0.0.1", "--dir", this.#folder.path, "--save", ""]
    const durable = ["--appendonly", "yes", "--appendfsync", this.#appendfsync]
    const secret = this.#password === null ? [] : ["--requirepass", this.#password]
    const child = spawn("/bin/sh", ["-c", WATCH, "sh", "redis-server", ...args, ...durable, ...secret], {
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
    })
    this.#process = child
    return child
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    const child = this.#process
    this.#process = null
    if (child === null || child.exitCode !== null) return
    const ended = once(child, "exit")
    this.#signal(child, "SIGKILL")
    await ended
  }

  /** It accepts connections and answers nothing, until {@link resume}. */
  suspend(): void {
    this.#signal(this.#process, "SIGSTOP")
  }

  resume(): void {
    this.#signal(this.#process, "SIGCONT")
  }

  /** Says one command, inline, and gives the first line of what comes back. */
  command(line: string): Promise<string> {
    const greeting = this.#password === null ? "PING" : `AUTH ${this.#password}`
    return new Promise((resolve, reject) => {
      const socket = connect(this.port, "127.0.0.1")
      let said = ""
      socket.on("error", reject)
      socket.on("close", () => reject(new Error(`redis: closed behind ${line}`)))
      socket.on("data", (octets) => {
        said += octets
        const [, answer, more] = said.split("\r\n")
        if (answer === undefined || more === undefined) return
        resolve(answer)
        socket.destroy()
      })
      socket.write(`${greeting}\r\n${line}\r\n`)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.resume()
    await this.kill()
    await this.#folder[Symbol.asyncDispose]()
  }

  #signal(child: ChildProcess | null, signal: NodeJS.Signals): void {
    if (child?.pid !== undefined && child.exitCode === null) process.kill(-child.pid, signal)
  }

  async #answers(): Promise<boolean> {
    try {
      return (await this.command("PING")) === "+PONG"
    } catch {
      return false
    }
  }
}

/** Runs the words behind it until standard input ends, which is when we are gone. */
const WATCH = 'exec 3<&0; "$@" </dev/null & server=$!; (cat <&3 >/dev/null; kill -9 $server 2>/dev/null) & wait $server'
