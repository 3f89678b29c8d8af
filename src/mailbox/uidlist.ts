import { type FileHandle, open, readFile, rename, stat } from "node:fs/promises"
import { join } from "node:path"
import { randomOctets } from "../crypto/primitives/random.ts"
import { GatewayError } from "../errors.ts"
import { isCode } from "./fs-errors.ts"
import { baseOf } from "./paths.ts"

/** Name of the file in a Maildir folder. */
export const UIDLIST = "dovecot-uidlist"

/** What a first line `3 V<uidvalidity> N<next uid> G<guid>` says. */
export interface UidlistHeader {
  readonly uidValidity: number
  readonly nextUid: number
  /** Everything else, kept as it is: `G<guid>` and what later versions add. */
  readonly rest: string
}

/** A line `<uid> [<key><value> …] :<file name>`. */
export interface UidlistEntry {
  readonly uid: number
  readonly base: string
}

/** What reading found since the last time: a new file means that every entry is told again. */
export type UidlistReading =
  | { readonly kind: "unchanged" }
  | { readonly kind: "added" | "all"; readonly entries: readonly UidlistEntry[] }

/**
 * Dovecot's uidlist, version 3: lines are appended under its dotlock, and the file is replaced when much of it is gone.
 * Reading needs no lock.
 */
export class Uidlist {
  readonly #path: string
  #header: UidlistHeader | null = null
  #maxUid = 0
  #inode = 0n
  #readOctets = 0
  #modified = 0n
  /** Lines in the file, those of expunged messages included. */
  lines = 0

  constructor(folder: string) {
    this.#path = join(folder, UIDLIST)
  }

  /** null until the file exists and was read. */
  get uidValidity(): number | null {
    return this.#header?.uidValidity ?? null
  }

  get nextUid(): number {
    return Math.max(this.#header?.nextUid ?? 1, this.#maxUid + 1)
  }

  /** Reads what is new. @throws STATE_CORRUPT when it is no uidlist of version 3 */
  async read(): Promise<UidlistReading> {
    try {
      await using file = await open(this.#path, "r")
      const { ino, size, mtimeNs } = await file.stat({ bigint: true })
      if (ino === this.#inode && Number(size) === this.#readOctets && mtimeNs === this.#modified)
        return { kind: "unchanged" }
      const grown = ino === this.#inode && Number(size) > this.#readOctets && this.#header !== null
      const start = grown ? this.#readOctets : 0
      const text = await readFrom(file, start, Number(size))
      this.#inode = ino
      this.#modified = mtimeNs
      return grown ? { kind: "added", entries: this.#take(text, start) } : { kind: "all", entries: this.#takeAll(text) }
    } catch (error) {
      if (!isCode(error, "ENOENT")) throw error
      return this.#header === null ? { kind: "unchanged" } : { kind: "all", entries: this.#forget() }
    }
  }

  /** True when nothing was written since the last read. */
  async isCurrent(): Promise<boolean> {
    try {
      const { ino, mtimeNs, size } = await stat(this.#path, { bigint: true })
      return ino === this.#inode && mtimeNs === this.#modified && Number(size) === this.#readOctets
    } catch (error) {
      if (isCode(error, "ENOENT")) return this.#header === null
      throw error
    }
  }

  /** Gives the next UIDs to `bases`, durably. The caller holds the dotlock and has read. */
  async append(bases: readonly string[]): Promise<UidlistEntry[]> {
    const entries = bases.map((base, index) => ({ uid: this.nextUid + index, base }))
    await using file = await open(this.#path, "r+")
    const text = entries.map(({ uid, base }) => `${uid} :${base}\n`).join("")
    // Half a line is left when a writer died; it was never anybody's UID.
    await file.truncate(this.#readOctets)
    await file.write(text, this.#readOctets)
    await file.datasync()
    const { mtimeNs, size } = await file.stat({ bigint: true })
    this.#readOctets = Number(size)
    this.#modified = mtimeNs
    this.#maxUid = entries.at(-1)?.uid ?? this.#maxUid
    this.lines += entries.length
    return entries
  }

  /** Writes a first, empty list. The caller holds the dotlock. */
  async create(uidValidity: number): Promise<void> {
    const guid = Buffer.from(randomOctets(16)).toString("hex")
    await this.#replace(`3 V${uidValidity} N1 G${guid}\n`)
  }

  /** Leaves out the lines whose file is gone. The caller holds the dotlock and has read. */
  async compact(isLive: (base: string) => boolean): Promise<void> {
    const [, ...lines] = (await readFile(this.#path, "latin1")).split("\n")
    const kept = lines.filter((line) => isLive(parseEntry(line)?.base ?? ""))
    const header = this.#header
    if (header === null) throw corrupt("no header")
    const rest = header.rest === "" ? "" : ` ${header.rest}`
    await this.#replace([`3 V${header.uidValidity} N${this.nextUid}${rest}`, ...kept, ""].join("\n"))
    await this.read()
  }

  async #replace(text: string): Promise<void> {
    const temporary = `${this.#path}.tmp`
    {
      await using file = await open(temporary, "w", 0o600)
      await file.writeFile(text, "latin1")
      await file.sync()
    }
    await rename(temporary, this.#path)
  }

  #takeAll(text: string): readonly UidlistEntry[] {
    const end = text.indexOf("\n")
    const header = parseHeader(text.slice(0, Math.max(0, end)))
    if (header === null) throw corrupt("first line is not of version 3")
    this.#header = header
    this.#maxUid = 0
    this.lines = 0
    return this.#take(text.slice(end + 1), Buffer.byteLength(text.slice(0, end + 1), "latin1"))
  }

  /** Complete lines only: somebody may be writing the last one. */
  #take(text: string, start: number): readonly UidlistEntry[] {
    const end = text.lastIndexOf("\n") + 1
    this.#readOctets = start + end
    const lines = text.slice(0, end).split("\n")
    lines.pop()
    this.lines += lines.length
    const entries: UidlistEntry[] = []
    for (const line of lines) {
      const entry = parseEntry(line)
      if (entry === null) continue
      entries.push(entry)
      this.#maxUid = Math.max(this.#maxUid, entry.uid)
    }
    return entries
  }

  #forget(): readonly UidlistEntry[] {
    this.#header = null
    this.#maxUid = 0
    this.#inode = 0n
    this.#readOctets = 0
    this.#modified = 0n
    return []
  }
}

/** Reads `3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1`. @returns null when it is no such line */
export function parseHeader(line: string): UidlistHeader | null {
  const [version, ...fields] = line.split(" ")
  const validity = fields.find((field) => /^V[1-9]\d{0,9}$/.test(field))
  const next = fields.find((field) => /^N[1-9]\d{0,9}$/.test(field))
  if (version !== "3" || validity === undefined || next === undefined) return null
  const rest = fields.filter((field) => field !== validity && field !== next).join(" ")
  return { uidValidity: Number(validity.slice(1)), nextUid: Number(next.slice(1)), rest }
}

/** Reads `25006 W2481 :1276528487.M364837P9451.host,S=1355,W=1394:2,S`. @returns null when it is no such line */
export function parseEntry(line: string): UidlistEntry | null {
  const colon = line.indexOf(" :")
  const found = /^([1-9]\d{0,9})(?: |$)/.exec(line)
  if (found === null || colon < 0) return null
  return { uid: Number(found[1]), base: baseOf(line.slice(colon + 2)) }
}

async function readFrom(file: FileHandle, start: number, end: number): Promise<string> {
  const octets = Buffer.alloc(end - start)
  const { bytesRead } = await file.read(octets, 0, octets.length, start)
  return octets.toString("latin1", 0, bytesRead)
}

function corrupt(what: string): GatewayError {
  return new GatewayError("STATE_CORRUPT", `${UIDLIST}: ${what}`)
}
