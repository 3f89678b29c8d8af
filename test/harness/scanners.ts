import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs"
import { connect } from "node:net"
import { EICAR } from "./fake-clamd.ts"
import { type TemporaryFolder, temporaryFolder } from "./peers.ts"
import { freePorts } from "./ports.ts"

/** A scanner of the test's own. */
abstract class Running implements AsyncDisposable {
  protected readonly folder: TemporaryFolder
  readonly #child: ChildProcess
  #output = ""

  protected constructor(folder: TemporaryFolder, command: string, args: readonly string[]) {
    this.folder = folder
    this.#child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] })
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.on("data", (octets) => {
        this.#output += octets
      })
  }

  /** Everything it wrote so far. */
  get output(): string {
    return this.#output
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = once(this.#child, "exit")
    this.#child.kill("SIGTERM")
    await ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    await this.folder[Symbol.asyncDispose]()
  }

  /** It tells nobody when it is ready. */
  protected async accepting(where: number | string): Promise<void> {
    const end = Date.now() + 30_000
    while (!(await accepts(where))) {
      if (this.#child.exitCode !== null || Date.now() > end) throw new Error(`does not accept: ${this.#output}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}

/** ClamAV's daemon, which knows the EICAR test string and nothing else. */
export class Clamd extends Running {
  get socket(): string {
    return this.folder.file("clamd.ctl")
  }

  /** `streamMaxLength` as clamd.conf(5) has it. */
  static async start(streamMaxLength = "100M"): Promise<Clamd> {
    const folder = await temporaryFolder()
    mkdirSync(folder.file("db"))
    // A body signature: name, any file type, anywhere, the octets.
    writeFileSync(folder.file("db/eicar.ndb"), `Eicar-Test-Signature:0:*:${Buffer.from(EICAR).toString("hex")}\n`)
    writeFileSync(
      folder.file("clamd.conf"),
      `DatabaseDirectory ${folder.file("db")}
LocalSocket ${folder.file("clamd.ctl")}
TemporaryDirectory ${folder.path}
Foreground yes
StreamMaxLength ${streamMaxLength}
`,
    )
    // A copy: Debian's AppArmor profile keeps /usr/sbin/clamd from other folders than its own.
    copyFileSync("/usr/sbin/clamd", folder.file("clamd"))
    const clamd = new Clamd(folder, folder.file("clamd"), ["-c", folder.file("clamd.conf")])
    await clamd.accepting(clamd.socket)
    return clamd
  }
}

/** rspamd's normal worker with one rule: `Subject: score N` is worth N. From 4 it is `greylist`, from 6 `add header`, from 15 `reject`. */
export class Rspamd extends Running {
  #port = 0

  get port(): number {
    return this.#port
  }

  /** What it was told beside the message, of each: sender, recipients, address, HELO, id and user. */
  get facts(): readonly string[] {
    return [...this.output.matchAll(/FACTS (.*?) END/g)].map(([, facts = ""]) => facts)
  }

  static async start(): Promise<Rspamd> {
    const folder = await temporaryFolder()
    const [port = 0] = await freePorts(1)
    // Its own list of top-level domains takes it half a minute to compile.
    writeFileSync(folder.file("tld"), "com\ntest\n")
    writeFileSync(folder.file("rules.lua"), RULES)
    writeFileSync(folder.file("rspamd.conf"), settings(folder, port))
    // -i: as root, where the tests are; as anybody else it means nothing.
    const rspamd = new Rspamd(folder, "rspamd", ["-f", "-i", "-c", folder.file("rspamd.conf")])
    rspamd.#port = port
    await rspamd.accepting(port)
    return rspamd
  }
}

function settings({ file, path }: TemporaryFolder, port: number): string {
  return `options {
  pidfile = "${file("pid")}";
  filters = "";
  cache_file = "${file("symbols.cache")}";
  history_file = "${file("history")}";
  hs_cache_dir = "${path}";
  tempdir = "${path}";
  url_tld = "${file("tld")}";
  dns { nameserver = "127.0.0.1:1"; timeout = 0.1s; retransmits = 1; }
}
logging { type = "console"; level = "info"; }
worker "normal" { bind_socket = "127.0.0.1:${port}"; count = 1; mime = true; }
actions { reject = 15; add_header = 6; greylist = 4; }
metric "default" { symbol "TEST_SCORE" { score = 1; } }
lua = "${file("rules.lua")}";
`
}

const RULES = `
local logger = require "rspamd_logger"
rspamd_config:register_symbol({ name = "TEST_SCORE", type = "normal", callback = function(task)
  local from, to = task:get_from("smtp"), task:get_recipients("smtp")
  local told = { from and from[1].addr or "nil", to and #to or 0, tostring(task:get_ip()), task:get_helo(), task:get_queue_id(), task:get_user() or "nil" }
  logger.infox(task, "FACTS %s END", table.concat(told, " "))
  local points = (task:get_subject() or ""):match("^score (%d+)$")
  if points then return true, tonumber(points) end
end })
`

function accepts(where: number | string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = typeof where === "number" ? connect(where, "127.0.0.1") : connect(where)
    socket.once("error", () => resolve(false))
    socket.once("connect", () => {
      socket.destroy()
      resolve(true)
    })
  })
}
