import { type Database, dateIn, textIn } from "./database.ts"

/** What a source of keys answered about an address, as text that its reader understands. */
interface KeptText {
  readonly text: string
  readonly askedAt: Date
}

/** What sources of keys answered, so that threads, processes and restarts need not ask again. Losing it costs questions only. */
export class KeptKeyAnswers {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  find(address: string, source: string): KeptText | null {
    const row = this.#database.sql
      .get`SELECT answer, asked_at FROM key_answer WHERE address = ${address} AND source = ${source}`
    return row === undefined ? null : { text: textIn(row, "answer"), askedAt: dateIn(row, "asked_at") }
  }

  /** Takes the place of the one before. What nobody asked for in a long time is removed. */
  keep(address: string, source: string, { text, askedAt }: KeptText): void {
    this.#database.transaction(() => {
      const nowMs = askedAt.getTime()
      this.#database.sql.run`DELETE FROM key_answer WHERE asked_at < ${nowMs - KEPT_MS}`
      this.#database.sql.run`
        INSERT INTO key_answer (address, source, answer, asked_at) VALUES (${address}, ${source}, ${text}, ${nowMs})
        ON CONFLICT (address, source) DO UPDATE SET answer = excluded.answer, asked_at = excluded.asked_at`
    })
  }
}

/** No answer holds longer. */
const KEPT_MS = 30 * 86_400e3
