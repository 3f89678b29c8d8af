import { closeSync, existsSync, open, readSync, rename } from "node:fs"
import { opendir, readdir, stat } from "node:fs/promises"
import { join } from "node:path"
import { promisify } from "node:util"
import { randomOctets } from "../crypto/primitives/random.ts"
import type { Decapsulator } from "../crypto/primitives/seal-key.ts"
import { HEAD_OCTETS, keyIdOf, Sealer, type SealingKey } from "../crypto/seal/seal.ts"
import { GatewayError } from "../errors.ts"
import { makePrivateFolder, openIfThere, systemCode, unlinkIfThere } from "./durable.ts"
import { type FolderSync, openFolderSync } from "./folder-sync.ts"
import { lifeOf, thisProcess } from "./process.ts"
import { openSealed, type SealedTarget, type SpooledMessage, writeSealed } from "./sealed-message.ts"
import { isSpoolId, type NewEntry, newSpoolId, type Spool } from "./spool.ts"
import { formatEntry } from "./spool-entry.ts"
import { fileTarget, onDisk, openFileSource } from "./spool-file.ts"
import { filledUp, isErased, UsedFiles } from "./used-files.ts"

const openFile = promisify(open)
const renameFile = promisify(rename)

/** Where the spool is, and its keys. */
export interface FileSpoolOptions {
  /** data/spool; made when absent. */
  readonly folder: string
  /** The key that new messages are sealed to. Throws GatewayError SPOOL_KEY_MISSING. */
  readonly publicKeys: { current(): Promise<SealingKey> }
  /** null: this process only accepts mail, and cannot open what it accepted. Throws GatewayError SPOOL_KEY_MISSING. */
  readonly privateKeys: { decapsulator(keyId: Uint8Array): Decapsulator } | null
  readonly now: () => Date
  /** Files of messages that have left are written again, by a process that runs on; the others remove them. */
  readonly reuse?: boolean
}

/** Accepted messages, sealed, one file each. A message is accepted at one instant: its file has its name, and the name is on the disk. */
export class FileSpool implements Spool {
  readonly #options: FileSpoolOptions
  readonly #names: FolderSync
  readonly #used = new UsedFiles()
  readonly #temporaryPrefix = `${TEMPORARY}${thisProcess().replaceAll("/", "~")}~`

  /** Use {@link openFileSpool}. */
  constructor(options: FileSpoolOptions, names: FolderSync) {
    this.#options = options
    this.#names = names
  }

  async write(entry: NewEntry | (() => NewEntry), content: AsyncIterable<Uint8Array>, id?: string): Promise<string> {
    if (id !== undefined && (await this.has(id))) return id
    const name = id ?? newSpoolId(this.#options.now())
    const seed = randomOctets(32)
    let path = this.#temporary(name)
    try {
      const giveName = async () => {
        await onDisk(() => renameFile(path, this.#path(name)))
        path = this.#path(name)
        return { durable: this.#syncNames() }
      }
      const begin = async (wholeOctets: number | null): Promise<SealedTarget> => {
        const sealer = new Sealer(await this.#options.publicKeys.current(), name)
        const used = wholeOctets === null ? null : this.#used.give(wholeOctets)
        path = used?.path ?? path
        const descriptor = used?.descriptor ?? (await onDisk(() => openFile(path, "wx", 0o600)))
        const filled = this.#options.reuse === true ? filledUp(wholeOctets ?? 0) : 0
        return fileTarget({ descriptor, sealer, fillToOctets: used?.octets ?? filled, name: giveName })
      }
      const trailer = (sizeOctets: number) =>
        formatEntry({ ...(typeof entry === "function" ? entry() : entry), seed, sizeOctets })
      await writeSealed(begin, content, trailer)
      return name
    } catch (error) {
      await unlinkIfPossible(path)
      throw error
    }
  }

  async open(id: string): Promise<SpooledMessage | null> {
    if (!isSpoolId(id)) return null
    const source = openFileSource(this.#path(id))
    if (source === "erased") {
      // Its remover was killed half way.
      await unlinkIfThere(this.#path(id))
      return null
    }
    return source && (await openSealed(source, id, (keyId) => this.#decapsulator(keyId)))
  }

  async has(id: string): Promise<boolean> {
    if (!isSpoolId(id)) throw new GatewayError("USAGE", `spool: ${id} is no id`)
    if (!existsSync(this.#path(id))) return false
    // It may have been named by an attempt that was killed before the name was on the disk.
    await this.#syncNames()
    return true
  }

  async remove(id: string): Promise<void> {
    if (!isSpoolId(id)) return
    if (this.#options.reuse === true && (await this.#used.take(this.#path(id), this.#temporary(id)))) return
    await unlinkIfThere(this.#path(id))
  }

  async *ids(): AsyncIterable<string> {
    for await (const { name } of await opendir(this.#options.folder)) if (isSpoolId(name)) yield name
  }

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

  async keysInUse(): Promise<ReadonlySet<string> | null> {
    const used = new Set<string>()
    const names = (await readdir(this.#options.folder)).filter((name) => isSpoolId(name) || name.startsWith(TEMPORARY))
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

  #decapsulator(keyId: Uint8Array): Decapsulator {
    if (this.#options.privateKeys === null)
      throw new GatewayError("SPOOL_KEY_MISSING", "spool: this role has no private keys")
    return this.#options.privateKeys.decapsulator(keyId)
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

/** Opens the spool in a folder, and removes what killed writers left. */
export async function openFileSpool(options: FileSpoolOptions): Promise<FileSpool> {
  makePrivateFolder(options.folder)
  const spool = new FileSpool(options, openFolderSync(options.folder))
  await spool.removeLeftovers()
  return spool
}

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

/** A disk that takes nothing may not let anything go either. What is told is why it took nothing; the file is a leftover of this process. */
async function unlinkIfPossible(path: string): Promise<void> {
  try {
    await unlinkIfThere(path)
  } catch (error) {
    if (systemCode(error) === null) throw error
  }
}
