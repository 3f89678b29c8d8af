import { closeSync, openSync } from "node:fs"
import { DatabaseSync, type SQLTagStore } from "node:sqlite"
import { GatewayError } from "../errors.ts"
import { type CommitsReachDisk, type Database, numberIn } from "./database.ts"

/** Another process may hold the write lock while it commits a batch; longer than this it hangs. */
const BUSY_TIMEOUT_MS = 10_000
/**
 * The WAL is copied into the file when it has so many pages (16 MB): whoever commits then waits for two syncs, and what was written twice by then is copied once.
 * SQLite's own 1,000 were a seventh of what a mail over the Mesh took of its receiver's main thread to remember.
 */
const CHECKPOINT_PAGES = 4_000
/** Prepared statements kept per connection; there are fewer than this many in the sources. */
const MAX_STATEMENTS = 200

/** One connection to an SQLite file that several processes share (WAL). */
export class SqliteDatabase implements Database {
  readonly sql: SQLTagStore
  readonly #connection: DatabaseSync
  readonly #reachDisk: CommitsReachDisk

  /** Use {@link openDatabase}. */
  constructor(connection: DatabaseSync, reachDisk: CommitsReachDisk) {
    this.#connection = connection
    this.#reachDisk = reachDisk
    this.sql = connection.createTagStore(MAX_STATEMENTS)
  }

  transaction<T>(act: () => T, reachDisk: CommitsReachDisk = this.#reachDisk): T {
    if (this.#connection.isTransaction) return act()
    if (reachDisk === this.#reachDisk) return this.#transaction(act)
    this.#connection.exec(synchronous(reachDisk))
    try {
      return this.#transaction(act)
    } finally {
      this.#connection.exec(synchronous(this.#reachDisk))
    }
  }

  #transaction<T>(act: () => T): T {
    this.#connection.exec("BEGIN IMMEDIATE")
    try {
      const value = act()
      this.#connection.exec("COMMIT")
      return value
    } catch (error) {
      // A full disk makes SQLite roll back by itself; a second ROLLBACK would hide the error.
      if (this.#connection.isTransaction) this.#connection.exec("ROLLBACK")
      throw error
    }
  }

  get isOpen(): boolean {
    return this.#connection.isOpen
  }

  close(): void {
    if (this.#connection.isOpen) this.#connection.close()
  }
}

/**
 * Opens `path` (made with mode 0600 when absent) and brings it to the newest schema: `migrations[n]` leads from version n to n + 1.
 * @throws GatewayError STATE_VERSION when a newer Postern wrote it, STATE_CORRUPT when it is no database
 */
export function openDatabase(
  path: string,
  migrations: readonly string[],
  reachDisk: CommitsReachDisk = "at once",
): SqliteDatabase {
  // SQLite gives the WAL the mode of the file; by itself it would make all of them readable to everybody.
  closeSync(openSync(path, "a", 0o600))
  const connection = connect(path, reachDisk)
  try {
    migrate(connection, path, migrations)
    return new SqliteDatabase(connection, reachDisk)
  } catch (error) {
    connection.close()
    throw error
  }
}

function connect(path: string, reachDisk: CommitsReachDisk): DatabaseSync {
  const connection = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS })
  try {
    connection.exec(
      `PRAGMA journal_mode = WAL; ${synchronous(reachDisk)}; PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES};
       PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON`,
    )
    return connection
  } catch (cause) {
    connection.close()
    throw new GatewayError("STATE_CORRUPT", `database: cannot open ${path}`, { cause })
  }
}

/** With NORMAL a WAL is synced before a checkpoint only. */
function synchronous(reachDisk: CommitsReachDisk): string {
  return `PRAGMA synchronous = ${reachDisk === "at once" ? "FULL" : "NORMAL"}`
}

function migrate(connection: DatabaseSync, path: string, migrations: readonly string[]): void {
  const version = () => numberIn(connection.prepare("PRAGMA user_version").get(), "user_version")
  if (version() > migrations.length)
    throw new GatewayError("STATE_VERSION", `database: ${path} was written by a newer version of postern`)
  if (version() === migrations.length) return
  connection.exec("BEGIN IMMEDIATE")
  try {
    // Read again: another process may have migrated while this one waited for the lock.
    for (let next = version(); next < migrations.length; next++) {
      connection.exec(`${migrations[next]}; PRAGMA user_version = ${next + 1}`)
    }
    connection.exec("COMMIT")
  } catch (error) {
    if (connection.isTransaction) connection.exec("ROLLBACK")
    throw error
  }
}
