import type { ChildProcess } from "node:child_process"
import cluster from "node:cluster"
import { fileURLToPath } from "node:url"
import { GatewayError } from "../errors.ts"
import type { ImapListener } from "../imap-proxy/listener.ts"
import { Places } from "../imap-proxy/places.ts"
import type { MetricsSnapshot } from "../log/counters.ts"
import type { SeatReport } from "./asked-seats.ts"
import type { Core } from "./core.ts"
import { type ImapKind, imapKinds, imapLimits } from "./imap-limits.ts"
import type { Order, Report } from "./imap-orders.ts"
import type { LoginLimits, LoginNews } from "./login-limits.ts"
import { claim } from "./shared-ports.ts"
import type { LiveTls } from "./tls.ts"

/** A process that ends again and again is started less and less often. */
const FIRST_REST_MS = 100
const LAST_REST_MS = 30_000
/** One that ran this long ended for a new reason. */
const STABLE_MS = 60_000
/** Metrics of a process that is too busy to answer are left out. */
const ANSWER_MS = 1_000
/** For the end of a process, behind the end of its connections. */
const EXIT_MS = 500

/** What became of one IMAP process, for `/status`. */
export interface ImapProcessState {
  readonly pid: number
  readonly connections: number
}

/** What the main process has in common with those that serve. */
export interface ImapShared {
  readonly tls: LiveTls
  readonly loginLimits: LoginLimits
}

/**
 * Processes that serve IMAP. All accept from the same sockets, one connection in a turn of their event loops: of two that are idle each gets
 * about half (measured: 37 to 63 of a hundred), and who is busy leaves them to the others. This process counts those of all. A socket of
 * its own for each (SO_REUSEPORT) gives each a like share whoever is busy, and eight connections are three and five as often as not; handing
 * accepted connections over to the process that has the fewest cost 1.3 ms of CPU each, of some 5 ms for a login with TLS.
 */
export class ImapProcesses implements AsyncDisposable {
  readonly #core: Core
  readonly #places: Places
  readonly #processes: ImapProcess[]
  readonly #shared: ImapShared
  readonly #stopTelling: () => void
  #listeners: readonly ImapKind[] = []
  #ending = false

  /** Starts them; {@link listen} waits until they are ready. */
  constructor(core: Core, count: number, shared: ImapShared) {
    this.#core = core
    this.#shared = shared
    this.#places = new Places(imapLimits(core.config, count))
    this.#processes = Array.from({ length: count }, (_, index) => this.#start(`imap ${index + 1}`, FIRST_REST_MS))
    this.#stopTelling = core.counters.include(() => this.#snapshots())
    shared.tls.onChange(({ ticketKeys }) => this.#tellAll({ kind: "ticketKeys", ticketKeys: toText(ticketKeys) }))
    shared.loginLimits.onNews((news) => this.#tellAll({ kind: "login", news }))
  }

  /**
   * The IMAP listeners that the configuration names, when all processes serve them. Others of ours may listen on what is `held`.
   * @throws GatewayError LISTEN_FAILED, and what the first process that failed met
   */
  async listen(held: ReadonlySet<string>): Promise<[string, ImapListener][]> {
    await Promise.all(this.#processes.map((process) => process.ready))
    const listeners: ImapKind[] = []
    for (const kind of imapKinds(this.#core.config))
      listeners.push({ ...kind, ...(await claim(kind.name, kind, held)) })
    this.#listeners = listeners
    await Promise.all(this.#processes.map((process) => process.listen(listeners)))
    return listeners.map(({ name, host, port }) => [
      name,
      { address: () => ({ host, port }), close: (graceMs, spreadMs) => this.#drain(graceMs, spreadMs) },
    ])
  }

  /** Whether each of them serves. */
  get serving(): boolean {
    return this.#processes.every(({ serving }) => serving)
  }

  states(): ImapProcessState[] {
    return this.#processes.flatMap(({ pid, connections }) => (pid === undefined ? [] : [{ pid, connections }]))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#drain(0)
  }

  async #snapshots(): Promise<MetricsSnapshot[]> {
    const answers = await Promise.all(this.#processes.map((process) => process.metrics()))
    return answers.filter((answer) => answer !== null)
  }

  async #drain(graceMs: number, spreadMs = 0): Promise<void> {
    this.#ending = true
    await Promise.all(this.#processes.map((process) => process.drain(graceMs, spreadMs)))
    this.#stopTelling()
  }

  #tellAll(order: Order, but: ImapProcess | null = null): void {
    for (const process of this.#processes) if (process !== but) process.tell(order)
  }

  #start(name: string, restMs: number): ImapProcess {
    const startedMs = performance.now()
    const { tls, loginLimits } = this.#shared
    const secrets = { ticketKeys: toText(tls.current.ticketKeys), loginKey: toText(loginLimits.key) }
    const order: Order = { kind: "start", config: this.#core.config, name, secrets }
    const onNews = (from: ImapProcess, news: LoginNews): void => {
      void loginLimits.hear(news)
      this.#tellAll({ kind: "login", news }, from)
    }
    return new ImapProcess(order, this.#places, onNews, (process, how) => {
      const { log, counters } = this.#core
      if (process.lastSnapshot !== null) void counters.keep(process.lastSnapshot)
      if (this.#ending) return
      counters.add("postern_imap_worker_ends_total")
      const rest = performance.now() - startedMs > STABLE_MS ? FIRST_REST_MS : Math.min(restMs, LAST_REST_MS)
      log.error("imap.process.ended", { name, ...how, restartMs: rest })
      setTimeout(() => this.#restart(process, name, rest * 2), rest).unref()
    })
  }

  #restart(ended: ImapProcess, name: string, restMs: number): void {
    if (this.#ending) return
    const process = this.#start(name, restMs)
    this.#processes[this.#processes.indexOf(ended)] = process
    process.ready
      .then(() => process.listen(this.#listeners))
      .catch((error: unknown) => this.#core.log.error("imap.process.failed", { name }, error))
  }
}

type HowItEnded = { readonly code: number | null; readonly signal: string | null }

/** One process, from start to end. */
class ImapProcess {
  readonly #ready = Promise.withResolvers<void>()
  readonly #listening = Promise.withResolvers<void>()
  readonly #ended = Promise.withResolvers<void>()
  /** The metrics it told last. */
  lastSnapshot: MetricsSnapshot | null = null
  readonly #child: ChildProcess
  readonly #places: Places
  readonly #onNews: (process: ImapProcess, news: LoginNews) => void
  readonly #onEnd: (process: ImapProcess, how: HowItEnded) => void
  /** Places of its connections here, by those it counts itself. */
  readonly #taken = new Map<number, number>()
  readonly #questions = new Map<number, (snapshot: MetricsSnapshot) => void>()
  #state: "starting" | "serving" | "over" = "starting"
  #question = 0

  constructor(
    start: Order,
    places: Places,
    onNews: (process: ImapProcess, news: LoginNews) => void,
    onEnd: (process: ImapProcess, how: HowItEnded) => void,
  ) {
    this.#places = places
    this.#onNews = onNews
    this.#onEnd = onEnd
    // Whoever waits hears of it; nobody may be waiting any more when the start has failed for another reason.
    for (const { promise } of [this.#ready, this.#listening]) promise.catch(() => undefined)
    this.#child = startChild()
    this.#child.on("message", (reports: readonly Report[]) => {
      for (const report of reports) this.#take(report)
    })
    // A message to a process that has just gone; its end says the rest.
    this.#child.on("error", () => undefined)
    this.#child.once("exit", (code, signal) => this.#over({ code, signal }))
    this.tell(start)
  }

  /** Resolves when it could serve. @throws GatewayError: what it failed by */
  get ready(): Promise<void> {
    return this.#ready.promise
  }

  get pid(): number | undefined {
    return this.#state === "over" ? undefined : this.#child.pid
  }

  get serving(): boolean {
    return this.#state === "serving"
  }

  get connections(): number {
    return this.#taken.size
  }

  tell(order: Order): void {
    if (this.#child.connected) this.#child.send(order)
  }

  /** Resolves when it serves. @throws GatewayError LISTEN_FAILED */
  listen(listeners: readonly ImapKind[]): Promise<void> {
    this.tell({ kind: "listen", listeners })
    return this.#listening.promise
  }

  /** null: no answer in time. */
  metrics(): Promise<MetricsSnapshot | null> {
    if (!this.serving) return Promise.resolve(null)
    this.#question += 1
    const question = this.#question
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#questions.delete(question)
        resolve(null)
      }, ANSWER_MS)
      this.#questions.set(question, (snapshot) => {
        clearTimeout(timer)
        resolve(snapshot)
      })
      this.tell({ kind: "metrics", question })
    })
  }

  /** Resolves when it has ended; killed when that takes too long. */
  async drain(graceMs: number, spreadMs: number): Promise<void> {
    if (this.#state === "over") return
    this.tell({ kind: "drain", graceMs, spreadMs })
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), graceMs + EXIT_MS)
    await this.#ended.promise
    clearTimeout(timer)
  }

  #take(report: Report): void {
    switch (report.kind) {
      case "ready":
        this.#ready.resolve()
        break
      case "failed":
        this.#fail(new GatewayError(report.code ?? "STATE_CORRUPT", report.message))
        break
      case "listening":
        this.#state = "serving"
        this.#listening.resolve()
        break
      case "enter":
        this.#entered(report.place, report.address)
        break
      case "logIn":
        void this.#seat(report)
        break
      case "left":
        this.#left(report.place)
        break
      case "login":
        this.#onNews(this, report.news)
        break
      case "metrics":
        this.lastSnapshot = report.snapshot
        this.#questions.get(report.question)?.(report.snapshot)
        this.#questions.delete(report.question)
    }
  }

  /** Whoever waits for it to serve waits in vain. */
  #fail(error: GatewayError): void {
    this.#ready.reject(error)
    this.#listening.reject(error)
  }

  #over(how: HowItEnded): void {
    this.#state = "over"
    for (const place of this.#taken.values()) this.#places.leave(place)
    this.#taken.clear()
    this.#fail(
      new GatewayError("STATE_CORRUPT", `imap process ended at its start (${how.signal ?? `exit ${how.code}`})`),
    )
    this.#onEnd(this, how)
    this.#ended.resolve()
  }

  #entered(place: number, address: string): void {
    const taken = this.#places.enter(address)
    if (typeof taken === "number") this.#taken.set(place, taken)
    else this.tell({ kind: "evict", place, limit: taken })
  }

  async #seat({ place, account, device, ask }: SeatReport & { kind: "logIn" }): Promise<void> {
    const taken = this.#taken.get(place)
    // One that is being evicted hears of it otherwise.
    if (taken === undefined) return
    const refusal = await this.#places.logIn(taken, account, device, !ask)
    if (ask) this.tell({ kind: "seat", place, refusal })
  }

  #left(place: number): void {
    const taken = this.#taken.get(place)
    if (taken !== undefined) this.#places.leave(taken)
    this.#taken.delete(place)
  }
}

/** A process that listens on what its siblings listen on: the sockets are this one's, which does not accept from them. */
function startChild(): ChildProcess {
  cluster.schedulingPolicy = cluster.SCHED_NONE
  cluster.setupPrimary({
    exec: fileURLToPath(new URL(PROGRAM, import.meta.url)),
    args: [],
    execArgv: [...process.execArgv, ...FLAGS],
  })
  const worker = cluster.fork()
  // It says again what its process says, where it is heard.
  worker.on("error", () => undefined)
  return worker.process
}

function toText(octets: Uint8Array): string {
  return Buffer.from(octets).toString("base64")
}

/** JavaScript in a packed package. */
const PROGRAM = import.meta.url.endsWith(".ts") ? "imap-process.ts" : "imap-process.js"
/**
 * Young objects get 4 MiB instead of up to 32 (twice): with some thousand connections the rest of the heap is 70 MiB. Measured with
 * 1,000 idle connections: 94 KB each without, 71 with it. What it does to the speed of fetching could not be told from noise.
 */
const FLAGS: readonly string[] = ["--max-semi-space-size=4"]
