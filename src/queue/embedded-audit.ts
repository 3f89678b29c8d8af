import type { Log } from "../log/log.ts"
import type { CommitsReachDisk } from "../store/database.ts"
import { type AuditLog, pagedPairs } from "./audit-log.ts"
import { AuditTable } from "./audit-table.ts"
import type { AuditRow, RecordedPair } from "./queue.ts"
import { QueueFile } from "./queue-file.ts"

/** The record in SQLite, in the file that the embedded queue has. */
class EmbeddedAudit implements AuditLog {
  readonly #file: QueueFile
  readonly #table: AuditTable

  constructor(file: QueueFile) {
    this.#file = file
    this.#table = new AuditTable(file.database)
  }

  write(...rows: readonly AuditRow[]): Promise<void> {
    return this.#file.commits.run(() => {
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
    return this.#file.commits.run(() => {
      const silent = this.#table.silent(before).filter((spoolId) => !living.has(spoolId))
      return silent.reduce((rows, spoolId) => rows + this.#table.forget(spoolId), 0)
    })
  }

  async *pairs(since: Date): AsyncIterable<RecordedPair> {
    yield* pagedPairs(this.#table, since)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file[Symbol.asyncDispose]()
  }
}

/**
 * Opens the record in data/queue.db. `later`: a power cut may take what was written in the last half second, as of the embedded queue.
 * @throws GatewayError STATE_VERSION, STATE_CORRUPT
 */
export function openEmbeddedAudit(data: string, reachDisk: CommitsReachDisk, log: Log): AuditLog {
  return new EmbeddedAudit(QueueFile.open(data, reachDisk, log))
}
