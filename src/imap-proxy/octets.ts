import type { Duplex, Readable, Writable } from "node:stream"
import { TLSSocket } from "node:tls"

/**
 * Takes octets that arrived, and keeps none of their memory: it is used again when this returns. What it returns, if anything, is waited
 * for before more is read.
 */
export type Take = (octets: Uint8Array) => Promise<void> | null

/** A stream that can hand over what arrives where it was read to, instead of copies that wait to be read. */
export interface LendingStream extends Duplex {
  /** From now on, until the end or {@link lendNoMore}; `failed` hears what `take` throws. */
  lendTo(take: Take, failed: (error: unknown) => void): void
  /** What arrives waits to be read again, as on any other stream. */
  lendNoMore(): void
}

/** Reads a stream by asking for it: while nobody asks, the peer is held back by the stream's own buffer (64 KiB). */
export class OctetSource {
  readonly #stream: Readable
  readonly #wake = (): void => this.#waiting?.()
  #waiting: (() => void) | null = null
  #detached = false

  constructor(stream: Readable) {
    this.#stream = stream
    for (const event of EVENTS) stream.on(event, this.#wake)
  }

  /** What has arrived; null after the peer's end, after the stream was destroyed for whatever reason, and after {@link detach}. */
  read(): Promise<Uint8Array | null> {
    const arrived = this.#arrived()
    if (arrived !== undefined) return Promise.resolve(arrived)
    // No loop that waits: its frame would be kept for each connection that is idle.
    return new Promise((resolve) => {
      this.#waiting = () => {
        const octets = this.#arrived()
        if (octets === undefined) return
        this.#waiting = null
        resolve(octets)
      }
    })
  }

  /** null: nothing will. undefined: nothing yet. */
  #arrived(): Uint8Array | null | undefined {
    if (this.#detached) return null
    const octets: unknown = this.#stream.read()
    if (octets instanceof Uint8Array) return octets
    return this.#stream.readableEnded || this.#stream.destroyed ? null : undefined
  }

  /** Gives everything from now on to `take`. Resolves when {@link read} would give null; rejects with what `take` throws. */
  async feed(take: Take): Promise<void> {
    const stream = this.#stream
    if (!lends(stream)) {
      for (let octets = await this.read(); octets !== null; octets = await this.read()) await take(octets)
      return
    }
    // What came before is in the stream's own buffer.
    let arrived = this.#arrived()
    for (; arrived instanceof Uint8Array; arrived = this.#arrived()) await take(arrived)
    if (arrived === undefined) return this.#lend(stream, take)
  }

  #lend(stream: LendingStream, take: Take): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting = () => {
        if (this.#detached || stream.readableEnded || stream.destroyed) resolve()
      }
      stream.lendTo(take, reject)
    })
  }

  /** Lets go of the stream, which stays open for whoever takes it over; what arrives from now on is his. */
  detach(): void {
    if (this.#detached) return
    for (const event of EVENTS) this.#stream.off(event, this.#wake)
    this.#detached = true
    if (lends(this.#stream)) this.#stream.lendNoMore()
    this.#wake()
  }
}

function lends(stream: Readable): stream is LendingStream {
  return "lendTo" in stream
}

/** Gathers pieces into one write, and waits for a slow peer. Pieces that follow one another in memory are one piece: nothing is copied. */
export class OctetSink {
  readonly #stream: Writable
  #pieces: Uint8Array[] = []
  #last: Uint8Array | null = null
  /** Octets behind `#last`, in the same memory, that belong to it. */
  #extendedOctets = 0

  constructor(stream: Writable) {
    this.#stream = stream
  }

  write(octets: Uint8Array): void {
    if (octets.length === 0) return
    const last = this.#last
    if (last !== null && follows(octets, last, this.#extendedOctets)) {
      this.#extendedOctets += octets.length
      return
    }
    this.#settleLast()
    this.#last = octets
  }

  /**
   * Hands over what was written since the last flush; resolves when the peer has taken enough to go on.
   * @param lent the memory of what was written is used again when this returns
   */
  flush(lent = false): Promise<void> | null {
    this.#settleLast()
    const pieces = this.#pieces
    const [first] = pieces
    if (first !== undefined) {
      this.#pieces = []
      if (this.#stream.writable)
        this.#stream.write(pieces.length === 1 ? this.#keepable(first, lent) : Buffer.concat(pieces))
    }
    return this.#stream.writableNeedDrain ? drained(this.#stream) : null
  }

  /** TLS encrypts at once when nothing waits before it; everybody else may look at the octets later. */
  #keepable(octets: Uint8Array, lent: boolean): Uint8Array {
    const usedAtOnce = this.#stream instanceof TLSSocket && this.#stream.writableLength === 0
    return !lent || usedAtOnce ? octets : Buffer.from(octets)
  }

  #settleLast(): void {
    const last = this.#last
    if (last === null) return
    const octets = this.#extendedOctets
    this.#pieces.push(octets === 0 ? last : new Uint8Array(last.buffer, last.byteOffset, last.length + octets))
    this.#last = null
    this.#extendedOctets = 0
  }
}

/** True when `octets` stand right behind `last` and its extension. */
function follows(octets: Uint8Array, last: Uint8Array, extendedOctets: number): boolean {
  return octets.buffer === last.buffer && octets.byteOffset === last.byteOffset + last.length + extendedOctets
}

/** Resolves when `stream` takes octets again, or never will. */
function drained(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off("drain", done)
      stream.off("close", done)
      resolve()
    }
    stream.on("drain", done)
    stream.on("close", done)
  })
}

/** Ends `stream` with `last` once what waits before it is gone, and destroys it after `graceMs` at the latest. */
export function endStream(stream: Duplex, last: Uint8Array | null, graceMs: number): void {
  if (stream.destroyed) return
  const timer = setTimeout(() => stream.destroy(), graceMs)
  const destroy = (): void => {
    clearTimeout(timer)
    stream.destroy()
  }
  if (!stream.writable) destroy()
  else if (last === null) stream.end(destroy)
  else stream.end(last, destroy)
}

const EVENTS = ["readable", "end", "close", "error"] as const
