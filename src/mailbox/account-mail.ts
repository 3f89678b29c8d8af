import { readdir, readFile, rename, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { randomOctets } from "../crypto/primitives/random.ts"
import { GatewayError } from "../errors.ts"
import type { Log } from "../log/log.ts"
import { cleanTemporary } from "./delivery.ts"
import type { DirectorySync } from "./directory-sync.ts"
import { withDotlock } from "./dotlock.ts"
import { Folder, isFolder, makeFolder } from "./folder.ts"
import { isCode } from "./fs-errors.ts"
import { Mutex } from "./mutex.ts"
import { folderOf } from "./paths.ts"
import { Subscriptions } from "./subscriptions.ts"

/** Mailboxes made on first use, with the SPECIAL-USE attribute their name stands for (RFC 6154). */
export const SPECIAL_USE: ReadonlyMap<string, string> = new Map([
  ["Drafts", "\\Drafts"],
  ["Sent", "\\Sent"],
  ["Trash", "\\Trash"],
  ["Junk", "\\Junk"],
  ["Archive", "\\Archive"],
])

/** Messages of folders that nobody has open and that are kept in memory all the same: 250 octets each. */
const IDLE_MESSAGES = 200_000

/** The mailboxes of one account: a Maildir++ whose open folders are shared by its sessions. */
export class AccountMail {
  readonly maildir: string
  readonly subscriptions: Subscriptions
  readonly #log: Log
  readonly #now: () => Date
  readonly #directories: DirectorySync
  readonly #folders = new Map<string, OpenFolder>()
  readonly #opening = new Mutex()
  #made = false

  constructor(maildir: string, now: () => Date, log: Log, directories: DirectorySync) {
    this.maildir = maildir
    this.subscriptions = new Subscriptions(maildir)
    this.#now = now
    this.#log = log
    this.#directories = directories
  }

  /** True while a session has a folder open. */
  get inUse(): boolean {
    return [...this.#folders.values()].some(({ users }) => users > 0)
  }

  /** Makes the Maildir when it is missing; cleans up after crashes the first time. */
  async ensure(): Promise<void> {
    // Asked each time: an account may be removed and made again while we run.
    if (!(await isFolder(this.maildir))) {
      await makeFolder(this.maildir, true)
      for (const above of ["../..", "..", "."]) await this.#directories.sync(join(this.maildir, above))
    }
    if (this.#made) return
    await cleanTemporary(this.maildir, Date.now())
    this.#made = true
  }

  /** Makes the special mailboxes when the account is used for the first time, and subscribes them. */
  async ensureSpecial(): Promise<void> {
    await this.ensure()
    if ((await this.subscriptions.read()) !== null) return
    for (const name of SPECIAL_USE.keys()) if (!(await this.exists(name))) await this.create(name)
    await this.subscriptions.change(() => ["INBOX", ...SPECIAL_USE.keys()])
  }

  /** Names of all mailboxes, INBOX first, then sorted. */
  async names(): Promise<string[]> {
    const entries = await readdir(this.maildir, { withFileTypes: true })
    const names = entries
      .filter((entry) => entry.isDirectory() && /^\.[^.]/.test(entry.name))
      .map((entry) => entry.name.slice(1))
    return ["INBOX", ...names.sort()]
  }

  exists(name: string): Promise<boolean> {
    return isFolder(folderOf(this.maildir, name))
  }

  /**
   * Opens a folder, in step with the disk; give it back with release.
   * @throws MAILBOX_UNKNOWN
   */
  async open(name: string): Promise<Folder> {
    const opened = await this.#opening.run(async () => {
      const path = folderOf(this.maildir, name)
      let entry = this.#folders.get(path)
      if (entry === undefined || entry.folder.lost) {
        if (!(await isFolder(path))) throw new GatewayError("MAILBOX_UNKNOWN", "mailbox: there is none of this name")
        if (name !== "INBOX") await cleanTemporary(path, Date.now())
        entry = {
          folder: new Folder(path, { log: this.#log, nextUidValidity: () => this.#nextUidValidity() }),
          users: 0,
        }
      }
      entry.users += 1
      // Last in the map is last used.
      this.#folders.delete(path)
      this.#folders.set(path, entry)
      return entry
    })
    try {
      await opened.folder.refresh()
      await opened.folder.adopt([])
    } catch (error) {
      this.release(opened.folder)
      throw error
    }
    return opened.folder
  }

  release(folder: Folder): void {
    const entry = this.#folders.get(folder.path)
    if (entry?.folder === folder) entry.users -= 1
    this.#trim()
  }

  /** @throws MAILBOX_EXISTS */
  async create(name: string): Promise<void> {
    const path = folderOf(this.maildir, name)
    if (await isFolder(path)) throw new GatewayError("MAILBOX_EXISTS", "mailbox: there is one of this name")
    await makeFolder(path, false)
    await this.#directories.sync(this.maildir)
  }

  /** @throws MAILBOX_UNKNOWN */
  async delete(name: string): Promise<void> {
    const path = folderOf(this.maildir, name)
    // Out of sight at once, whatever its size.
    const aside = join(this.maildir, "tmp", `deleted.${Buffer.from(randomOctets(8)).toString("hex")}`)
    await this.#rename(path, aside)
    await this.#directories.sync(this.maildir)
    await rm(aside, { recursive: true, force: true })
  }

  /** Renames a mailbox and those below it (RFC 3501 §6.3.5). @throws MAILBOX_UNKNOWN, MAILBOX_EXISTS */
  async rename(from: string, to: string): Promise<void> {
    const names = await this.names()
    const moved = names.filter((name) => name === from || name.startsWith(`${from}.`))
    if (moved.length === 0) throw new GatewayError("MAILBOX_UNKNOWN", "mailbox: there is none of this name")
    const renamed = moved.map((name) => [name, to + name.slice(from.length)] as const)
    if (to.startsWith(`${from}.`) || renamed.some(([, name]) => names.includes(name)))
      throw new GatewayError("MAILBOX_EXISTS", "mailbox: there is one of this name")
    for (const [before, after] of renamed)
      await this.#rename(folderOf(this.maildir, before), folderOf(this.maildir, after))
    await this.#directories.sync(this.maildir)
  }

  async #rename(from: string, to: string): Promise<void> {
    const open = this.#folders.get(from)
    try {
      await rename(from, to)
    } catch (error) {
      if (isCode(error, "ENOENT"))
        throw new GatewayError("MAILBOX_UNKNOWN", "mailbox: there is none of this name", { cause: error })
      throw error
    }
    open?.folder.close()
    this.#folders.delete(from)
  }

  /** Seconds of now, but above all given out before: Dovecot keeps the last one in this file, in hexadecimal. */
  async #nextUidValidity(): Promise<number> {
    const path = join(this.maildir, "dovecot-uidvalidity")
    return withDotlock(`${path}.lock`, async () => {
      const text = await readFile(path, "latin1").catch((error: unknown) => {
        if (isCode(error, "ENOENT")) return ""
        throw error
      })
      const last = /^[0-9a-f]{8}/i.test(text) ? Number.parseInt(text.slice(0, 8), 16) : 0
      const next = Math.max(Math.floor(this.#now().getTime() / 1000), last + 1)
      const hex = next.toString(16).padStart(8, "0")
      await writeFile(`${path}.new`, hex, { mode: 0o600 })
      await rename(`${path}.new`, path)
      await writeFile(`${path}.${hex}`, "", { mode: 0o600 })
      if (last > 0) await rm(`${path}.${last.toString(16).padStart(8, "0")}`, { force: true })
      return next
    })
  }

  #trim(): void {
    const idle = [...this.#folders].filter(([, { users }]) => users === 0)
    let messages = idle.reduce((sum, [, { folder }]) => sum + folder.messages.length, 0)
    for (const [path, { folder }] of idle) {
      if (messages <= IDLE_MESSAGES && !folder.lost) continue
      messages -= folder.messages.length
      this.#folders.delete(path)
    }
  }
}

interface OpenFolder {
  readonly folder: Folder
  users: number
}
