import { type Stats, unwatchFile, watchFile } from "node:fs"
import type { Config } from "../config/config.ts"
import { GatewayError } from "../errors.ts"
import { Counters } from "../log/counters.ts"
import { createLog } from "../log/written.ts"
import { imapProcessesOf } from "./imap-limits.ts"
import type { Running } from "./roles.ts"
import { SHARES_PORTS } from "./shared-ports.ts"

/** What a gateway has from the one before it. */
export interface Inherited {
  readonly counters: Counters
  /** `host:port` of what that one listens on, until it retires. */
  readonly held: ReadonlySet<string>
}

type Start = (config: Config, inherited: Inherited) => Promise<Running>

/** How often the configuration file is looked at; and how long it must stay as it is, since editors write in pieces. */
const LOOK_MS = 1_000

/**
 * The gateway of this process. A changed configuration makes a second one beside it, whole, on the same ports; when that serves, the first
 * takes nothing new, finishes what it has, and ends. If the second cannot start, for whatever reason, nothing has changed. So keys can
 * be changed, somebody listens at every moment, and there is no mixture of the old configuration and the new. Who connects to the first in
 * the very turn of the event loop in which it stops is cut off, and comes again: the system gives no such connection to another socket.
 * One key takes a restart: whether IMAP has processes of its own, since a socket that they share cannot be beside one that is not.
 */
export class LiveGateway implements AsyncDisposable {
  readonly #load: () => Config
  readonly #start: Start
  readonly #counters: Counters
  readonly #retired = new Set<Retired>()
  readonly #hangup = (): void => this.#queue(() => this.#reload("signal"))
  #config: Config
  #current: Running
  #turn: Promise<void> = Promise.resolve()
  #settling: NodeJS.Timeout | undefined
  #ending = false

  private constructor(load: () => Config, start: Start, config: Config, current: Running, counters: Counters) {
    this.#load = load
    this.#start = start
    this.#counters = counters
    this.#config = config
    this.#current = current
    process.on("SIGHUP", this.#hangup)
    watchFile(config.file, { interval: LOOK_MS, persistent: false }, this.#changed)
  }

  /** @throws GatewayError CONFIG_INVALID, and what `start` throws */
  static async start(load: () => Config, start: Start): Promise<LiveGateway> {
    const config = load()
    const counters = new Counters()
    return new LiveGateway(load, start, config, await start(config, { counters, held: new Set() }), counters)
  }

  /** `name=host:port` of each listener. */
  get listeners(): readonly string[] {
    return this.#current.listeners
  }

  /** Ends what retires already, too. */
  async drain(graceMs: number): Promise<void> {
    await this.#stop()
    await Promise.all(
      [this.#current, ...[...this.#retired].map(({ running }) => running)].map((one) => one.drain(graceMs)),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop()
    await Promise.all([...this.#retired].map(({ gone }) => gone))
    await this.#current[Symbol.asyncDispose]()
  }

  /** No reload begins from here on; one under way is waited for. */
  async #stop(): Promise<void> {
    this.#ending = true
    process.off("SIGHUP", this.#hangup)
    unwatchFile(this.#config.file, this.#changed)
    clearTimeout(this.#settling)
    await this.#turn
  }

  readonly #changed = (now: Stats, before: Stats): void => {
    if (now.mtimeMs === before.mtimeMs && now.size === before.size && now.ino === before.ino) return
    clearTimeout(this.#settling)
    this.#settling = setTimeout(() => this.#queue(() => this.#reload("file")), LOOK_MS).unref()
  }

  #queue(act: () => Promise<void>): void {
    this.#turn = this.#turn.then(() => (this.#ending ? undefined : act()))
  }

  /** By a signal also when the file is the same: what it names may have changed. */
  async #reload(why: "signal" | "file"): Promise<void> {
    const log = createLog(this.#config.logLevel)
    try {
      const config = this.#load()
      const changed = changedKeys(this.#config, config)
      if (why === "file" && changed.length === 0) return
      await this.#succeed(config)
      this.#counters.add("postern_config_reloads_total", { outcome: "ok" })
      log.info("config.reloaded", { why, changed, listeners: this.#current.listeners })
    } catch (error) {
      this.#counters.add("postern_config_reloads_total", { outcome: "failed" })
      const reason = error instanceof Error ? error.message : String(error)
      log.error("config.not-reloaded", { why, reason }, error instanceof GatewayError ? undefined : error)
    }
  }

  async #succeed(config: Config): Promise<void> {
    if (!SHARES_PORTS) throw new GatewayError("LISTEN_FAILED", "this system does not share ports: restart the server")
    if (isImapApart(config) !== isImapApart(this.#config))
      throw new GatewayError("LISTEN_FAILED", "limits.imapProcesses: from one to several, or back, takes a restart")
    const held = new Set(this.#current.listeners.map((listener) => listener.slice(listener.indexOf("=") + 1)))
    const successor = await this.#start(config, { counters: this.#counters, held })
    const predecessor = this.#current
    this.#current = successor
    this.#config = config
    // One generation is left to its devices at a time.
    for (const { running } of this.#retired) void running.drain(HURRY_MS)
    this.#retire(predecessor)
    // Its listeners stop behind two turns of the event loop.
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate)
  }

  #retire(running: Running): void {
    const gone = running
      .retire()
      .then(() => running[Symbol.asyncDispose]())
      .catch((error: unknown) => createLog(this.#config.logLevel).error("config.not-retired", {}, error))
      .finally(() => this.#retired.delete(retired))
    const retired: Retired = { running, gone }
    this.#retired.add(retired)
  }
}

interface Retired {
  readonly running: Running
  readonly gone: Promise<void>
}

/** What retires when the next one does, too. */
const HURRY_MS = 10_000

function isImapApart(config: Config): boolean {
  return imapProcessesOf(config) > 1
}

/** The keys that differ, as `table.key`, without what they hold. */
export function changedKeys(before: object, after: object): string[] {
  const [old, now] = [new Map(leaves(before)), new Map(leaves(after))]
  return [...new Set([...old.keys(), ...now.keys()])].filter((key) => old.get(key) !== now.get(key)).toSorted()
}

/** Two levels deep, which is how deep tables are. */
function leaves(config: object): [string, string][] {
  return Object.entries(config).flatMap(([key, value]: [string, unknown]): [string, string][] =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.entries(value).map(([name, one]) => [`${key}.${name}`, JSON.stringify(one) ?? ""])
      : [[key, JSON.stringify(value) ?? ""]],
  )
}
