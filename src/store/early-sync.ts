import { fdatasync } from "node:fs"
import { promisify } from "node:util"

const syncData = promisify(fdatasync)

/**
 * Has the disk begin with a long file while more of it comes, so that little is left to be waited for in the end. One is asked for at a time: a disk that does
 * not keep up is not asked for more. Disposed of before the file is closed.
 */
export class EarlySync implements AsyncDisposable {
  readonly #file: number
  #octets = 0
  #underWay: Promise<void> | null = null

  constructor(descriptor: number) {
    this.#file = descriptor
  }

  /** So many octets more have been written. */
  wrote(octets: number): void {
    this.#octets += octets
    if (this.#octets < SYNC_OCTETS || this.#underWay !== null) return
    this.#octets = 0
    const syncing = syncData(this.#file).then(() => {
      this.#underWay = null
    })
    // Whoever ends hears of it.
    syncing.catch(() => undefined)
    this.#underWay = syncing
  }

  /** Waits for what is under way; what was written since is for the caller to sync. @throws what the disk said, which it says once only (fsync(2)) */
  async end(): Promise<void> {
    await this.#underWay
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled([this.#underWay])
  }
}

const SYNC_OCTETS = 33_554_432
