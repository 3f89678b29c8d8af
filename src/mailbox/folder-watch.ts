import { type FSWatcher, watch } from "node:fs"
import { join } from "node:path"
import type { Log } from "../log/log.ts"

/** Changes that come together are looked at together. */
const GATHER_MS = 25
/** inotify misses nothing on local disks, but network file systems tell nothing. */
const POLL_MS = 10_000
/** When there is nothing that watches (limit of inotify instances reached). */
const POLL_ALONE_MS = 900
/** A large folder costs time to read: at most a fifth of the time is spent on it. */
const REST_FACTOR = 4

/** Tells listeners when a folder has changed: by fs.watch, by polling, and by what this process does itself. */
export class FolderWatch {
  readonly #folder: string
  readonly #log: Log
  readonly #refresh: () => Promise<void>
  readonly #listeners = new Set<() => void>()
  #watchers: FSWatcher[] = []
  #poll: NodeJS.Timeout | null = null
  #gather: NodeJS.Timeout | null = null
  #refreshing = false
  #again = false
  #closed = false

  constructor(folder: string, log: Log, refresh: () => Promise<void>) {
    this.#folder = folder
    this.#log = log
    this.#refresh = refresh
  }

  /** @returns a function that ends it */
  add(listener: () => void): () => void {
    this.#listeners.add(listener)
    if (this.#listeners.size === 1 && !this.#closed) this.#start()
    return () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size === 0) this.#stop()
    }
  }

  /** Something has changed, and the folder knows it. */
  changed(): void {
    for (const listener of this.#listeners) listener()
  }

  close(): void {
    this.#closed = true
    this.#stop()
  }

  #start(): void {
    try {
      this.#watchers = ["new", "cur"].map((name) =>
        watch(join(this.#folder, name), { persistent: false }, () => this.#soon(GATHER_MS)),
      )
      for (const watcher of this.#watchers)
        watcher.on("error", (error) => this.#log.warn("mailbox.watch-failed", { reason: error.message }))
    } catch (error) {
      this.#log.warn("mailbox.watch-failed", { reason: error instanceof Error ? error.message : "unknown" })
    }
    this.#poll = setInterval(() => this.#soon(0), this.#watchers.length === 2 ? POLL_MS : POLL_ALONE_MS).unref()
  }

  #stop(): void {
    for (const watcher of this.#watchers) watcher.close()
    this.#watchers = []
    if (this.#poll) clearInterval(this.#poll)
    if (this.#gather) clearTimeout(this.#gather)
    this.#poll = null
    this.#gather = null
  }

  #soon(delayMs: number): void {
    if (this.#refreshing) this.#again = true
    else this.#gather ??= setTimeout(() => void this.#run(), delayMs).unref()
  }

  async #run(): Promise<void> {
    this.#gather = null
    this.#refreshing = true
    this.#again = false
    const startedMs = performance.now()
    try {
      await this.#refresh()
    } catch (error) {
      this.#log.error("mailbox.refresh-failed", {}, error)
    }
    this.#refreshing = false
    const restMs = Math.min((performance.now() - startedMs) * REST_FACTOR, 500)
    if (this.#again && this.#listeners.size > 0) this.#soon(Math.max(GATHER_MS, restMs))
  }
}
