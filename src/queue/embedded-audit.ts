import { join } from "node:path"
import type { Database } from "../store/database.ts"
import { makePrivateFolder } from "../store/durable.ts"
import { openDatabase } from "../store/sqlite.ts"
import { type AuditLog, pagedPairs } from "./audit-log.ts"
import { AuditTable } from "./audit-table.ts"
import { GroupCommit } from "./group-commit.ts"
import { QUEUE_MIGRATIONS } from "./job-table.ts"
import type { AuditRow, RecordedPair } from "./queue.ts"

/** The record in SQLite, in the file that the embedded queue has: any number of processes may share it. */
class EmbeddedAudit implements AuditLog {
  readonly #database: Database
  readonly #table: AuditTable
  readonly #commits: GroupCommit

  constructor(database: Database) {
    this.#database = database
    this.#table = new AuditTable(database)
    this.#commits = new GroupCommit(database)
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
    this.#database.close()
  }
}

/**
 * Opens the record in data/queue.db.
 * @throws GatewayError STATE_VERSION, STATE_CORRUPT
 */
export function openEmbeddedAudit(data: string): AuditLog {
  makePrivateFolder(data)
  return new EmbeddedAudit(openDatabase(join(data, "queue.db"), QUEUE_MIGRATIONS))
}
