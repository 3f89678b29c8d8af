import { closeSync, fsync, openSync } from "node:fs"
import { promisify } from "node:util"

const syncFile = promisify(fsync)
/** What a power cut may take back; one fsync in this time costs nothing that shows. */
const WITHIN_MS = 500

/** Brings commits that reach the disk later to the disk all the same, off the main thread and for many at once. */
export class WalSync {
  readonly #path: string
  readonly #onError: (error: unknown) => void
  #timer: NodeJS.Timeout | null = null

  /** `path` is the database's. */
  constructor(path: string, onError: (error: unknown) => void) {
    this.#path = `${path}-wal`
    this.#onError = onError
  }

  /** Something was committed: it will be on the disk within {@link WITHIN_MS} and what the disk takes. */
  committed(): void {
    this.#timer ??= setTimeout(() => void this.sync(), WITHIN_MS).unref()
  }

  /** Resolves when all that was committed before is on the disk, or the error was told. */
  async sync(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    try {
      // A descriptor of our own: SQLite holds no lock on this file that closing it would end.
      const file = openSync(this.#path, "r")
      await syncFile(file).finally(() => closeSync(file))
    } catch (error) {
      this.#onError(error)
    }
  }
}
