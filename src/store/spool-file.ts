import { close, closeSync, fdatasync, fstatSync, read, readSync, write, writeSync } from "node:fs"
import { promisify } from "node:util"
import type { Sealer } from "../crypto/seal/seal.ts"
import { GatewayError } from "../errors.ts"
import { openIfThere } from "./durable.ts"
import { EarlySync } from "./early-sync.ts"
import type { SealedSource, SealedTarget } from "./sealed-message.ts"
import { isErased } from "./used-files.ts"

// What only touches the page cache is done at once, 3 to 15 microseconds. What changes names or frees blocks may wait for the file
// system's journal, a millisecond and more: in the thread pool, by callback, which costs 10 microseconds where fs.promises takes 40.
const syncFile = promisify(fdatasync)
const writeFile = promisify(write)
const readFile = promisify(read)
const closeFile = promisify(close)

/** Files up to this size are read with one call; larger ones piece by piece, off the main thread. */
const WHOLE_OCTETS = 262_144

/** A file that is to be written from its beginning, and what seals it. */
interface SealedFile {
  /** Closed with the target. */
  readonly descriptor: number
  readonly sealer: Sealer
  readonly fillToOctets: number
  /**
   * Gives the written file its name and makes that durable: at the same time as the octets, so that one commit of the file system's
   * journal can serve both.
   */
  readonly name: () => Promise<{ readonly durable: Promise<void> }>
}

/** A file as the target of a message. Its methods throw GatewayError SPOOL_FULL when the disk refuses; the file may be there then. */
export function fileTarget({ descriptor, sealer, fillToOctets, name }: SealedFile): SealedTarget {
  let written = 0
  const early = new EarlySync(descriptor)
  return {
    sealer,
    fillToOctets,
    // A disk that does not keep up makes the writer wait: not on the main thread.
    append: (octets) =>
      onDisk(async () => {
        for (let at = 0; at < octets.length; ) at += (await writeFile(descriptor, octets, at)).bytesWritten
        written += octets.length
        early.wrote(octets.length)
      }),
    async finish(octets) {
      refusable(() => {
        for (let at = 0; at < octets.length; ) at += writeSync(descriptor, octets, at, octets.length - at, written + at)
      })
      await onDisk(() => early.end())
      const { durable } = await name()
      // Both have ended before the file is closed, whatever they come to.
      const outcomes = await Promise.allSettled([onDisk(() => syncFile(descriptor)), durable])
      for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason
    },
    async [Symbol.asyncDispose]() {
      await early[Symbol.asyncDispose]()
      closeSync(descriptor)
    },
  }
}

/** @returns null when there is no such file; "erased" when its message has left */
export function openFileSource(path: string): SealedSource | "erased" | null {
  const descriptor = openIfThere(path)
  if (descriptor === null) return null
  let sizeOctets: number
  try {
    sizeOctets = fstatSync(descriptor).size
    if (sizeOctets <= WHOLE_OCTETS) {
      const whole = Buffer.allocUnsafe(sizeOctets)
      const there = whole.subarray(0, readSync(descriptor, whole, 0, sizeOctets, 0))
      closeSync(descriptor)
      // Larger ones are never written again.
      if (isErased(there)) return "erased"
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
    async at(position, octets, room) {
      const buffer = room ?? Buffer.allocUnsafe(octets)
      return buffer.subarray(0, (await readFile(descriptor, buffer, 0, octets, position)).bytesRead)
    },
    close: () => closeFile(descriptor),
  }
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
