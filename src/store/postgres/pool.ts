import { Socket } from "node:net"
import {
  type ClientConfig,
  Pool,
  type PoolClient,
  type PoolConfig,
  type QueryConfig,
  type QueryResult,
  type QueryResultRow,
} from "pg"
import { systemCode } from "../durable.ts"
import { postgresError } from "./connection.ts"
import { migrate } from "./migrate.ts"

const IDLE_MS = 30_000
/** A disk that is busy with a checkpoint takes its time; a client of ours that waits longer is told to come again. */
const STATEMENT_MS = 20_000
/** The server ends what takes too long; one that does not answer at all is given up. */
const ANSWER_MS = STATEMENT_MS + 5_000
/** What is under way when the pool is ended, and the goodbyes. */
const END_MS = 1_000

/** A pool whose end comes in any case: connections to a server that does not say goodbye are cut. */
class CutPool extends Pool {
  readonly #sockets: ReadonlySet<Socket>

  constructor(options: PoolConfig) {
    const sockets = new Set<Socket>()
    super({ ...options, stream: () => kept(new Socket(), sockets) })
    this.#sockets = sockets
  }

  override async end(): Promise<void> {
    const cut = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy()
    }, END_MS)
    await super.end()
    clearTimeout(cut)
  }
}

function kept(socket: Socket, sockets: Set<Socket>): Socket {
  sockets.add(socket)
  return socket.once("close", () => sockets.delete(socket))
}

/** A pool of up to `connections`; none is made before it is needed. */
export function openPool(options: ClientConfig, connections: number): Pool {
  const pool = new CutPool({
    ...options,
    max: connections,
    idleTimeoutMillis: IDLE_MS,
    allowExitOnIdle: true,
    statement_timeout: STATEMENT_MS,
    lock_timeout: STATEMENT_MS,
    query_timeout: ANSWER_MS,
  })
  // One that breaks while nobody uses it is replaced when it is needed.
  pool.on("error", () => undefined)
  return pool
}

/**
 * The same, and brings the tables of one part of the store to their newest form.
 * @throws GatewayError STATE_AWAY, STATE_REFUSED, STATE_VERSION, STATE_CORRUPT
 */
export async function openMigrated(
  options: ClientConfig,
  connections: number,
  part: string,
  migrations: readonly string[],
): Promise<Pool> {
  const pool = openPool(options, connections)
  try {
    const client = await pool.connect()
    try {
      await migrate(client, part, migrations)
    } finally {
      client.release()
    }
    return pool
  } catch (error) {
    await pool.end()
    throw postgresError(error, `open the ${part}`)
  }
}

/**
 * Runs one statement, a transaction of its own.
 * @throws GatewayError STATE_AWAY when whether it was done is not known, STATE_REFUSED
 */
export async function query<R extends QueryResultRow>(pool: Pool, statement: QueryConfig): Promise<QueryResult<R>> {
  try {
    return await pool.query<R>(statement)
  } catch (error) {
    throw postgresError(error, statement.name ?? "statement")
  }
}

/** The rows of {@link query}. */
export async function rowsOf<R extends QueryResultRow>(pool: Pool, statement: QueryConfig): Promise<readonly R[]> {
  return (await query<R>(pool, statement)).rows
}

/**
 * Runs `act` in a transaction of one connection.
 * @throws GatewayError STATE_AWAY, STATE_REFUSED; nothing of it was done, unless it was the commit that got no answer
 */
export async function transaction<T>(pool: Pool, act: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await connected(pool)
  let usable = true
  try {
    await client.query("BEGIN")
    const value = await act(client)
    await client.query("COMMIT")
    return value
  } catch (error) {
    await client.query("ROLLBACK").catch(() => {
      usable = false
    })
    throw postgresError(error, "transaction")
  } finally {
    client.release(!usable)
  }
}

async function connected(pool: Pool): Promise<PoolClient> {
  try {
    return await pool.connect()
  } catch (error) {
    throw postgresError(error, "connect")
  }
}

/** True when what was to go is referred to, or what was to be referred to is not there. */
export function isForeignKeyViolation(error: unknown): boolean {
  return error instanceof Error && systemCode(error.cause) === FOREIGN_KEY_VIOLATION
}

/** True when the server has ended, and undone, one of two that waited for one another. */
export function isDeadlock(error: unknown): boolean {
  return error instanceof Error && systemCode(error.cause) === DEADLOCK_DETECTED
}

// SQLSTATE.
const FOREIGN_KEY_VIOLATION = "23503"
const DEADLOCK_DETECTED = "40P01"
