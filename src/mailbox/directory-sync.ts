import { closeSync, fsync, openSync } from "node:fs"
import { promisify } from "node:util"

const sync = promisify(fsync)

/** Makes names in directories durable; all who ask while one fsync of a directory runs share the next one (group commit). */
export class DirectorySync {
  readonly #running = new Map<string, Running>()

  /** Resolves when every name made in `path` before this call is on disk. */
  async sync(path: string): Promise<void> {
    const running = this.#running.get(path)
    if (running) {
      running.next ??= running.current.then(
        () => this.#start(path),
        () => this.#start(path),
      )
      return running.next
    }
    return this.#start(path)
  }

  #start(path: string): Promise<void> {
    const running: Running = { current: syncDirectory(path), next: null }
    this.#running.set(path, running)
    const done = (): void => {
      if (this.#running.get(path) === running && running.next === null) this.#running.delete(path)
    }
    running.current.then(done, done)
    return running.current
  }
}

interface Running {
  readonly current: Promise<void>
  /** Begins when `current` has ended. */
  next: Promise<void> | null
}

async function syncDirectory(path: string): Promise<void> {
  const descriptor = openSync(path, "r")
  try {
    await sync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
