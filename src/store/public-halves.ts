import { readdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { makePrivateFolder, syncFolder, systemCode, writeDurably } from "./durable.ts"
import type { PublicHalves } from "./spool-keys.ts"

/** Public halves as files `ID.pub` in a folder, data/spool-keys. */
export class FolderHalves implements PublicHalves {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
  }

  async ids(): Promise<readonly string[]> {
    try {
      return readdirSync(this.#folder).flatMap((name) => /^([0-9a-f]{32})\.pub$/.exec(name)?.[1] ?? [])
    } catch (error) {
      if (systemCode(error) === "ENOENT") return []
      throw error
    }
  }

  async read(id: string): Promise<Uint8Array | null> {
    try {
      return new Uint8Array(readFileSync(this.#path(id)))
    } catch (error) {
      if (systemCode(error) === "ENOENT") return null
      throw error
    }
  }

  async add(id: string, point: Uint8Array): Promise<void> {
    makePrivateFolder(this.#folder)
    writeDurably(this.#path(id), point)
  }

  async withdraw(id: string): Promise<void> {
    rmSync(this.#path(id), { force: true })
  }

  /** Files do not say what uses them: who asks has looked, and whoever sealed since had the current half. */
  async retire(ids: readonly string[]): Promise<readonly string[]> {
    for (const id of ids) rmSync(this.#path(id), { force: true })
    if (ids.length > 0) syncFolder(this.#folder)
    return ids
  }

  /** Two processes that make a key at once make two, and both are good. */
  async alone<T>(act: () => Promise<T>): Promise<T> {
    return await act()
  }

  #path(id: string): string {
    return join(this.#folder, `${id}.pub`)
  }
}
