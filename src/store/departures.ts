import { type Database, dateIn, type Row, textIn } from "./database.ts"

/** What was decided about a message of our people to one recipient elsewhere. Nothing in it is of the message's content. */
export interface Departure {
  readonly spoolId: string
  /** As `addressKey` writes it. */
  readonly recipient: string
  /** Empty: a report of ours. */
  readonly sender: string
  readonly at: Date
  readonly decision: string
  /** What it was decided from, as text that its reader understands. */
  readonly facts: string
}

/** The last months' decisions about leaving mail, so that another policy can be tried on them. */
export class KeptDepartures {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** One for a message and recipient: the last attempt's. What is older than {@link KEPT_DAYS} days is removed. */
  add(departures: readonly Departure[], now: Date): void {
    this.#database.transaction(() => {
      this.#database.sql.run`DELETE FROM departure WHERE at < ${now.getTime() - KEPT_DAYS * DAY_MS}`
      for (const { spoolId, recipient, sender, at, decision, facts } of departures)
        this.#database.sql.run`
          INSERT INTO departure (spool_id, recipient, sender, at, decision, facts)
          VALUES (${spoolId}, ${recipient}, ${sender}, ${at.getTime()}, ${decision}, ${facts})
          ON CONFLICT (spool_id, recipient) DO UPDATE SET at = excluded.at, decision = excluded.decision, facts = excluded.facts`
    })
  }

  /** Oldest first, at most `limit` behind (`at`, spool id, recipient) of `after`. */
  since(at: Date, after: Departure | null, limit: number): readonly Departure[] {
    const [atMs, spoolId, recipient] =
      after === null ? [at.getTime(), "", ""] : [after.at.getTime(), after.spoolId, after.recipient]
    return this.#database.sql.all`
      SELECT spool_id, recipient, sender, at, decision, facts FROM departure
      WHERE (at, spool_id, recipient) > (${atMs}, ${spoolId}, ${recipient}) ORDER BY at, spool_id, recipient LIMIT ${limit}`.map(
      departureIn,
    )
  }
}

export const KEPT_DAYS = 90
const DAY_MS = 86_400e3

function departureIn(row: Row): Departure {
  return {
    spoolId: textIn(row, "spool_id"),
    recipient: textIn(row, "recipient"),
    sender: textIn(row, "sender"),
    at: dateIn(row, "at"),
    decision: textIn(row, "decision"),
    facts: textIn(row, "facts"),
  }
}
