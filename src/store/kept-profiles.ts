import { type Database, dateIn } from "./database.ts"

/** When signed profiles were issued that were met: an older one is a replay. */
export class KeptProfiles {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** Of the newest that was met of this address under this name: a personal root's, or one of the Mesh; null: none was. */
  newest(address: string, udf: string): Date | null {
    const row = this.#database.sql.get`SELECT issued_at FROM profile_seen WHERE address = ${address} AND udf = ${udf}`
    return row === undefined ? null : dateIn(row, "issued_at")
  }

  /** Written only when it is news. Of an address the names stay that were met last. */
  saw(address: string, udf: string, issuedAt: Date, now: Date): void {
    const newest = this.newest(address, udf)
    if (newest !== null && issuedAt <= newest) return
    const [issuedMs, nowMs] = [issuedAt.getTime(), now.getTime()]
    this.#database.transaction(() => {
      this.#database.sql.run`
        INSERT INTO profile_seen (address, udf, issued_at, seen_at) VALUES (${address}, ${udf}, ${issuedMs}, ${nowMs})
        ON CONFLICT (address, udf) DO UPDATE SET issued_at = excluded.issued_at, seen_at = excluded.seen_at
        WHERE excluded.issued_at > profile_seen.issued_at`
      this.#database.sql.run`
        DELETE FROM profile_seen WHERE address = ${address} AND udf NOT IN (
          SELECT udf FROM profile_seen WHERE address = ${address} ORDER BY seen_at DESC, udf LIMIT ${MAX_NAMES})`
    })
  }

  /** What is published next is taken, however old. @returns how many were forgotten */
  forget(address: string): number {
    return Number(this.#database.sql.run`DELETE FROM profile_seen WHERE address = ${address}`.changes)
  }
}

/** Of an address: eight roots with an account in the Mesh each, and one. Whoever changes them that often alarms people each time. */
export const MAX_NAMES = 17
