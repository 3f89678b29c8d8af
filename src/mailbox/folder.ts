import { statSync } from "node:fs"
import { mkdir, rename, unlink, writeFile } from "node:fs/promises"
import { join } from "node:path"
import type { Log } from "../log/log.ts"
import { withDotlock } from "./dotlock.ts"
import { FolderWatch } from "./folder-watch.ts"
import { isCode } from "./fs-errors.ts"
import { Keywords } from "./keywords.ts"
import type { FoundFile, Message } from "./message.ts"
import { Mutex } from "./mutex.ts"
import { sortedLetters } from "./paths.ts"
import { certain, inOrderOfArrival, PLACES, type Place, type Stamps, scan, stamps } from "./scan.ts"
import { UIDLIST, Uidlist, type UidlistEntry } from "./uidlist.ts"

/** What a folder needs from outside. */
export interface FolderContext {
  readonly log: Log
  /** A UIDVALIDITY never used before in this account (RFC 3501 §2.3.1.1). */
  nextUidValidity(): Promise<number>
}

/** Lines of expunged messages that a uidlist may hold before it is written anew. */
const COMPACT_LINES = 1000
/** A file renamed by others under our hands is looked for so often. */
const MAX_RENAMES = 5

/**
 * One Maildir folder as messages with UIDs, kept in step with the disk, shared by all sessions of this process.
 * Other processes may change the folder at any time.
 */
export class Folder {
  readonly path: string
  readonly keywords: Keywords
  /** By ascending UID. */
  readonly messages: Message[] = []
  /** Counts changes of messages or their flags. */
  version = 0
  /** The folder was deleted, renamed, or given another UIDVALIDITY: sessions must end. */
  lost = false
  /** The first UID that this process gave out since it opened the folder: from here on messages are \Recent. */
  firstRecentUid = Number.POSITIVE_INFINITY
  readonly #context: FolderContext
  readonly #uidlist: Uidlist
  readonly #mutex = new Mutex()
  readonly #watch: FolderWatch
  readonly #byBase = new Map<string, Message>()
  /** UIDs of files that are not there (any more, or not yet seen). */
  readonly #absent = new Map<string, number>()
  #stamps: Stamps = { new: null, cur: null }
  #uidValidity = 0
  #checkedAt = 0

  constructor(path: string, context: FolderContext) {
    this.path = path
    this.#context = context
    this.keywords = new Keywords(path)
    this.#uidlist = new Uidlist(path)
    this.#watch = new FolderWatch(path, context.log, () => this.refresh())
  }

  get uidValidity(): number {
    return this.#uidValidity
  }

  get nextUid(): number {
    return this.#uidlist.nextUid
  }

  /** Brings the messages in step with the disk, unless that was done within `maxAgeMs`. */
  refresh(maxAgeMs = 0): Promise<void> {
    return this.#mutex.run(async () => {
      if (this.lost || (maxAgeMs > 0 && Date.now() - this.#checkedAt < maxAgeMs)) return
      try {
        await this.#refresh(false)
      } catch (error) {
        if (!isCode(error, "ENOENT")) throw error
        this.#lose()
      }
    })
  }

  /** Calls `listener` after changes until the returned function is called. */
  listen(listener: () => void): () => void {
    return this.#watch.add(listener)
  }

  /** The folder is deleted or renamed. */
  close(): void {
    this.#lose()
  }

  /** Gives a UID to files just written into this folder by us, without looking at all the others. */
  adopt(files: readonly (FoundFile & { readonly base: string })[]): Promise<readonly number[]> {
    return this.#mutex.run(async () => {
      if (this.#uidValidity === 0) await this.#refresh(false)
      const known = new Map(files.map((file) => [file.base, file] as const))
      const fresh = [...known.keys()].filter((base) => !this.#byBase.has(base))
      await this.#assign(known, fresh)
      this.#changed()
      return files.map(({ base }) => this.#byBase.get(base)?.uid ?? 0)
    })
  }

  /** Makes keywords usable, as far as there are letters for them. */
  ensureKeywords(names: readonly string[]): Promise<void> {
    return this.#mutex.run(async () => {
      if (names.every((name) => this.keywords.letterOf(name) !== null)) return
      await this.#locked(() => this.keywords.add(names))
    })
  }

  /** Renames the file so that it has the flags of `letters`. @returns false when the message is gone */
  setLetters(message: Message, letters: string): Promise<boolean> {
    return this.#mutex.run(async () => {
      const wanted = sortedLetters(letters)
      const name = `${message.base}:2,${wanted}`
      if (message.letters === wanted && message.place === "cur") return !message.gone
      const done = await this.#withFile(message, (path) => rename(path, join(this.path, "cur", name)).then(() => true))
      if (done === null) return false
      message.place = "cur"
      message.name = name
      message.letters = wanted
      this.#changed()
      return true
    })
  }

  /** Removes files for good. */
  expunge(messages: readonly Message[]): Promise<void> {
    return this.#mutex.run(async () => {
      for (const message of messages) {
        if (message.gone) continue
        await this.#withFile(message, (path) => unlink(path).then(() => true))
        this.#remove(message)
      }
      this.#dropGone()
    })
  }

  /** Runs `work` on the message's file, found again if somebody renames it. @returns null when the message is gone */
  withFile<T>(message: Message, work: (path: string) => Promise<T>): Promise<T | null> {
    return this.#withFile(message, work, () => this.#mutex.run(() => this.#refresh(true)))
  }

  async #withFile<T>(
    message: Message,
    work: (path: string) => Promise<T>,
    find = () => this.#refresh(true),
  ): Promise<T | null> {
    for (let attempt = 0; attempt < MAX_RENAMES && !message.gone && !this.lost; attempt += 1) {
      try {
        return await work(join(this.path, message.place, message.name))
      } catch (error) {
        if (!isCode(error, "ENOENT")) throw error
        await find()
      }
    }
    return null
  }

  async #refresh(force: boolean): Promise<void> {
    // The clock of the file system, not of decisions.
    const startedMs = Date.now()
    const taken = await stamps(this.path)
    this.#checkedAt = startedMs
    const differs = PLACES.filter((place) => force || this.#stamps[place] !== taken[place])
    if (differs.length === 0 && (await this.#uidlist.isCurrent())) return
    // A list written anew may have given other UIDs to files that did not move.
    const changed = (await this.#readUidlist()) ? PLACES : differs
    if (this.lost) return
    await this.keywords.read()
    const found = await this.#reconcile(changed)
    const fresh = new Map([...found].filter(([base]) => !this.#byBase.has(base)))
    if (fresh.size > 0) await this.#assign(found, await inOrderOfArrival(this.path, fresh))
    this.#dropGone()
    this.#stamps = certain(taken, startedMs)
    await this.#compact()
  }

  /** Takes over what the names say; a message that is not met is looked for again, for it may have been renamed meanwhile. */
  async #reconcile(changed: readonly Place[]): Promise<Map<string, FoundFile>> {
    let found = await scan(this.path, changed)
    const concerned = this.messages.filter(({ place }) => changed.includes(place))
    if (concerned.some(({ base }) => !found.has(base))) found = new Map([...found, ...(await scan(this.path))])
    for (const message of this.messages) {
      const file = found.get(message.base)
      if (file) this.#update(message, file)
      else if (changed.includes(message.place)) this.#remove(message)
    }
    return found
  }

  #update(message: Message, file: FoundFile): void {
    if (message.name === file.name && message.place === file.place) return
    if (message.letters !== file.letters) this.#changed()
    message.place = file.place
    message.name = file.name
    message.letters = file.letters
  }

  /** @returns whether the whole list was new */
  async #readUidlist(): Promise<boolean> {
    const reading = await this.#uidlist.read()
    const { uidValidity } = this.#uidlist
    if (uidValidity === null) return false
    if (this.#uidValidity !== 0 && this.#uidValidity !== uidValidity) {
      this.#lose()
      return false
    }
    this.#uidValidity = uidValidity
    if (reading.kind === "all") this.#absent.clear()
    if (reading.kind !== "unchanged") for (const entry of reading.entries) this.#learn(entry)
    return reading.kind === "all"
  }

  /** A line of the uidlist: somebody gave this UID to this file. */
  #learn({ uid, base }: UidlistEntry): void {
    const message = this.#byBase.get(base)
    if (message?.uid === uid) return
    if (message) this.#remove(message)
    this.#absent.set(base, uid)
  }

  /** UIDs for files that have none: those the uidlist already tells, then new ones in the order given. */
  async #assign(found: ReadonlyMap<string, FoundFile>, fresh: readonly string[]): Promise<void> {
    const known = fresh.filter((base) => this.#absent.has(base))
    for (const base of known) this.#insert(base, this.#absent.get(base) ?? 0, found.get(base))
    if (known.length === fresh.length && this.#uidValidity !== 0) return this.#sort()
    await this.#locked(async () => {
      await this.#readUidlist()
      if (this.#uidValidity === 0) {
        await this.#uidlist.create(await this.#context.nextUidValidity())
        await this.#readUidlist()
      }
      const without = fresh.filter((base) => !this.#byBase.has(base) && !this.#absent.has(base))
      for (const { base, uid } of without.length === 0 ? [] : await this.#uidlist.append(without)) {
        this.firstRecentUid = Math.min(this.firstRecentUid, uid)
        this.#insert(base, uid, found.get(base))
      }
      for (const base of fresh)
        if (!this.#byBase.has(base)) this.#insert(base, this.#absent.get(base) ?? 0, found.get(base))
    })
    this.#sort()
  }

  #insert(base: string, uid: number, file: FoundFile | undefined): void {
    if (uid === 0 || file === undefined) return
    const { place, name, letters } = file
    const message: Message = { uid, base, place, name, letters, gone: false, wireOctets: null, internalDateMs: null }
    this.#absent.delete(base)
    this.#byBase.set(base, message)
    this.messages.push(message)
    this.#changed()
  }

  #sort(): void {
    const ordered = this.messages.every(
      (message, index) => index === 0 || message.uid > (this.messages[index - 1]?.uid ?? 0),
    )
    if (!ordered) this.messages.sort((a, b) => a.uid - b.uid)
  }

  /** Takes effect in `messages` with dropGone. */
  #remove(message: Message): void {
    if (message.gone) return
    message.gone = true
    if (this.#byBase.get(message.base) === message) this.#byBase.delete(message.base)
    // Should the file come back, it is the same message.
    if (!this.#absent.has(message.base)) this.#absent.set(message.base, message.uid)
    this.#changed()
  }

  #dropGone(): void {
    const kept = this.messages.filter((message) => !message.gone)
    if (kept.length === this.messages.length) return
    this.messages.length = 0
    for (const message of kept) this.messages.push(message)
  }

  async #compact(): Promise<void> {
    if (this.#uidlist.lines < 2 * this.messages.length + COMPACT_LINES) return
    await this.#locked(async () => {
      await this.#readUidlist()
      const found = await scan(this.path)
      await this.#uidlist.compact((base) => found.has(base))
      this.#absent.clear()
    })
  }

  #locked<T>(work: () => Promise<T>): Promise<T> {
    return withDotlock(join(this.path, `${UIDLIST}.lock`), work)
  }

  #changed(): void {
    this.version += 1
    this.#watch.changed()
  }

  #lose(): void {
    this.lost = true
    this.#changed()
    this.#watch.close()
  }
}

/** Makes the folders of a Maildir where they are missing. */
export async function makeFolder(path: string, isRoot: boolean): Promise<void> {
  for (const name of ["tmp", "new", "cur"]) await mkdir(join(path, name), { recursive: true, mode: 0o700 })
  if (!isRoot) await writeFile(join(path, "maildirfolder"), "", { mode: 0o600 })
}

/** Whether a folder is a Maildir. */
export async function isFolder(path: string): Promise<boolean> {
  try {
    // Asked at each delivery: at once, it costs a tenth of a trip to the thread pool.
    return statSync(join(path, "cur")).isDirectory()
  } catch (error) {
    if (isCode(error, "ENOENT") || isCode(error, "ENOTDIR")) return false
    throw error
  }
}
