import { join } from "node:path"
import type { Log } from "../log/log.ts"
import type { CommitsReachDisk, Database } from "../store/database.ts"
import { makePrivateFolder } from "../store/durable.ts"
import { openDatabase } from "../store/sqlite.ts"
import { GroupCommit } from "./group-commit.ts"
import { QUEUE_MIGRATIONS } from "./job-table.ts"
import { WalSync } from "./wal-sync.ts"

/** data/queue.db, open: the embedded queue and its record, or the record of a queue whose jobs are elsewhere. Any number of processes may share it. */
export class QueueFile implements AsyncDisposable {
  readonly database: Database
  readonly commits: GroupCommit
  readonly #sync: WalSync | null

  private constructor(database: Database, sync: WalSync | null) {
    this.database = database
    this.commits = new GroupCommit(database, { onCommit: () => sync?.committed(), spacingMs: SPACING_MS })
    this.#sync = sync
  }

  /**
   * Opens it in the folder `data`. `later`: a commit is on the disk half a second after it returned, at most.
   * @throws GatewayError STATE_VERSION, STATE_CORRUPT
   */
  static open(data: string, reachDisk: CommitsReachDisk, log: Log): QueueFile {
    makePrivateFolder(data)
    const path = join(data, "queue.db")
    const database = openDatabase(path, QUEUE_MIGRATIONS, reachDisk)
    if (reachDisk === "at once") return new QueueFile(database, null)
    return new QueueFile(database, new WalSync(path, (error) => log.error("queue.not-synced", {}, error)))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Behind whatever still waits for the next commit.
    await this.commits.run(() => "written")
    await this.#sync?.sync()
    this.database.close()
  }
}

/** Nobody notices, and at hundreds of messages a second each commit does the work of several. */
const SPACING_MS = 3
