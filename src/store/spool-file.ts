import type { FileHandle } from "node:fs/promises"
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
} from "../crypto/seal/seal.ts"
import { GatewayError, hasCode } from "../errors.ts"
import { parseEntry, type SpoolEntry } from "./spool-entry.ts"

/** An accepted message, open for reading. */
export interface SpooledMessage extends AsyncDisposable {
  readonly entry: SpoolEntry
  /** The content from its beginning, as often as wanted; each piece has been verified. Throws GatewayError SPOOL_CORRUPT. */
  content(): AsyncIterable<Uint8Array>
}

/**
 * Writes content and then the trailer that `trailerFor` makes of its size. Holds one chunk in memory, whatever the size.
 * @throws GatewayError SPOOL_FULL when the disk refuses; what `content` throws comes through as it is
 */
export async function writeSealed(
  file: FileHandle,
  sealer: Sealer,
  content: AsyncIterable<Uint8Array>,
  trailerFor: (sizeOctets: number) => Uint8Array,
): Promise<void> {
  const chunk = Buffer.allocUnsafe(CHUNK_OCTETS)
  let filled = 0
  let sizeOctets = 0
  // The head waits for company: a message of one chunk is one write.
  let head: Uint8Array | null = sealer.head
  for await (const octets of content) {
    for (let at = 0; at < octets.length; ) {
      if (filled === CHUNK_OCTETS) {
        await writeAll(file, [...(head ? [head] : []), sealer.chunk(chunk, false)])
        head = null
        filled = 0
      }
      const part = octets.subarray(at, at + CHUNK_OCTETS - filled)
      chunk.set(part, filled)
      filled += part.length
      at += part.length
    }
    sizeOctets += octets.length
  }
  const last = sealer.chunk(chunk.subarray(0, filled), true)
  await writeAll(file, [...(head ? [head] : []), last, sealer.trailer(trailerFor(sizeOctets))])
}

/** Runs something that needs the disk. @throws GatewayError SPOOL_FULL */
export async function onDisk<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (cause) {
    throw new GatewayError("SPOOL_FULL", "spool: the disk does not take the message", { cause })
  }
}

async function writeAll(file: FileHandle, pieces: readonly Uint8Array[]): Promise<void> {
  const [only, ...more] = pieces
  const octets = only !== undefined && more.length === 0 ? only : Buffer.concat(pieces)
  await onDisk(async () => {
    for (let at = 0; at < octets.length; ) at += (await file.write(octets, at)).bytesWritten
  })
}

/**
 * Opens a sealed file for reading at any place; `file` is closed with it.
 * @throws GatewayError SPOOL_CORRUPT, SPOOL_KEY_MISSING
 */
export async function readSealed(
  file: FileHandle,
  id: string,
  decapsulatorFor: (keyId: Uint8Array) => Decapsulator,
): Promise<SpooledMessage> {
  const { size } = await file.stat()
  const head = await readAt(file, id, 0, HEAD_OCTETS)
  const keyId = keyIdOf(head)
  const layout = layoutOf(size, await readAt(file, id, size - END_OCTETS, END_OCTETS))
  if (keyId === null || layout === null) throw corrupt(id)
  const decapsulator = decapsulatorFor(keyId)
  const opener = verified(id, () => new Opener(head, decapsulator, id))
  const trailer = await readAt(file, id, layout.trailerOffset, layout.trailerOctets)
  const entry = parseEntry(verified(id, () => opener.trailer(trailer, layout.chunks)))
  if (entry.sizeOctets !== layout.sizeOctets) throw corrupt(id)
  return { entry, content: () => contentOf(file, id, opener, layout), [Symbol.asyncDispose]: () => file.close() }
}

async function* contentOf(file: FileHandle, id: string, opener: Opener, layout: Layout): AsyncIterable<Uint8Array> {
  for (let index = 0; index < layout.chunks; index++) {
    const last = index === layout.chunks - 1
    const octets = last ? layout.sizeOctets - index * CHUNK_OCTETS + TAG_OCTETS : SEALED_CHUNK_OCTETS
    const sealed = await readAt(file, id, HEAD_OCTETS + index * SEALED_CHUNK_OCTETS, octets)
    const content = verified(id, () => opener.chunk(sealed, index, last))
    if (content.length > 0) yield content
  }
}

async function readAt(file: FileHandle, id: string, position: number, octets: number): Promise<Uint8Array> {
  if (position < 0) throw corrupt(id)
  const buffer = Buffer.allocUnsafe(octets)
  for (let at = 0; at < octets; ) {
    const { bytesRead } = await file.read(buffer, at, octets - at, position + at)
    if (bytesRead === 0) throw corrupt(id)
    at += bytesRead
  }
  return buffer
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
