import { GroupCommit } from "../queue/group-commit.ts"
import type { Database } from "./database.ts"

/**
 * Requests to the Mesh service that have been seen, for as long as they could be sent again. In the state: a restart and another machine know them, too; a power cut may take the last
 * ones, and what they asked for. There are no more of
 * them than requests whose signature was right within five minutes, some 100 octets each.
 */
export class MeshRequests {
  readonly #database: Database
  readonly #commits: GroupCommit

  constructor(database: Database) {
    this.#database = database
    this.#commits = new GroupCommit(database, { reachDisk: "later" })
  }

  /** Known to every process when it resolves; those of one moment go together. @returns false: it was there already */
  remember(key: Uint8Array, until: Date, now: Date): Promise<boolean> {
    const { sql } = this.#database
    return this.#commits.run(() => {
      sql.run`DELETE FROM mesh_request WHERE until < ${now.getTime()}`
      const { changes } = sql.run`
        INSERT INTO mesh_request (digest, until) VALUES (${key}, ${until.getTime()}) ON CONFLICT DO NOTHING`
      return Number(changes) === 1
    })
  }
}
