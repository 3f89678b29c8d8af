import { spawn } from "node:child_process"
import { once } from "node:events"
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir, userInfo } from "node:os"
import { join } from "node:path"
import { run } from "../harness/peers.ts"
import { freePorts } from "../harness/ports.ts"
import { baseSettings, services } from "../harness/postfix.ts"

/** A Postfix of our own: accepts for anybody on loopback, hands every message in clear to a sink. */
export class PostfixToSink implements AsyncDisposable {
  readonly port: number
  readonly #folder: string
  readonly #sink

  private constructor(folder: string, port: number, sink: ReturnType<typeof spawn>) {
    this.#folder = folder
    this.port = port
    this.#sink = sink
  }

  static async start(): Promise<PostfixToSink> {
    const [port, sinkPort] = await freePorts(2)
    if (port === undefined || sinkPort === undefined) throw new Error("no ports")
    // Queue and mail store stand on the same disk as ours: both sides pay for the same fsync.
    const folder = mkdtempSync(join(tmpdir(), "postern-postfix-"))
    chmodSync(folder, 0o755)
    for (const name of ["etc", "spool", "data"]) mkdirSync(join(folder, name))
    const { stdout } = await run("id", ["-u", "postfix"])
    chownSync(join(folder, "data"), Number(Buffer.from(stdout).toString()), 0)
    writeFileSync(join(folder, "etc", "main.cf"), mainConfiguration(folder, sinkPort))
    writeFileSync(join(folder, "etc", "master.cf"), services([`127.0.0.1:${port} inet n - n - 100 smtpd`]))
    const sink = spawn(
      "smtp-sink",
      ["-u", userInfo().username === "root" ? "nobody" : userInfo().username, `127.0.0.1:${sinkPort}`, "1024"],
      { stdio: "ignore" },
    )
    const started = await run("postfix", ["-c", join(folder, "etc"), "start"])
    if (started.code !== 0) throw new Error(`postfix: ${started.stderr}`)
    return new PostfixToSink(folder, port, sink)
  }

  /** Messages that have not reached the sink yet. */
  queued(): number {
    return ["maildrop", "incoming", "active", "deferred"].reduce(
      (sum, queue) => sum + files(join(this.#folder, "spool", queue)),
      0,
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run("postfix", ["-c", join(this.#folder, "etc"), "stop"])
    const ended = once(this.#sink, "exit")
    this.#sink.kill("SIGKILL")
    await ended
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

function files(folder: string): number {
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).length
  } catch (error) {
    // The queue folder is made by Postfix at its start, and its files come and go while we count.
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return 0
    throw error
  }
}

function mainConfiguration(folder: string, sinkPort: number): string {
  return Object.entries({
    ...baseSettings(folder),
    inet_interfaces: "127.0.0.1",
    inet_protocols: "ipv4",
    myhostname: "bench.test",
    mynetworks: "127.0.0.0/8",
    relayhost: `[127.0.0.1]:${sinkPort}`,
    smtpd_client_connection_count_limit: "0",
    smtpd_client_connection_rate_limit: "0",
    smtpd_recipient_restrictions: "permit_mynetworks,reject",
    default_process_limit: "100",
    default_destination_concurrency_limit: "20",
    local_recipient_maps: "",
    message_size_limit: "60000000",
  })
    .map(([key, value]) => `${key} = ${value}\n`)
    .join("")
}
