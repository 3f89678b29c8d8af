import { type FileHandle, open } from "node:fs/promises"
import { BareLineEnds, CrlfLines } from "../mime/line-ends.ts"
import type { Message } from "./message.ts"
import { sizesOf } from "./paths.ts"

/** One read; a few of them are all that a message of any size needs of memory. */
const CHUNK_OCTETS = 65_536

/** An open message file, seen as it goes on the wire: every line ends in CRLF (Dovecot stores LF unless told otherwise). */
export class MessageFile implements AsyncDisposable {
  /** RFC822.SIZE. */
  readonly sizeOctets: number
  readonly internalDateMs: number
  readonly #file: FileHandle
  readonly #fileOctets: number

  private constructor(file: FileHandle, fileOctets: number, sizeOctets: number, internalDateMs: number) {
    this.#file = file
    this.#fileOctets = fileOctets
    this.sizeOctets = sizeOctets
    this.internalDateMs = internalDateMs
  }

  /** Opens the file of `message`; the caller has found its path. Sizes not told by its name are measured. */
  static async open(path: string, message: Message): Promise<MessageFile> {
    const file = await open(path, "r")
    try {
      const { size, mtimeMs } = await file.stat()
      const told = sizesOf(message.base)
      // A name that lies about its size would break the literal's length.
      const wire = told.fileOctets === size ? told.wireOctets : null
      message.wireOctets ??= wire ?? (await measure(file, size))
      message.internalDateMs = Math.floor(mtimeMs)
      return new MessageFile(file, size, message.wireOctets, mtimeMs)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** Octets [start, end) of the message; ends early only when the file was cut short. */
  async *read(start: number, end: number): AsyncGenerator<Uint8Array> {
    if (this.#fileOctets === this.sizeOctets) yield* readRaw(this.#file, start, Math.min(end, this.sizeOctets))
    else yield* this.#readConverted(start, end)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close()
  }

  /** Offsets are of the converted text, so that reading begins at the front. */
  async *#readConverted(start: number, end: number): AsyncGenerator<Uint8Array> {
    const lines = new CrlfLines()
    let at = 0
    for await (const raw of readRaw(this.#file, 0, this.#fileOctets)) {
      const octets = lines.push(raw)
      const wanted = octets.subarray(Math.max(0, start - at), Math.max(0, end - at))
      if (wanted.length > 0) yield wanted
      at += octets.length
      if (at >= end) return
    }
  }
}

async function measure(file: FileHandle, fileOctets: number): Promise<number> {
  const bare = new BareLineEnds()
  for await (const octets of readRaw(file, 0, fileOctets)) bare.push(octets)
  return fileOctets + bare.count
}

async function* readRaw(file: FileHandle, start: number, end: number): AsyncGenerator<Uint8Array> {
  for (let at = start; at < end; ) {
    const octets = Buffer.allocUnsafe(Math.min(CHUNK_OCTETS, end - at))
    const { bytesRead } = await file.read(octets, 0, octets.length, at)
    if (bytesRead === 0) return
    yield octets.subarray(0, bytesRead)
    at += bytesRead
  }
}
