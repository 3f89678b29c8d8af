import { join } from "node:path"
import type { Log } from "../log/log.ts"
import type { Database } from "../store/database.ts"
import { makePrivateFolder } from "../store/durable.ts"
import { type CommitsReachDisk, openDatabase } from "../store/sqlite.ts"
import { type AuditLog, pagedPairs } from "./audit-log.ts"
import { AuditTable } from "./audit-table.ts"
import { GroupCommit } from "./group-commit.ts"
import { QUEUE_MIGRATIONS } from "./job-table.ts"
import type { AuditRow, RecordedPair } from "./queue.ts"
import { WalSync } from "./wal-sync.ts"

/** The record in SQLite, in the file that the embedded queue has: any number of processes may share it. */
class EmbeddedAudit implements AuditLog {
  readonly #database: Database
  readonly #table: AuditTable
  readonly #commits: GroupCommit

  readonly #sync: WalSync | null

  /** `sync` null: commits are on the disk when they return. */
  constructor(database: Database, sync: WalSync | null) {
    this.#database = database
    this.#table = new AuditTable(database)
    this.#commits = new GroupCommit(database, () => sync?.committed())
    this.#sync = sync
  }

  write(...rows: readonly AuditRow[]): Promise<void> {
    return this.#commits.run(() => {
      for (const row of rows) {
        if (row.outcome === "held" || row.outcome === "released") this.#table.write(row)
        else this.#table.writeOnce(row)
      }
    })
  }

  async settled(spoolId: string): Promise<ReadonlySet<string>> {
    return this.#table.settled(spoolId)
  }

  async of(spoolId: string): Promise<AuditRow[]> {
    return this.#table.of(spoolId)
  }

  async failures(limit: number): Promise<AuditRow[]> {
    return this.#table.failures(limit)
  }

  async failed(): Promise<number> {
    return this.#table.failed()
  }

  prune(before: Date, living: ReadonlySet<string>): Promise<number> {
    return this.#commits.run(() => {
      const silent = this.#table.silent(before).filter((spoolId) => !living.has(spoolId))
      return silent.reduce((rows, spoolId) => rows + this.#table.forget(spoolId), 0)
    })
  }

  async *pairs(since: Date): AsyncIterable<RecordedPair> {
    yield* pagedPairs(this.#table, since)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#commits.run(() => "written")
    await this.#sync?.sync()
    this.#database.close()
  }
}

/**
 * Opens the record in data/queue.db. `later`: a power cut may take what was written in the last half second, as of the embedded queue.
 * @throws GatewayError STATE_VERSION, STATE_CORRUPT
 */
export function openEmbeddedAudit(data: string, reachDisk: CommitsReachDisk, log: Log): AuditLog {
  makePrivateFolder(data)
  const path = join(data, "queue.db")
  const database = openDatabase(path, QUEUE_MIGRATIONS, reachDisk)
  if (reachDisk === "at once") return new EmbeddedAudit(database, null)
  return new EmbeddedAudit(database, new WalSync(path, (error) => log.error("queue.not-synced", {}, error)))
}
