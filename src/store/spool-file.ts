import { close, closeSync, fdatasync, fstatSync, read, readSync, write, writeSync } from "node:fs"
import { promisify } from "node:util"
import { TAG_OCTETS } from "../crypto/primitives/aead.ts"
import type { Decapsulator } from "../crypto/primitives/seal-key.ts"
import {
  CHUNK_OCTETS,
  END_OCTETS,
  HEAD_OCTETS,
  keyIdOf,
  type Layout,
  layoutOf,
  Opener,
  SEALED_CHUNK_OCTETS,
  type Sealer,
  sealedOctets,
} from "../crypto/seal/seal.ts"
import { GatewayError, hasCode } from "../errors.ts"
import { openIfThere } from "./durable.ts"
import { parseEntry, type SpoolEntry } from "./spool-entry.ts"
import { isErased } from "./used-files.ts"

// What only touches the page cache is done at once, 3 to 15 microseconds. What changes names or frees blocks may wait for the file
// system's journal, a millisecond and more: in the thread pool, by callback, which costs 10 microseconds where fs.promises takes 40.
const syncFile = promisify(fdatasync)
const writeFile = promisify(write)
const readFile = promisify(read)
const closeFile = promisify(close)

/** Files up to this size are read with one call; larger ones piece by piece, off the main thread. */
const WHOLE_OCTETS = 262_144

/** An accepted message, open for reading. */
export interface SpooledMessage extends AsyncDisposable {
  readonly entry: SpoolEntry
  /** The content from its beginning, as often as wanted; each piece has been verified. Throws GatewayError SPOOL_CORRUPT. */
  content(): AsyncIterable<Uint8Array>
}

/** A file that is to be written from its beginning, and what seals it. It is closed when that is done. */
export interface SealedFile {
  readonly descriptor: number
  readonly sealer: Sealer
  /** Octets that a file of one chunk is filled up to. */
  readonly fillToOctets: number
}

/**
 * Makes a file of the content and the trailer that `trailerFor` makes of its size; resolves when its octets and its name are on the disk.
 * Holds one chunk in memory, whatever the size; what fits in one is written when it is complete.
 * @param begin called once, when there is something to write; with the octets of the file, or null when they are more than one chunk's
 * @param name gives the written file its name and makes that durable: at the same time as the octets, so that one commit of the file
 *   system's journal can serve both
 * @throws GatewayError SPOOL_FULL when the disk refuses; what `content` throws comes through as it is. The file may be there then
 */
export async function writeSealed(
  begin: (wholeOctets: number | null) => Promise<SealedFile>,
  content: AsyncIterable<Uint8Array>,
  trailerFor: (sizeOctets: number) => Uint8Array,
  name: () => Promise<{ readonly durable: Promise<void> }>,
): Promise<void> {
  const gathered = new Gathered()
  let file: SealedFile | null = null
  let written = 0
  let sizeOctets = 0
  try {
    for await (const octets of content) {
      sizeOctets += octets.length
      gathered.add(octets)
      // A full chunk waits for the octet behind it: it may be the last.
      while (gathered.octets > CHUNK_OCTETS) {
        file ??= await begin(null)
        written += await append(file, written === 0, gathered.take())
      }
    }
    const trailer = trailerFor(sizeOctets)
    const wholeOctets = sealedOctets(gathered.octets, trailer.length)
    file ??= await begin(wholeOctets)
    const fillingOctets = written === 0 ? Math.max(0, file.fillToOctets - wholeOctets) : 0
    finish(file, written, gathered.rest(), trailer, fillingOctets)
    const { descriptor } = file
    const { durable } = await name()
    // Both have ended before the file is closed, whatever they come to.
    const outcomes = await Promise.allSettled([onDisk(() => syncFile(descriptor)), durable])
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason
  } finally {
    if (file !== null) closeSync(file.descriptor)
  }
}

/** Octets of a message until they fill a chunk. */
class Gathered {
  octets = 0
  #pieces: Uint8Array[] = []
  #chunk: Uint8Array | null = null

  add(octets: Uint8Array): void {
    this.#pieces.push(octets)
    this.octets += octets.length
  }

  /** The first {@link CHUNK_OCTETS}, valid until the next call. */
  take(): Uint8Array {
    this.#chunk ??= Buffer.allocUnsafe(CHUNK_OCTETS)
    let filled = 0
    while (filled < CHUNK_OCTETS) {
      const piece = this.#pieces.shift()
      if (piece === undefined) break
      const part = piece.subarray(0, CHUNK_OCTETS - filled)
      this.#chunk.set(part, filled)
      filled += part.length
      if (part.length < piece.length) this.#pieces.unshift(piece.subarray(part.length))
    }
    this.octets -= filled
    return this.#chunk
  }

  rest(): Uint8Array {
    const [only] = this.#pieces
    return only !== undefined && this.#pieces.length === 1 ? only : Buffer.concat(this.#pieces)
  }
}

/** @returns octets written, the head among them when it was `first` */
async function append({ descriptor, sealer }: SealedFile, first: boolean, content: Uint8Array): Promise<number> {
  const chunk = sealer.chunk(content, false)
  const octets = first ? Buffer.concat([sealer.head, chunk]) : chunk
  // A disk that does not keep up makes the writer wait: not on the main thread.
  await onDisk(async () => {
    for (let at = 0; at < octets.length; ) at += (await writeFile(descriptor, octets, at)).bytesWritten
  })
  return octets.length
}

function finish(
  { descriptor, sealer }: SealedFile,
  written: number,
  content: Uint8Array,
  trailer: Uint8Array,
  fillingOctets: number,
): void {
  const pieces = [sealer.chunk(content, true), sealer.trailer(trailer, fillingOctets)]
  const octets = Buffer.concat(written === 0 ? [sealer.head, ...pieces] : pieces)
  refusable(() => {
    for (let at = 0; at < octets.length; ) at += writeSync(descriptor, octets, at, octets.length - at, written + at)
  })
}

/** Runs something that needs the disk. @throws GatewayError SPOOL_FULL */
export async function onDisk<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (cause) {
    throw refused(cause)
  }
}

function refusable<T>(act: () => T): T {
  try {
    return act()
  } catch (cause) {
    throw refused(cause)
  }
}

function refused(cause: unknown): GatewayError {
  return new GatewayError("SPOOL_FULL", "spool: the disk does not take the message", { cause })
}

/**
 * Opens a sealed file for reading at any place.
 * @returns null when there is none; `erased` when its message has left
 * @throws GatewayError SPOOL_CORRUPT, SPOOL_KEY_MISSING
 */
export async function readSealed(
  path: string,
  id: string,
  decapsulatorFor: (keyId: Uint8Array) => Decapsulator,
): Promise<SpooledMessage | "erased" | null> {
  const file = openSource(path)
  if (file === null) return null
  try {
    const message = await opened(file, id, decapsulatorFor)
    if (message === "erased") await file.close()
    return message
  } catch (error) {
    await file.close()
    throw error
  }
}

async function opened(
  file: Source,
  id: string,
  decapsulatorFor: (keyId: Uint8Array) => Decapsulator,
): Promise<SpooledMessage | "erased"> {
  const head = await readAt(file, id, 0, HEAD_OCTETS)
  if (isErased(head)) return "erased"
  const keyId = keyIdOf(head)
  const layout = layoutOf(file.sizeOctets, await readAt(file, id, file.sizeOctets - END_OCTETS, END_OCTETS))
  if (keyId === null || layout === null) throw corrupt(id)
  const decapsulator = decapsulatorFor(keyId)
  const opener = verified(id, () => new Opener(head, decapsulator, id))
  const trailer = await readAt(file, id, layout.trailerOffset, layout.trailerOctets)
  const entry = parseEntry(verified(id, () => opener.trailer(trailer, layout.chunks)))
  if (entry.sizeOctets !== layout.sizeOctets) throw corrupt(id)
  return { entry, content: () => contentOf(file, id, opener, layout), [Symbol.asyncDispose]: () => file.close() }
}

async function* contentOf(file: Source, id: string, opener: Opener, layout: Layout): AsyncIterable<Uint8Array> {
  for (let index = 0; index < layout.chunks; index++) {
    const last = index === layout.chunks - 1
    const octets = last ? layout.sizeOctets - index * CHUNK_OCTETS + TAG_OCTETS : SEALED_CHUNK_OCTETS
    const sealed = await readAt(file, id, HEAD_OCTETS + index * SEALED_CHUNK_OCTETS, octets)
    const content = verified(id, () => opener.chunk(sealed, index, last))
    if (content.length > 0) yield content
  }
}

/** Octets of a file at any place. */
interface Source {
  readonly sizeOctets: number
  /** @returns fewer octets, possibly none, where the file has no more */
  at(position: number, octets: number): Uint8Array | Promise<Uint8Array>
  close(): Promise<void>
}

/** @returns null when the file is gone */
function openSource(path: string): Source | null {
  const descriptor = openIfThere(path)
  if (descriptor === null) return null
  let sizeOctets: number
  try {
    sizeOctets = fstatSync(descriptor).size
    if (sizeOctets <= WHOLE_OCTETS) {
      const whole = Buffer.allocUnsafe(sizeOctets)
      const there = whole.subarray(0, readSync(descriptor, whole, 0, sizeOctets, 0))
      closeSync(descriptor)
      return {
        sizeOctets,
        at: (position, octets) => there.subarray(position, position + octets),
        close: async () => {},
      }
    }
  } catch (error) {
    closeSync(descriptor)
    throw error
  }
  return {
    sizeOctets,
    async at(position, octets) {
      const buffer = Buffer.allocUnsafe(octets)
      return buffer.subarray(0, (await readFile(descriptor, buffer, 0, octets, position)).bytesRead)
    },
    close: () => closeFile(descriptor),
  }
}

async function readAt(file: Source, id: string, position: number, octets: number): Promise<Uint8Array> {
  if (position < 0) throw corrupt(id)
  const found = await file.at(position, octets)
  if (found.length !== octets) throw corrupt(id)
  return found
}

function verified<T>(id: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    if (hasCode(error, "DECRYPTION_FAILED")) throw corrupt(id, error)
    throw error
  }
}

function corrupt(id: string, cause?: unknown): GatewayError {
  return new GatewayError("SPOOL_CORRUPT", `spool ${id}: the file is not as it was written`, { cause })
}
