import { createReadStream } from "node:fs"
import { type FileHandle, open, readdir, rename, stat, utimes } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import { GatewayError } from "../errors.ts"
import { makePrivateFolder, syncFolder, systemCode, unlinkIfThere } from "./durable.ts"
import { EarlySync } from "./early-sync.ts"

/** A published mail, whole: ciphertext, which nobody here opens. */
export interface BulkFile {
  readonly sizeOctets: number
  /** Octets from one place up to another, which is not among them. */
  content(from?: number, to?: number): AsyncIterable<Uint8Array>
}

/** What is kept of a mail that is being fetched: octets from one place up to another, which is not among them; and where more goes. */
export interface BulkPart {
  readonly startOctets: number
  readonly endOctets: number
  /** What is kept. */
  content(): AsyncIterable<Uint8Array>
  /** Passes octets on and adds them, or begins with them, whose place is `from`; what has come by the time that the source fails, or nobody takes any more, is kept. */
  keep(source: AsyncIterable<Uint8Array>, from: number): AsyncIterable<Uint8Array>
  /** Begins anew. */
  clear(): Promise<void>
  /** It has come to its end: it is whole, where it was kept from its beginning. */
  finish(): Promise<void>
}

/**
 * Mail that is longer than a message of the Mesh, as ciphertext in files: `published/`, to be fetched by other gateways, until each file's time is over; and
 * `incoming/`, fetched, until it is stored. A file's time of change is when it goes.
 */
export class MeshBulk {
  readonly #folders: Readonly<Record<Kind, string | null>>

  /** @param places incoming: this machine's own; published: what every machine sees that gives it out, null: there is no such folder */
  constructor(places: Readonly<Record<Kind, string | null>>) {
    this.#folders = places
    for (const folder of Object.values(places)) if (folder !== null) makePrivateFolder(folder)
  }

  /**
   * Keeps an envelope under this name: durable when it resolves. The same name again is the same octets.
   * @throws GatewayError MESH_UNPUBLISHED when there is no folder for it
   */
  async publish(name: string, envelope: AsyncIterable<Uint8Array>, until: Date): Promise<void> {
    const path = this.#path("published", name)
    if (path === null) throw new GatewayError("MESH_UNPUBLISHED", "mesh: no folder to publish long mail in (mesh.bulk)")
    const part = `${path}.part`
    await writeNew(part, envelope)
    await utimes(part, until, until)
    await rename(part, path)
    syncFolder(dirname(path))
  }

  /** @returns null when nothing is published under this name, or no longer */
  published(name: string, now: Date): Promise<BulkFile | null> {
    return this.#file("published", name, now)
  }

  /** It was fetched to its end: it stays for as long as whoever did may need to come again. */
  async pulled(name: string, until: Date): Promise<void> {
    const path = this.#path("published", name)
    const known = path === null ? null : await statOf(path)
    if (path !== null && known !== null && known.mtime > until) await utimes(path, until, until)
  }

  async withdraw(name: string): Promise<void> {
    const path = this.#path("published", name)
    if (path !== null) await unlinkIfThere(path)
  }

  /** @returns null when it has not been fetched whole */
  incoming(name: string, now: Date): Promise<BulkFile | null> {
    return this.#file("incoming", name, now)
  }

  async part(name: string, until: Date): Promise<BulkPart> {
    const path = this.#path("incoming", name)
    if (path === null) throw new GatewayError("MESH_UNPUBLISHED", "mesh: no folder to fetch long mail into")
    const [part = null] = await partsOf(path)
    const [startOctets, sizeOctets] = [part?.startOctets ?? 0, part?.sizeOctets ?? 0]
    return {
      startOctets,
      endOctets: startOctets + sizeOctets,
      content: () => (part === null || sizeOctets === 0 ? nothing() : reading(part.path, 0, sizeOctets)),
      keep: (source, from) => kept(part?.path ?? `${path}.${from}.part`, source, until),
      clear: () => removeParts(path),
      async finish() {
        if (part?.startOctets === 0) await rename(part.path, path)
      },
    }
  }

  /** It is stored, or was not what it should be. */
  async discard(name: string): Promise<void> {
    const path = this.#path("incoming", name)
    if (path === null) return
    await removeParts(path)
    await unlinkIfThere(path)
  }

  /** Removes what nobody comes for any more. @returns how many files */
  async sweep(now: Date): Promise<number> {
    let removed = 0
    for (const kind of KINDS) {
      const folder = this.#folders[kind]
      for (const file of folder === null ? [] : await readdir(folder)) {
        const path = join(folder ?? "", file)
        const known = await statOf(path)
        // What is just being written has the time of its last octet.
        const graceMs = file.endsWith(".part") ? LEFTOVER_MS : 0
        if (known === null || known.mtimeMs + graceMs > now.getTime()) continue
        await unlinkIfThere(path)
        removed += 1
      }
    }
    return removed
  }

  async #file(kind: Kind, name: string, now: Date): Promise<BulkFile | null> {
    const path = this.#path(kind, name)
    const known = path === null ? null : await statOf(path)
    if (path === null || known === null || known.mtime <= now) return null
    return {
      sizeOctets: known.size,
      content: (from = 0, to = known.size) => (to <= from ? nothing() : reading(path, from, to)),
    }
  }

  #path(kind: Kind, name: string): string | null {
    if (!isBulkName(name)) throw new GatewayError("MESH_OBJECT_INVALID", "mesh: no name of published mail")
    const folder = this.#folders[kind]
    return folder === null ? null : join(folder, name)
  }
}

/** Whether mail can be published under this name: a content identifier in its groups, and nothing that a file system understands otherwise. */
export function isBulkName(name: string): boolean {
  return BULK_NAME.test(name)
}

/** One open file for the whole of it: a name that is taken away meanwhile does not end the reading. */
async function* reading(path: string, start: number, to: number): AsyncGenerator<Uint8Array> {
  const file = await open(path, "r")
  yield* createReadStream("", { fd: file, start, end: to - 1, highWaterMark: READ_OCTETS })
}

/** Adds to a file what passes by. It is written while whoever takes it works on it, and not to be changed by him. */
async function* kept(path: string, source: AsyncIterable<Uint8Array>, until: Date): AsyncGenerator<Uint8Array> {
  const file = await open(path, "a", 0o600)
  let [pieces, size]: [Uint8Array[], number] = [[], 0]
  let written: Promise<void> = Promise.resolve()
  const write = async (): Promise<void> => {
    const next = pieces
    pieces = []
    size = 0
    await written
    written = append(file, next)
    // Whoever waits for it hears of it.
    written.catch(() => undefined)
  }
  try {
    for await (const piece of source) {
      pieces.push(piece)
      size += piece.length
      if (size >= READ_OCTETS) await write()
      yield piece
    }
  } finally {
    try {
      await write()
      await written
      await file.utimes(until, until)
    } finally {
      await file.close()
    }
  }
}

/** Durable when it resolves. A piece is good until the next is asked for. */
async function writeNew(path: string, content: AsyncIterable<Uint8Array>): Promise<void> {
  const file = await open(path, "w", 0o600)
  try {
    await using early = new EarlySync(file.fd)
    // What stands between the pieces, a few octets each time, goes out with the next.
    const short: Uint8Array[] = []
    for await (const piece of content) {
      if (piece.length <= SHORT_OCTETS && short.length < MAX_SHORT) short.push(Uint8Array.from(piece))
      else {
        await append(file, [...short.splice(0), piece])
        early.wrote(piece.length)
      }
    }
    await append(file, short)
    await early.end()
    await file.sync()
  } finally {
    await file.close()
  }
}

/** With one call where the system takes all of it; `writeFile` makes one for each piece. */
async function append(file: FileHandle, pieces: readonly Uint8Array[]): Promise<void> {
  let left = pieces
  while (left.length > 0) {
    const { bytesWritten } = await file.writev(left)
    left = without(left, bytesWritten)
  }
}

/** What is left of the pieces behind their first octets. */
function without(pieces: readonly Uint8Array[], octets: number): Uint8Array[] {
  let skip = octets
  return pieces.flatMap((piece) => {
    const rest = piece.subarray(Math.min(skip, piece.length))
    skip -= piece.length - rest.length
    return rest.length > 0 ? [rest] : []
  })
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

/** Parts of a mail that is being fetched, `NAME.START.part`; one there is as a rule. */
async function partsOf(path: string) {
  const [folder, name] = [dirname(path), basename(path)]
  const starts = (await readdir(folder)).flatMap((file) => {
    const [, start] = file.startsWith(`${name}.`) ? (/^\.(\d{1,15})\.part$/.exec(file.slice(name.length)) ?? []) : []
    return start === undefined ? [] : [Number(start)]
  })
  const parts = starts.map(async (startOctets) => {
    const part = `${path}.${startOctets}.part`
    return { path: part, startOctets, sizeOctets: (await statOf(part))?.size ?? 0 }
  })
  return await Promise.all(parts)
}

async function removeParts(path: string): Promise<void> {
  for (const part of await partsOf(path)) await unlinkIfThere(part.path)
}

async function statOf(path: string) {
  try {
    return await stat(path)
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null
    throw error
  }
}

type Kind = (typeof KINDS)[number]
const KINDS = ["published", "incoming"] as const
/** `presentUdf` of 280 bits: fourteen groups of four. */
const BULK_NAME = /^[A-Z2-7]{4}(?:-[A-Z2-7]{1,4}){6,31}$/
const READ_OCTETS = 262_144
const SHORT_OCTETS = 1_024
/** A call takes 1024 pieces at most (IOV_MAX). */
const MAX_SHORT = 64
/** A writer that was killed leaves a part behind. */
const LEFTOVER_MS = 86_400_000
