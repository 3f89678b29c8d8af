import { Socket } from "node:net"
import { type MessagePort, workerData } from "node:worker_threads"
import pg from "pg"
import { GatewayError } from "../../errors.ts"
import {
  ANSWER_MS,
  type Answer,
  Cells,
  type Failure,
  LOOK_MS,
  MAX_SKEW_MS,
  type Order,
  type ThreadData,
} from "./channel.ts"
import { CONNECT_MS, connectionOptions, type PostgresStore, postgresError } from "./connection.ts"
import { isMigrated, migrate } from "./migrate.ts"
import { CHANGE_CHANNEL, POSTGRES_STATE_MIGRATIONS } from "./state-schema.ts"
import { COLUMN_TYPES } from "./types.ts"

const MIGRATING_MS = 60_000
/** After each connection that did not come about the rest doubles. */
const FIRST_REST_MS = 50
const LAST_REST_MS = 2_000

/** One connection to the server, of a thread of its own: the thread that asks stands still until it has its answer (./state.ts). */
class StateThread {
  readonly #port: MessagePort
  readonly #store: PostgresStore
  readonly #cells: Cells
  readonly #looks: NodeJS.Timeout
  /** null: there is none, or none yet. */
  #link: Link | null = null
  #connections = 0
  #ended = false

  constructor(port: MessagePort, store: PostgresStore, cells: Cells) {
    this.#port = port
    this.#store = store
    this.#cells = cells
    this.#looks = setInterval(() => this.#look(), LOOK_MS)
  }

  /** The first connection: whether it came about is answer 0. */
  async start(): Promise<void> {
    try {
      await this.#connect()
      this.#answer({ kind: "rows", id: 0, rows: [], changes: 0, command: "" })
    } catch (error) {
      this.#answer({ kind: "failed", id: 0, failure: failureOf(error, "connect"), sent: false })
    }
  }

  obey(order: Order): void {
    if (order.kind === "query") void this.#query(order)
    else if (order.kind === "end") void this.#end(order.id)
    else if (this.#link?.number === order.connection) this.#link.cut()
  }

  async #query(order: Order & { kind: "query" }): Promise<void> {
    const { id, statement, values } = order
    const link = this.#link
    if (link === null || link.number !== order.connection) {
      const failure = failureOf(new Error("no connection"), "query")
      this.#answer({ kind: "failed", id, failure, sent: false })
      return
    }
    try {
      if (statement.boundary === "begin") link.inTransaction = true
      const name = statement.name === null ? {} : { name: statement.name }
      const result = await link.query({ text: statement.text, values: [...values], ...name })
      if (statement.boundary === "commit") await this.#committed(link)
      // Several statements have several results.
      const { rows = [], rowCount = 0, command = "" } = Array.isArray(result) ? {} : result
      this.#answer({ kind: "rows", id, rows, changes: rowCount ?? 0, command })
    } catch (error) {
      this.#answer({ kind: "failed", id, failure: failureOf(error, statement.boundary ?? "query"), sent: true })
    } finally {
      if (statement.boundary === "commit" || statement.boundary === "rollback") link.inTransaction = false
      // Within the transaction nothing was looked at.
      if (statement.boundary === "rollback") this.#look()
    }
  }

  /** Whoever changed something must find the sequence moved at once. */
  async #committed(link: Link): Promise<void> {
    this.#cells.doubt()
    // It is committed, whatever comes of the look.
    await link.look(this.#cells).catch(() => link.cut())
  }

  #look(): void {
    const link = this.#link
    // Within a transaction its own changes would be seen, too.
    if (link === null || link.inTransaction) return
    link.look(this.#cells).catch((error: unknown) => {
      this.#answer({ kind: "lost", failure: failureOf(error, "look") })
      link.cut()
    })
  }

  async #connect(): Promise<void> {
    const link = new Link(this.#store, this.#connections + 1)
    link.client.on("notification", () => this.#look())
    await link.open(this.#cells)
    if (this.#ended) return link.cut()
    this.#connections = link.number
    this.#link = link
    this.#cells.connection = link.number
    void link.lost.then((error) => this.#lost(link, error))
  }

  #lost(link: Link, error: unknown): void {
    if (this.#link !== link) return
    this.#cells.connection = 0
    this.#link = null
    this.#answer({ kind: "lost", failure: failureOf(error, "connection") })
    this.#reconnect(FIRST_REST_MS)
  }

  #reconnect(restMs: number): void {
    const again = async (): Promise<void> => {
      if (this.#ended) return
      try {
        await this.#connect()
      } catch (error) {
        this.#answer({ kind: "lost", failure: failureOf(error, "connect") })
        this.#reconnect(Math.min(restMs * 2, LAST_REST_MS))
      }
    }
    setTimeout(() => void again(), restMs)
  }

  async #end(id: number): Promise<void> {
    this.#ended = true
    clearInterval(this.#looks)
    const link = this.#link
    this.#link = null
    this.#cells.connection = 0
    await link?.close()
    this.#answer({ kind: "rows", id, rows: [], changes: 0, command: "" })
    this.#port.close()
  }

  #answer(answer: Answer): void {
    this.#port.postMessage(answer)
    this.#cells.answered()
  }
}

/** One connection, from its first octet to its last. */
class Link {
  readonly number: number
  readonly client: pg.Client
  /** Resolves with the reason when it is gone. */
  readonly lost: Promise<unknown>
  inTransaction = false
  readonly #socket = new Socket()
  /** The end of what is being asked. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(store: PostgresStore, number: number) {
    this.number = number
    this.client = new pg.Client({
      ...connectionOptions(store, "state"),
      types: COLUMN_TYPES,
      // Ours, so that it can be cut whatever pg waits for.
      stream: () => this.#socket,
    })
    this.lost = new Promise((resolve) => {
      this.client.once("error", resolve)
      this.client.once("end", () => resolve(new Error("connection ended")))
      // What comes after the first is of the same death.
      this.client.on("error", () => undefined)
    })
  }

  /** Ready when the schema is there, changes are listened for, and the sequence is known. */
  async open(cells: Cells): Promise<void> {
    const { client } = this
    const migrations = POSTGRES_STATE_MIGRATIONS
    try {
      await this.#within(CONNECT_MS, () => client.connect())
      if (!(await this.#within(ANSWER_MS, () => isMigrated(client, "state", migrations))))
        await this.#within(MIGRATING_MS, () => migrate(client, "state", migrations))
      // Before the look: no change falls between the two.
      await this.query({ text: `LISTEN ${CHANGE_CHANNEL}` }, ANSWER_MS)
      await this.look(cells)
    } catch (error) {
      this.cut()
      throw error
    }
  }

  /** One at a time. @param ms after which the connection is given up; whoever gives none looks after that himself */
  query<Row extends pg.QueryResultRow>(query: pg.QueryConfig, ms: number | null = null): Promise<pg.QueryResult<Row>> {
    const ask = () => this.client.query<Row>(query)
    const asked = this.#turn.then(() => (ms === null ? ask() : this.#within(ms, ask)))
    this.#turn = asked.catch(() => undefined)
    return asked
  }

  /** Asks for the change sequence. @throws GatewayError STATE_AWAY when the clocks differ too much; what `pg` throws */
  async look(cells: Cells): Promise<void> {
    const [askedAt, before] = [process.hrtime.bigint(), Date.now()]
    const { rows } = await this.query<{ sequence: number; now: number }>(LOOK, ANSWER_MS)
    const [row] = rows
    if (row === undefined) throw new GatewayError("STATE_CORRUPT", "postgres: the change sequence is gone")
    refuseSkew(before - row.now, row.now - Date.now())
    cells.confirm(row.sequence, askedAt)
  }

  cut(): void {
    this.#socket.destroy()
  }

  async close(): Promise<void> {
    const timer = setTimeout(() => this.cut(), CLOSE_MS)
    await this.client.end()
    clearTimeout(timer)
    this.cut()
  }

  async #within<T>(ms: number, act: () => Promise<T>): Promise<T> {
    const timer = setTimeout(() => this.cut(), ms)
    try {
      return await act()
    } finally {
      clearTimeout(timer)
    }
  }
}

/** Who was silent for how long is told by clocks. `ahead`, `behind`: of this machine's against the server's, milliseconds at least. */
function refuseSkew(ahead: number, behind: number): void {
  const skew = Math.max(ahead, behind)
  if (skew <= MAX_SKEW_MS) return
  const how = ahead > behind ? "ahead of" : "behind"
  throw new GatewayError("STATE_AWAY", `postgres: this machine's clock is ${skew / 1000} s ${how} the server's`)
}

function failureOf(error: unknown, what: string): Failure {
  const { code, message, cause } = postgresError(error, what)
  return {
    code: isCrossing(code) ? code : "STATE_AWAY",
    message,
    cause: cause instanceof Error ? cause.message : "",
  }
}

function isCrossing(code: string): code is Failure["code"] {
  return ["STATE_REFUSED", "STATE_VERSION", "STATE_CORRUPT", "CONFIG_INVALID"].includes(code)
}

const LOOK = {
  name: "look",
  text: "SELECT sequence, (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now FROM change",
}
const CLOSE_MS = 500

// What the thread that made us gave us.
const { port, store, cells } = workerData as ThreadData & { readonly port: MessagePort }
const thread = new StateThread(port, store, new Cells(cells))
port.on("message", (order: Order) => thread.obey(order))
await thread.start()
