import { getCompileCacheDir } from "node:module"
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from "node:worker_threads"
import { GatewayError } from "../../errors.ts"
import { type CommitsReachDisk, numberIn, type Sql, type SqlValue, type State } from "../database.ts"
import { ANSWER_MS, type Answer, Cells, type Failure, type Order, type Statement, type ThreadData } from "./channel.ts"
import type { PostgresStore } from "./connection.ts"

/** A schema may have to be changed first. */
const OPEN_MS = 70_000
const CLOSE_MS = 1_000
/** Names the lock that every writing transaction holds: one writer at a time, as with SQLite. */
const WRITE_LOCK = 7_067_602

type Rows = Answer & { readonly kind: "rows" }

/**
 * The state in PostgreSQL, for several machines. Whoever asks stands still until the answer is there, as with SQLite; the connection is
 * another thread's (./thread.ts). No call takes longer than ANSWER_MS. When an answer did not come the connection is given up, and until there is
 * another every call fails at once with STATE_AWAY: a server that is lost does not hold up the event loop twice.
 */
export class PostgresState implements State {
  readonly sql: Sql = {
    get: (strings, ...values) => this.#ask(this.#prepared(strings), values).rows[0],
    all: (strings, ...values) => this.#ask(this.#prepared(strings), values).rows,
    run: (strings, ...values) => ({ changes: this.#ask(this.#prepared(strings), values).changes }),
  }
  readonly #cells = new Cells()
  readonly #port: MessagePort
  readonly #worker: Worker
  readonly #statements = new WeakMap<TemplateStringsArray, Statement>()
  #prepares = 0
  #asked = 0
  /** The connection that the transaction is on; null outside of one. */
  #transaction: number | null = null
  #lastLoss: Failure | null = null
  #open = true

  private constructor(store: PostgresStore) {
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    const data: ThreadData & { port: MessagePort } = { store, cells: this.#cells.buffer, port: port2 }
    this.#worker = new Worker(new URL(THREAD, import.meta.url), {
      workerData: data,
      transferList: [port2],
      // Those of this process may be about its own first file.
      execArgv: [],
      // A third of the thread's start: it is switched on before its first file is read.
      env: { ...process.env, ...compileCache() },
    })
    // An error that the thread does not catch ends the process: without it nothing works any more.
    this.#worker.unref()
  }

  /**
   * Connects, and brings the database to the newest schema.
   * @throws GatewayError STATE_AWAY, STATE_VERSION, STATE_CORRUPT, STATE_REFUSED, CONFIG_INVALID
   */
  static open(store: PostgresStore): PostgresState {
    const state = new PostgresState(store)
    try {
      state.#taken(state.#await(0, OPEN_MS), "connect")
      return state
    } catch (error) {
      state.close()
      throw error
    }
  }

  transaction<T>(act: () => T, reachDisk: CommitsReachDisk = "at once"): T {
    if (this.#transaction !== null) return act()
    this.#transaction = this.#connection("begin")
    try {
      const value = this.#acted(() => {
        this.#ask(BEGIN[reachDisk], [])
        return act()
      })
      this.#commit()
      return value
    } finally {
      this.#transaction = null
    }
  }

  changeSequence(): number {
    // Within a transaction nobody else writes, and what it changed itself is nobody's to be told yet.
    const known = this.#transaction === null ? this.#cells.sequence : null
    return known ?? numberIn(this.sql.get`SELECT sequence FROM change`, "sequence")
  }

  get connection(): number {
    return this.#cells.connection
  }

  get isOpen(): boolean {
    return this.#open
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    const id = ++this.#asked
    this.#tell({ kind: "end", id })
    this.#await(id, CLOSE_MS)
    this.#port.close()
    void this.#worker.terminate()
  }

  #acted<T>(act: () => T): T {
    try {
      return act()
    } catch (error) {
      this.#rollBack()
      throw error
    }
  }

  /** What cannot be rolled back is given up with its connection: the server forgets it then. */
  #rollBack(): void {
    try {
      this.#ask(ROLLBACK, [])
    } catch {
      // What it was rolled back for is the error to tell.
      this.#giveUp(this.#transaction ?? 0)
    }
  }

  #commit(): void {
    this.#cells.doubt()
    const { command } = this.#ask(COMMIT, [])
    if (command !== "COMMIT")
      throw new GatewayError("STATE_REFUSED", "postgres: transaction rolled back: a statement in it had failed")
  }

  #ask(statement: Statement, values: readonly SqlValue[]): Rows {
    const connection = this.#connection(statement.boundary ?? "query")
    const id = ++this.#asked
    // Octets alone, without the pool of memory that they may be a part of.
    const own = values.map((value) => (value instanceof Uint8Array ? new Uint8Array(value) : value))
    this.#tell({ kind: "query", id, connection, statement, values: own })
    const answer = this.#await(id, ANSWER_MS)
    if (answer === null) this.#giveUp(connection)
    return this.#taken(answer, statement.boundary ?? "query")
  }

  /** The connection to ask on. @throws GatewayError STATE_AWAY when there is none, or another than the transaction's */
  #connection(what: string): number {
    const connection = this.#cells.connection
    if (!this.#open) throw new GatewayError("STATE_AWAY", `postgres: ${what}: the state is closed`)
    if (connection !== 0 && connection === (this.#transaction ?? connection)) return connection
    this.#drain()
    throw this.#transaction === null
      ? errorOf(this.#lastLoss ?? NO_CONNECTION)
      : new GatewayError("STATE_AWAY", `postgres: ${what}: the connection was lost within the transaction`)
  }

  #taken(answer: (Answer & { readonly kind: "rows" | "failed" }) | null, what: string): Rows {
    if (answer?.kind === "rows") return answer
    const unknown = what === "commit" ? ": whether the transaction took place is unknown" : ""
    if (answer === null) throw new GatewayError("STATE_AWAY", `postgres: ${what}: no answer in time${unknown}`)
    const error = errorOf(answer.failure)
    if (unknown === "" || !answer.sent || error.code !== "STATE_AWAY") throw error
    throw new GatewayError(error.code, `${error.message}${unknown}`, { cause: error })
  }

  /** Stands still for the answer to `id`. @returns null when it did not come in time */
  #await(id: number, ms: number): (Answer & { readonly kind: "rows" | "failed" }) | null {
    const end = performance.now() + ms
    for (;;) {
      const answers = this.#cells.answers
      const answer = this.#drain(id)
      if (answer !== null) return answer
      if (!this.#cells.waitForAnswer(answers, Math.max(0, end - performance.now()))) return this.#drain(id)
    }
  }

  /** Takes what has arrived, up to the answer to `id`. Answers that nobody waits for any more are dropped. */
  #drain(id: number | null = null): (Answer & { readonly kind: "rows" | "failed" }) | null {
    for (;;) {
      const received: { readonly message: Answer } | undefined = receiveMessageOnPort(this.#port)
      if (received === undefined) return null
      const { message } = received
      if (message.kind === "lost") this.#lastLoss = message.failure
      else if (message.id === id) return message
    }
  }

  #giveUp(connection: number): void {
    // At once: what is asked next must not wait for the thread to notice.
    if (this.#cells.connection === connection) this.#cells.connection = 0
    this.#tell({ kind: "giveUp", connection })
  }

  #tell(order: Order): void {
    this.#port.postMessage(order)
  }

  #prepared(strings: TemplateStringsArray): Statement {
    const known = this.#statements.get(strings)
    if (known !== undefined) return known
    const text = strings.reduce((before, part, index) => `${before}$${index}${part}`)
    const made = { text, name: `s${++this.#prepares}`, boundary: null }
    this.#statements.set(strings, made)
    return made
  }
}

function compileCache(): NodeJS.ProcessEnv {
  const folder = getCompileCacheDir()
  return folder === undefined ? {} : { NODE_COMPILE_CACHE: folder }
}

function errorOf({ code, message, cause }: Failure): GatewayError {
  return new GatewayError(code, message, cause === "" ? {} : { cause: new Error(cause) })
}

const NO_CONNECTION: Failure = { code: "STATE_AWAY", message: "postgres: no connection", cause: "" }
const BEGIN_TEXT = `BEGIN; SELECT pg_advisory_xact_lock(${WRITE_LOCK})`
const BEGIN: Readonly<Record<CommitsReachDisk, Statement>> = {
  "at once": { text: BEGIN_TEXT, name: null, boundary: "begin" },
  later: { text: `${BEGIN_TEXT}; SET LOCAL synchronous_commit = off`, name: null, boundary: "begin" },
}
const COMMIT: Statement = { text: "COMMIT", name: null, boundary: "commit" }
const ROLLBACK: Statement = { text: "ROLLBACK", name: null, boundary: "rollback" }
/** JavaScript in a packed package. */
const THREAD = import.meta.url.endsWith(".ts") ? "thread.ts" : "thread.js"
