import { type Database, numberIn, type Row, textIn } from "./database.ts"

/** Sessions with mail exchangers of one domain that ended alike (RFC 8460 §4.3). */
interface KeptResult {
  /** The policy that was in force, as JSON; the same policy is the same text. */
  readonly policy: string
  readonly result: string
  readonly mx: string
  readonly address: string
  readonly reason: string
  readonly sessions: number
}

/** A UTC day, "2026-11-26", and a domain. */
interface DomainDay {
  readonly day: string
  readonly domain: string
}

/** What sessions with other servers came to, by day and domain, until it is reported. */
export class KeptTlsResults {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** Adds to what is counted. Above the limits the same is counted with less detail, and at last under the domain "". */
  add(results: readonly (KeptResult & DomainDay)[]): void {
    this.#database.transaction(() => {
      // Counted once: counting 20,000 rows takes a millisecond.
      const rows = new Map([...new Set(results.map(({ day }) => day))].map((day) => [day, this.#rowsOfDay(day)]))
      for (const result of results) {
        const bounded = this.#bounded(result, rows.get(result.day) ?? 0)
        if (!this.#isKnown(bounded)) rows.set(result.day, (rows.get(result.day) ?? 0) + 1)
        this.#addOne(bounded)
      }
    })
  }

  /** Domains with results of days before this one, oldest first. */
  before(day: string): readonly DomainDay[] {
    const rows = this.#database.sql.all`
      SELECT DISTINCT day, domain FROM tls_result WHERE day < ${day} AND domain != '' ORDER BY day, domain`
    return rows.map((row) => ({ day: textIn(row, "day"), domain: textIn(row, "domain") }))
  }

  of({ day, domain }: DomainDay): readonly KeptResult[] {
    return this.#database.sql.all`
      SELECT policy, result, mx, address, reason, sessions FROM tls_result WHERE day = ${day} AND domain = ${domain}
      ORDER BY policy, result, mx, address, reason`.map(resultIn)
  }

  remove({ day, domain }: DomainDay): void {
    this.#database.sql.run`DELETE FROM tls_result WHERE day = ${day} AND domain = ${domain}`
  }

  /** Forgets what is older than this day. */
  removeBefore(day: string): void {
    this.#database.sql.run`DELETE FROM tls_result WHERE day < ${day}`
  }

  /** Sessions of a day by result, over all domains. */
  sessions(day: string): Readonly<Record<string, number>> {
    const rows = this.#database.sql.all`
      SELECT result, SUM(sessions) AS sessions FROM tls_result WHERE day = ${day} GROUP BY result`
    return Object.fromEntries(rows.map((row) => [textIn(row, "result"), numberIn(row, "sessions")]))
  }

  #bounded<T extends KeptResult & DomainDay>(result: T, rowsOfDay: number): T {
    const full = rowsOfDay >= MAX_ROWS_OF_DAY
    if (this.#isKnown(result) || (!full && this.#rowsOfDomain(result) < MAX_ROWS_OF_DOMAIN)) return result
    const plain = { ...result, mx: "", address: "", reason: "" }
    return this.#isKnown(plain) || !full ? plain : { ...plain, domain: "", policy: "" }
  }

  #isKnown({ day, domain, policy, result, mx, address, reason }: KeptResult & DomainDay): boolean {
    const row = this.#database.sql.get`
      SELECT 1 FROM tls_result WHERE day = ${day} AND domain = ${domain} AND policy = ${policy} AND result = ${result}
      AND mx = ${mx} AND address = ${address} AND reason = ${reason}`
    return row !== undefined
  }

  #rowsOfDay(day: string): number {
    return numberIn(this.#database.sql.get`SELECT COUNT(*) AS rows FROM tls_result WHERE day = ${day}`, "rows")
  }

  #rowsOfDomain({ day, domain }: DomainDay): number {
    const row = this.#database.sql.get`
      SELECT COUNT(*) AS rows FROM tls_result WHERE day = ${day} AND domain = ${domain}`
    return numberIn(row, "rows")
  }

  /** Not an upsert: all columns together are too long for an index of PostgreSQL. */
  #addOne({ day, domain, policy, result, mx, address, reason, sessions }: KeptResult & DomainDay): void {
    const { changes } = this.#database.sql.run`
      UPDATE tls_result SET sessions = sessions + ${sessions}
      WHERE day = ${day} AND domain = ${domain} AND policy = ${policy} AND result = ${result}
      AND mx = ${mx} AND address = ${address} AND reason = ${reason}`
    if (changes > 0) return
    this.#database.sql.run`
      INSERT INTO tls_result (day, domain, policy, result, mx, address, reason, sessions)
      VALUES (${day}, ${domain}, ${policy}, ${result}, ${mx}, ${address}, ${reason}, ${sessions})`
  }
}

function resultIn(row: Row): KeptResult {
  return {
    policy: textIn(row, "policy"),
    result: textIn(row, "result"),
    mx: textIn(row, "mx"),
    address: textIn(row, "address"),
    reason: textIn(row, "reason"),
    sessions: numberIn(row, "sessions"),
  }
}

/** A report with more details is read by nobody; 30 KB. */
export const MAX_ROWS_OF_DOMAIN = 200
/** 5 MB of state. A server that writes to more domains in a day has no trouble to name the rest. */
export const MAX_ROWS_OF_DAY = 20_000
