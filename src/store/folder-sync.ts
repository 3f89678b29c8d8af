import { closeSync, fsync, openSync } from "node:fs"
import { promisify } from "node:util"

const syncFile = promisify(fsync)

/** Makes the names in one folder durable, with one fsync for all who wait (group commit). */
export class FolderSync {
  readonly #folder: number
  #running: Promise<void> | null = null
  #next: Promise<void> | null = null

  /** Use {@link openFolderSync}. */
  constructor(folder: number) {
    this.#folder = folder
  }

  /** Resolves after an fsync that began after this call; rejects with its error. */
  sync(): Promise<void> {
    // The one that runs may have begun before the caller's change: wait for the one after it.
    this.#next ??= this.#start(this.#running)
    return this.#next
  }

  async close(): Promise<void> {
    await this.#running?.catch(() => "its own callers hear of it")
    closeSync(this.#folder)
  }

  async #start(before: Promise<void> | null): Promise<void> {
    await before?.catch(() => "its own callers hear of it")
    const mine = this.#next
    this.#next = null
    this.#running = mine
    await syncFile(this.#folder)
    if (this.#running === mine) this.#running = null
  }
}

/** Opens the folder at `path`. */
export function openFolderSync(path: string): FolderSync {
  return new FolderSync(openSync(path, "r"))
}
