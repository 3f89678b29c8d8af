import type { DeliveryStatus } from "../message/status.ts"
import { type Database, dateIn, numberIn, optionalTextIn, type Row, textIn } from "../store/database.ts"
import type { AuditRow, FinalOutcome, RecordedPair } from "./queue.ts"

/** The record of what became of mail: its SQL. All methods are synchronous; those that write run in the caller's transaction. */
export class AuditTable {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  write({ spoolId, recipient, outcome, status, at }: AuditRow): void {
    this.#database.sql.run`
      INSERT INTO audit (spool_id, recipient, outcome, status, at)
      VALUES (${spoolId}, ${recipient}, ${outcome}, ${status && JSON.stringify(status)}, ${at.getTime()})`
  }

  /** The same, where the pair has no such row yet: what is queued twice is one, and so is what ends twice. */
  writeOnce(row: AuditRow): void {
    const kind = row.outcome === "queued" ? ["queued"] : FINAL
    const known = this.#database.sql.get`
      SELECT 1 FROM audit WHERE spool_id = ${row.spoolId} AND recipient = ${row.recipient}
        AND outcome IN (SELECT value FROM json_each(${JSON.stringify(kind)})) LIMIT 1`
    if (known === undefined) this.write(row)
  }

  /** Oldest first. */
  of(spoolId: string): AuditRow[] {
    return this.#database.sql.all`SELECT * FROM audit WHERE spool_id = ${spoolId} ORDER BY place`.map(auditRowIn)
  }

  settled(spoolId: string): ReadonlySet<string> {
    const rows = this.#database.sql.all`
      SELECT recipient FROM audit WHERE spool_id = ${spoolId} AND outcome IN ('done', 'failed', 'dropped')`
    return new Set(rows.map((row) => textIn(row, "recipient")))
  }

  /** Newest first. */
  failures(limit: number): AuditRow[] {
    return this.#database.sql.all`
      SELECT * FROM audit WHERE outcome = 'failed' ORDER BY place DESC LIMIT ${limit}`.map(auditRowIn)
  }

  failed(): number {
    return numberIn(this.#database.sql.get`SELECT count(*) AS failed FROM audit WHERE outcome = 'failed'`, "failed")
  }

  /** Spool ids of which nothing was heard since `before`. */
  silent(before: Date): string[] {
    const rows = this.#database.sql.all`
      SELECT spool_id FROM audit GROUP BY spool_id HAVING max(at) < ${before.getTime()}`
    return rows.map((row) => textIn(row, "spool_id"))
  }

  /** @returns how many rows went */
  forget(spoolId: string): number {
    return Number(this.#database.sql.run`DELETE FROM audit WHERE spool_id = ${spoolId}`.changes)
  }

  /** Pairs of up to `limit` messages behind `after`, of which something was heard since then. Empty: there are no more. */
  page(after: string, since: Date, limit: number): RecordedPair[] {
    const rows = this.#database.sql.all`
      SELECT spool_id, recipient, min(CASE WHEN outcome = 'queued' THEN at END) AS queued_at,
        group_concat(CASE WHEN outcome IN ('done', 'failed', 'dropped') THEN outcome END) AS finals
      FROM audit WHERE spool_id IN (SELECT DISTINCT spool_id FROM audit WHERE spool_id > ${after} AND at >= ${since.getTime()}
        ORDER BY spool_id LIMIT ${limit})
      GROUP BY spool_id, recipient ORDER BY spool_id, recipient`
    return rows.map(pairIn)
  }
}

const FINAL: readonly FinalOutcome[] = ["done", "failed", "dropped"]

function pairIn(row: Row): RecordedPair {
  const finals = optionalTextIn(row, "finals")
  return {
    spoolId: textIn(row, "spool_id"),
    recipient: textIn(row, "recipient"),
    queuedAt: row["queued_at"] === null ? null : dateIn(row, "queued_at"),
    // The column's CHECK allows no other.
    finals: finals === null ? [] : (finals.split(",") as FinalOutcome[]),
  }
}

function auditRowIn(row: Row): AuditRow {
  return {
    spoolId: textIn(row, "spool_id"),
    recipient: textIn(row, "recipient"),
    // The column's CHECK allows no other.
    outcome: textIn(row, "outcome") as AuditRow["outcome"],
    status: statusIn(row, "status"),
    at: dateIn(row, "at"),
  }
}

/** A status kept as JSON. */
export function statusIn(row: Row, column: string): DeliveryStatus | null {
  const text = optionalTextIn(row, column)
  return text === null ? null : (JSON.parse(text) as DeliveryStatus)
}
