import { spawn } from "node:child_process"
import { once } from "node:events"
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir, userInfo } from "node:os"
import { join } from "node:path"
import { run } from "../harness/peers.ts"
import { freePorts } from "../harness/ports.ts"

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
    writeFileSync(join(folder, "etc", "master.cf"), masterConfiguration(port))
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
    compatibility_level: "3.6",
    queue_directory: join(folder, "spool"),
    data_directory: join(folder, "data"),
    command_directory: "/usr/sbin",
    daemon_directory: "/usr/lib/postfix/sbin",
    mail_owner: "postfix",
    setgid_group: "postdrop",
    inet_interfaces: "127.0.0.1",
    inet_protocols: "ipv4",
    myhostname: "bench.test",
    mydestination: "",
    mynetworks: "127.0.0.0/8",
    relayhost: `[127.0.0.1]:${sinkPort}`,
    maillog_file: join(folder, "maillog"),
    maillog_file_prefixes: folder,
    smtpd_client_connection_count_limit: "0",
    smtpd_client_connection_rate_limit: "0",
    smtpd_recipient_restrictions: "permit_mynetworks,reject",
    default_process_limit: "100",
    default_destination_concurrency_limit: "20",
    alias_maps: "",
    local_recipient_maps: "",
    message_size_limit: "60000000",
  })
    .map(([key, value]) => `${key} = ${value}\n`)
    .join("")
}

function masterConfiguration(port: number): string {
  const services = [
    "cleanup unix n - n - 0 cleanup",
    "qmgr unix n - n 300 1 qmgr",
    "rewrite unix - - n - - trivial-rewrite",
  ]
  services.push(
    "bounce unix - - n - 0 bounce",
    "defer unix - - n - 0 bounce",
    "trace unix - - n - 0 bounce",
    "smtp unix - - n - - smtp",
  )
  services.push(
    "tlsmgr unix - - n 1000? 1 tlsmgr",
    "proxymap unix - - n - - proxymap",
    "anvil unix - - n - 1 anvil",
    "scache unix - - n - 1 scache",
  )
  services.push(
    "error unix - - n - - error",
    "retry unix - - n - - error",
    "showq unix n - n - - showq",
    "postlog unix-dgram n - n - 1 postlogd",
  )
  return [`127.0.0.1:${port} inet n - n - 100 smtpd`, ...services, "pickup unix n - n 60 1 pickup"]
    .join("\n")
    .concat("\n")
}
