import { closeSync, existsSync, open, readSync, rename } from "node:fs"
import { opendir, readdir, stat } from "node:fs/promises"
import { join } from "node:path"
import { promisify } from "node:util"
import { randomOctets } from "../crypto/primitives/random.ts"
import type { Decapsulator } from "../crypto/primitives/seal-key.ts"
import { HEAD_OCTETS, keyIdOf, Sealer, type SealingKey } from "../crypto/seal/seal.ts"
import { GatewayError } from "../errors.ts"
import { makePrivateFolder, openIfThere, unlinkIfThere } from "./durable.ts"
import { type FolderSync, openFolderSync } from "./folder-sync.ts"
import { lifeOf, thisProcess } from "./process.ts"
import { formatEntry, type SpoolEntry } from "./spool-entry.ts"
import { onDisk, readSealed, type SealedFile, type SpooledMessage, writeSealed } from "./spool-file.ts"
import { filledUp, isErased, UsedFiles } from "./used-files.ts"

const openFile = promisify(open)
const renameFile = promisify(rename)

export type { SpoolEntry } from "./spool-entry.ts"
export type { SpooledMessage } from "./spool-file.ts"

/** Where the spool is, and its keys. */
export interface SpoolOptions {
  /** data/spool; made when absent. */
  readonly folder: string
  /** The key that new messages are sealed to. Throws GatewayError SPOOL_KEY_MISSING. */
  readonly publicKeys: { current(): SealingKey }
  /** null: this process only accepts mail, and cannot open what it accepted. Throws GatewayError SPOOL_KEY_MISSING. */
  readonly privateKeys: { decapsulator(keyId: Uint8Array): Decapsulator } | null
  readonly now: () => Date
  /** Files of messages that have left are written again, by a process that runs on; the others remove them. */
  readonly reuse?: boolean
}

/** What a new message has to say for itself. */
export type NewEntry = Omit<SpoolEntry, "sizeOctets" | "seed">

/** Accepted messages, sealed, one file each. A message is accepted at one instant: its file has its name, and the name is on the disk. */
export class Spool {
  readonly #options: SpoolOptions
  readonly #names: FolderSync
  readonly #used = new UsedFiles()
  readonly #temporaryPrefix = `${TEMPORARY}${thisProcess().replaceAll("/", "~")}~`

  /** Use {@link openSpool}. */
  constructor(options: SpoolOptions, names: FolderSync) {
    this.#options = options
    this.#names = names
  }

  /**
   * Seals the message, and resolves with its id when it would survive a power cut. No plaintext touches the disk.
   * @param entry stands behind the content in the file: what is known only when the content has ended is asked for then
   * @param id for messages of our own that a repeated attempt makes again: the one there is stays. `[0-9a-z]{8,64}`
   * @throws GatewayError SPOOL_FULL, SPOOL_KEY_MISSING; what `content` throws comes through; in each case nothing is left
   */
  async write(entry: NewEntry | (() => NewEntry), content: AsyncIterable<Uint8Array>, id?: string): Promise<string> {
    if (id !== undefined && (await this.#exists(id))) return id
    const name = id ?? this.#newId()
    const seed = randomOctets(32)
    let path = this.#temporary(name)
    try {
      const begin = async (wholeOctets: number | null): Promise<SealedFile> => {
        const sealer = new Sealer(this.#options.publicKeys.current(), name)
        const used = wholeOctets === null ? null : this.#used.give(wholeOctets)
        if (used !== null) {
          path = used.path
          return { descriptor: used.descriptor, sealer, fillToOctets: used.octets }
        }
        const descriptor = await onDisk(() => openFile(path, "wx", 0o600))
        return { descriptor, sealer, fillToOctets: this.#options.reuse === true ? filledUp(wholeOctets ?? 0) : 0 }
      }
      const giveName = async () => {
        await onDisk(() => renameFile(path, this.#path(name)))
        path = this.#path(name)
        return { durable: this.#syncNames() }
      }
      const trailer = (sizeOctets: number) =>
        formatEntry({ ...(typeof entry === "function" ? entry() : entry), seed, sizeOctets })
      await writeSealed(begin, content, trailer, giveName)
      return name
    } catch (error) {
      await unlinkIfThere(path)
      throw error
    }
  }

  /**
   * @returns null when there is no such message, or no longer
   * @throws GatewayError SPOOL_CORRUPT, SPOOL_KEY_MISSING
   */
  async open(id: string): Promise<SpooledMessage | null> {
    if (!ID.test(id)) return null
    const message = await readSealed(this.#path(id), id, (keyId) => this.#decapsulator(keyId))
    if (message !== "erased") return message
    // Its remover was killed half way.
    await unlinkIfThere(this.#path(id))
    return null
  }

  /** Removing what is not there does nothing. After a power cut a removed message may be back; the queue's record says that it is settled. */
  async remove(id: string): Promise<void> {
    if (!ID.test(id)) return
    if (this.#options.reuse === true && (await this.#used.take(this.#path(id), this.#temporary(id)))) return
    await unlinkIfThere(this.#path(id))
  }

  /** In no order. */
  async *ids(): AsyncIterable<string> {
    for await (const { name } of await opendir(this.#options.folder)) if (ID.test(name)) yield name
  }

  /** Removes what writers left that were killed. Files of writers still at work stay. */
  async removeLeftovers(): Promise<number> {
    let removed = 0
    for (const name of await this.#temporaries()) {
      const [host, pid, start] = name.slice(TEMPORARY.length).split("~")
      const life = lifeOf(`${host}/${pid}/${start}`)
      if (life === "alive" || (life === "elsewhere" && !(await this.#isOld(name)))) continue
      await unlinkIfThere(join(this.#options.folder, name))
      removed += 1
    }
    return removed
  }

  /**
   * Ids, in hex, of the keys that messages here are sealed to, unfinished ones included.
   * @returns null when a message is just being begun, so that nobody can say
   */
  async keysInUse(): Promise<ReadonlySet<string> | null> {
    const used = new Set<string>()
    const names = (await readdir(this.#options.folder)).filter((name) => ID.test(name) || name.startsWith(TEMPORARY))
    for (const name of names) {
      const head = headOf(join(this.#options.folder, name))
      if (head === null) continue
      if (isErased(head)) continue
      const keyId = keyIdOf(head)
      if (keyId === null) return null
      used.add(Buffer.from(keyId).toString("hex"))
    }
    return used
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#used.close()
    await this.#names.close()
  }

  async #exists(id: string): Promise<boolean> {
    if (!ID.test(id)) throw new GatewayError("USAGE", `spool: ${id} is no id`)
    if (!existsSync(this.#path(id))) return false
    // It may have been named by an attempt that was killed before the name was on the disk.
    await this.#syncNames()
    return true
  }

  #decapsulator(keyId: Uint8Array): Decapsulator {
    if (this.#options.privateKeys === null)
      throw new GatewayError("SPOOL_KEY_MISSING", "spool: this role has no private keys")
    return this.#options.privateKeys.decapsulator(keyId)
  }

  /** Begins with the time, so that ids sort as the messages came. */
  #newId(): string {
    const time = this.#options.now().getTime().toString(36).padStart(9, "0")
    return `${time}${BigInt(`0x${Buffer.from(randomOctets(10)).toString("hex")}`)
      .toString(36)
      .padStart(16, "0")}`
  }

  async #temporaries(): Promise<string[]> {
    return (await readdir(this.#options.folder)).filter((name) => name.startsWith(TEMPORARY))
  }

  async #isOld(name: string): Promise<boolean> {
    const { mtimeMs } = await stat(join(this.#options.folder, name))
    return this.#options.now().getTime() - mtimeMs > FOREIGN_LEFTOVER_MS
  }

  #syncNames(): Promise<void> {
    return this.#used.during(() => onDisk(() => this.#names.sync()))
  }

  #path(id: string): string {
    return join(this.#options.folder, id)
  }

  #temporary(id: string): string {
    return join(this.#options.folder, `${this.#temporaryPrefix}${id}`)
  }
}

/** Opens the spool, and removes what killed writers left. */
export async function openSpool(options: SpoolOptions): Promise<Spool> {
  makePrivateFolder(options.folder)
  const spool = new Spool(options, openFolderSync(options.folder))
  await spool.removeLeftovers()
  return spool
}

const ID = /^[0-9a-z]{8,64}$/
const TEMPORARY = ".writing~"
/** Whether a writer on another host still lives cannot be seen; no message takes as long as this to arrive. */
const FOREIGN_LEFTOVER_MS = 24 * 3_600_000

/** @returns null when the file is gone */
function headOf(path: string): Uint8Array | null {
  const file = openIfThere(path)
  if (file === null) return null
  try {
    const head = Buffer.alloc(HEAD_OCTETS)
    return head.subarray(0, readSync(file, head, 0, HEAD_OCTETS, 0))
  } finally {
    closeSync(file)
  }
}
