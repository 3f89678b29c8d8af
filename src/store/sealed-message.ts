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
import { parseEntry, type SpoolEntry } from "./spool-entry.ts"
import { havePassed } from "./young-garbage.ts"

/** An accepted message, open for reading. */
export interface SpooledMessage extends AsyncDisposable {
  readonly entry: SpoolEntry
  /** The content from its beginning, as often as wanted; each piece has been verified. Throws GatewayError SPOOL_CORRUPT. */
  content(): AsyncIterable<Uint8Array>
}

/** Where the octets of one sealed message go, and what seals it. */
export interface SealedTarget extends AsyncDisposable {
  readonly sealer: Sealer
  /** Octets that a message of one chunk is filled up to. */
  readonly fillToOctets: number
  /** Takes the next octets, more follow; resolves when the target can take those. */
  append(octets: Uint8Array): Promise<void>
  /** Takes the last octets; resolves when the message is accepted: whole, and durable under its name. */
  finish(octets: Uint8Array): Promise<void>
}

/** Octets of a sealed message at any place. */
export interface SealedSource {
  readonly sizeOctets: number
  /**
   * @param room for so many octets: whoever has to put them somewhere puts them there
   * @returns fewer octets, possibly none, where the message has no more
   */
  at(position: number, octets: number, room?: Uint8Array): Uint8Array | Promise<Uint8Array>
  close(): Promise<void>
}

/**
 * Seals the content and the trailer that `trailerFor` makes of its size. Holds one chunk in memory, whatever the size.
 * @param begin called once, when there is something to write; with the octets of all, or null when they are more than one chunk's
 * @throws what `begin`, its target and `content` throw comes through as it is
 */
export async function writeSealed(
  begin: (wholeOctets: number | null) => Promise<SealedTarget>,
  content: AsyncIterable<Uint8Array>,
  trailerFor: (sizeOctets: number) => Uint8Array,
): Promise<void> {
  const gathered = new Gathered()
  let target: SealedTarget | null = null
  let headed = false
  let sizeOctets = 0
  try {
    for await (const octets of content) {
      sizeOctets += octets.length
      gathered.add(octets)
      // A full chunk waits for the octet behind it: it may be the last.
      while (gathered.octets > CHUNK_OCTETS) {
        target ??= await begin(null)
        const chunk = target.sealer.chunk(gathered.take(), false)
        await target.append(headed ? chunk : Buffer.concat([target.sealer.head, chunk]))
        headed = true
        havePassed(chunk.length)
      }
    }
    const trailer = trailerFor(sizeOctets)
    const wholeOctets = sealedOctets(gathered.octets, trailer.length)
    target ??= await begin(wholeOctets)
    const { sealer, fillToOctets } = target
    const fillingOctets = headed ? 0 : Math.max(0, fillToOctets - wholeOctets)
    const pieces = [sealer.chunk(gathered.rest(), true), sealer.trailer(trailer, fillingOctets)]
    await target.finish(Buffer.concat(headed ? pieces : [sealer.head, ...pieces]))
  } finally {
    await target?.[Symbol.asyncDispose]()
  }
}

/**
 * Opens what {@link writeSealed} has written; the source is closed with the message, or when it does not open.
 * @throws GatewayError SPOOL_CORRUPT, SPOOL_KEY_MISSING; what the source throws comes through as it is
 */
export async function openSealed(
  source: SealedSource,
  id: string,
  decapsulatorFor: (keyId: Uint8Array) => Decapsulator,
): Promise<SpooledMessage> {
  try {
    return await opened(source, id, decapsulatorFor)
  } catch (error) {
    await source.close()
    throw error
  }
}

async function opened(
  source: SealedSource,
  id: string,
  decapsulatorFor: (keyId: Uint8Array) => Decapsulator,
): Promise<SpooledMessage> {
  const head = await readAt(source, id, 0, HEAD_OCTETS)
  const keyId = keyIdOf(head)
  const layout = layoutOf(source.sizeOctets, await readAt(source, id, source.sizeOctets - END_OCTETS, END_OCTETS))
  if (keyId === null || layout === null) throw corrupt(id)
  const decapsulator = decapsulatorFor(keyId)
  const opener = verified(id, () => new Opener(head, decapsulator, id))
  const trailer = await readAt(source, id, layout.trailerOffset, layout.trailerOctets)
  const entry = parseEntry(verified(id, () => opener.trailer(trailer, layout.chunks)))
  if (entry.sizeOctets !== layout.sizeOctets) throw corrupt(id)
  return { entry, content: () => contentOf(source, id, opener, layout), [Symbol.asyncDispose]: () => source.close() }
}

/** Chunks are read some at a time, into the same room: what is opened of them is elsewhere. */
async function* contentOf(source: SealedSource, id: string, opener: Opener, layout: Layout): AsyncIterable<Uint8Array> {
  const sealedOctets = layout.sizeOctets + layout.chunks * TAG_OCTETS
  const room = sealedOctets > SEALED_CHUNK_OCTETS ? Buffer.allocUnsafeSlow(READ_OCTETS) : undefined
  for (let from = 0; from < sealedOctets; from += READ_OCTETS) {
    const octets = Math.min(READ_OCTETS, sealedOctets - from)
    const sealed = await readAt(source, id, HEAD_OCTETS + from, octets, room)
    for (let at = 0; at < octets; at += SEALED_CHUNK_OCTETS) {
      const index = (from + at) / SEALED_CHUNK_OCTETS
      const chunk = sealed.subarray(at, at + SEALED_CHUNK_OCTETS)
      const content = verified(id, () => opener.chunk(chunk, index, index === layout.chunks - 1))
      if (content.length > 0) yield content
      if (layout.chunks > 1) havePassed(content.length)
    }
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

async function readAt(
  source: SealedSource,
  id: string,
  position: number,
  octets: number,
  room?: Uint8Array,
): Promise<Uint8Array> {
  if (position < 0) throw corrupt(id)
  const found = await source.at(position, octets, room)
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
  return new GatewayError("SPOOL_CORRUPT", `spool ${id}: what rests is not as it was written`, { cause })
}

/** A trip to the disk costs as much as to open a chunk. */
const READ_OCTETS = 4 * SEALED_CHUNK_OCTETS
