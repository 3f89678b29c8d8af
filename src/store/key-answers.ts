import { type Database, dateIn, textIn } from "./database.ts"

/** What a source of keys answered about an address, as text that its reader understands. */
interface KeptText {
  readonly text: string
  readonly askedAt: Date
}

/**
 * Characters of one answer: certificates of real people take below 100,000. Whoever signs mail to us has its domain asked, and would fill the state
 * with longer ones.
 */
export const MAX_ANSWER_LENGTH = 262_144

/** What sources of keys answered, so that threads, processes and restarts need not ask again. Losing it costs questions only. */
export class KeptKeyAnswers {
  readonly #database: Database
  readonly #keepMs: number

  /** @param keepMs no answer holds longer; then it is removed */
  constructor(database: Database, keepMs: number) {
    this.#database = database
    this.#keepMs = keepMs
  }

  find(address: string, source: string): KeptText | null {
    const row = this.#database.sql
      .get`SELECT answer, asked_at FROM key_answer WHERE address = ${address} AND source = ${source}`
    return row === undefined ? null : { text: textIn(row, "answer"), askedAt: dateIn(row, "asked_at") }
  }

  /** Takes the place of the one before, unless it is longer than {@link MAX_ANSWER_LENGTH}: then there is none. */
  keep(address: string, source: string, { text, askedAt }: KeptText): void {
    this.#database.transaction(() => {
      const nowMs = askedAt.getTime()
      this.#database.sql.run`DELETE FROM key_answer WHERE asked_at < ${nowMs - this.#keepMs}`
      this.#database.sql.run`DELETE FROM key_answer WHERE address = ${address} AND source = ${source}`
      if (text.length <= MAX_ANSWER_LENGTH)
        this.#database.sql.run`
          INSERT INTO key_answer (address, source, answer, asked_at) VALUES (${address}, ${source}, ${text}, ${nowMs})`
    })
  }
}
