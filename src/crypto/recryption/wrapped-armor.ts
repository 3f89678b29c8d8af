import { Base64Text, textEnd, textPatches, textRuns } from "./base64-text.ts"
import type { Patch, Span } from "./patch.ts"

/** What recrypts the text that was wrapped. */
export interface InnerStream {
  push(octets: Uint8Array): Uint8Array[]
  end(): Uint8Array[]
  readonly patches: readonly Patch[]
  readonly windows: readonly Span[]
}

/** Text that is decided. Offsets of patches and windows count from its first octet. */
export interface Released {
  readonly octets: Uint8Array
  readonly patches: readonly Patch[]
  readonly windows: readonly Span[]
  /** Not null: the wrapped text has ended, and this follows. */
  readonly rest: Uint8Array | null
}

/**
 * Armor in Content-Transfer-Encoding base64, as Exchange sends attachments: the text is decoded on the way, recrypted by a stream of
 * its own, and written anew in the quanta that changed.
 */
export class WrappedArmor {
  readonly inner: InnerStream
  readonly #text = new Base64Text()
  /** Text not given out yet, from a whole quantum on, and what it decodes to, recrypted as far as that is decided. */
  #held: Uint8Array = EMPTY
  #decided: Uint8Array = EMPTY
  /** Decoded octets given out, in whole quanta. */
  #offset = 0

  constructor(inner: InnerStream) {
    this.inner = inner
  }

  push(octets: Uint8Array, ended: boolean): Released {
    this.#held = Buffer.concat([this.#held, octets])
    this.#text.push(octets)
    const out = this.inner.push(this.#text.take())
    const last = ended || this.#text.ended
    if (last) out.push(...this.inner.end())
    this.#decided = Buffer.concat([this.#decided, ...out])
    return this.#release(last)
  }

  #release(last: boolean): Released {
    const size = this.#decided.length - (this.#decided.length % 3)
    const end = textEnd(this.#held, 0, size)
    const octets = this.#held.subarray(0, end)
    const changed = this.#within(
      this.inner.patches.map(({ offset, octets: { length } }) => spanOf(offset, length)),
      size,
    )
    const windows = this.#within(this.inner.windows, size)
    const patches = textPatches(textRuns(octets, 0, changed), this.#decided)
    const released = { octets, patches, windows: textRuns(octets, 0, windows) }
    this.#held = this.#held.subarray(end)
    this.#decided = this.#decided.subarray(size)
    this.#offset += size
    return { ...released, rest: last ? this.#held : null }
  }

  /** The parts of the spans that the next `size` decoded octets hold, counted from the first of them. */
  #within(spans: readonly Span[], size: number): Span[] {
    return spans
      .map(({ start, end }) => ({ start: Math.max(0, start - this.#offset), end: Math.min(size, end - this.#offset) }))
      .filter(({ start, end }) => start < end)
  }
}

function spanOf(start: number, length: number): Span {
  return { start, end: start + length }
}

/** `-----BEGIN PGP MESSAGE-----` in base64: 27 octets, so the 36 characters depend on nothing that follows. */
export const WRAPPED_ARMOR_HEADER: Uint8Array = Buffer.from("LS0tLS1CRUdJTiBQR1AgTUVTU0FHRS0tLS0t")
const EMPTY = new Uint8Array(0)
