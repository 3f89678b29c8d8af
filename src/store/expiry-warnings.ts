import { type Database, numberIn } from "./database.ts"

/** Of whose keys people were told that they end, so that no process and no restart tells them again. */
export class KeptExpiryWarnings {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** @returns how many days before the end the last warning was for; null: there was none */
  toldDays(name: string): number | null {
    const row = this.#database.sql.get`SELECT days FROM expiry_warning WHERE name = ${name}`
    return row === undefined ? null : numberIn(row, "days")
  }

  /** Takes the place of the warning before. What has long ended is removed. */
  tell(name: string, days: number, endsAt: Date, now: Date): void {
    this.#database.transaction(() => {
      this.#database.sql.run`DELETE FROM expiry_warning WHERE ends_at < ${now.getTime() - KEPT_MS}`
      this.#database.sql.run`
        INSERT INTO expiry_warning (name, days, ends_at, told_at) VALUES (${name}, ${days}, ${endsAt.getTime()}, ${now.getTime()})
        ON CONFLICT (name) DO UPDATE SET days = excluded.days, told_at = excluded.told_at`
    })
  }
}

/** A clock that is put back by less tells nobody twice. */
const KEPT_MS = 30 * 86_400e3
