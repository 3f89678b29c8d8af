import { type FileHandle, open } from "node:fs/promises"

/** Makes the names in one folder durable, with one fsync for all who wait (group commit). */
export class FolderSync {
  readonly #folder: FileHandle
  #running: Promise<void> | null = null
  #next: Promise<void> | null = null

  /** Use {@link openFolderSync}. */
  constructor(folder: FileHandle) {
    this.#folder = folder
  }

  /** Resolves after an fsync that began after this call; rejects with its error. */
  sync(): Promise<void> {
    // The one that runs may have begun before the caller's change: wait for the one after it.
    this.#next ??= this.#start(this.#running)
    return this.#next
  }

  async close(): Promise<void> {
    await this.#folder.close()
  }

  async #start(before: Promise<void> | null): Promise<void> {
    await before?.catch(() => "its own callers hear of it")
    const mine = this.#next
    this.#next = null
    this.#running = mine
    await this.#folder.sync()
    if (this.#running === mine) this.#running = null
  }
}

/** Opens the folder at `path`. */
export async function openFolderSync(path: string): Promise<FolderSync> {
  return new FolderSync(await open(path, "r"))
}
