import { GatewayError } from "../errors.ts"
import { headerEnd } from "../mime/header.ts"
import type { HeldShare } from "./held-octets.ts"
import { WHOLE_OCTETS } from "./prepared.ts"
import type { RestoredUpload } from "./restored-upload.ts"

/** The beginning of an upload, in the account's form. */
export interface UploadHead {
  /** The whole header section and {@link HEAD_BODY_OCTETS} of the body at least; the whole message when `whole`. */
  readonly octets: Uint8Array
  readonly whole: boolean
}

/** Of the body, for a message that is not held whole. */
const HEAD_BODY_OCTETS = 65_536

/**
 * Holds as much of an upload as must be seen before it is known what is stored: all of it when it is small and there is room.
 * @throws GatewayError UPLOADS_FULL when there is no room for the head either, HEADER_TOO_LARGE
 */
export async function takeHead(
  content: AsyncIterator<Uint8Array>,
  sizeOctets: number,
  restored: RestoredUpload,
  share: HeldShare,
): Promise<UploadHead> {
  const whole = sizeOctets <= WHOLE_OCTETS && share.take(sizeOctets)
  const held = new HeldHead()
  for (;;) {
    const next = await content.next()
    if (next.done === true) return { octets: held.push(...restored.end()), whole: true }
    if (!whole && !share.take(next.value.length))
      throw new GatewayError("UPLOADS_FULL", "append: too many uploads at once")
    held.push(...restored.push(next.value))
    if (!whole && held.bodyOctets >= HEAD_BODY_OCTETS) return { octets: held.push(), whole: false }
  }
}

/** Octets in one piece: a client may send them one by one, and an object for each would take a hundred times their size. */
class HeldHead {
  #octets = new Uint8Array(4_096)
  #size = 0
  #body: number | null = null

  /** How many octets stand behind the header section. */
  get bodyOctets(): number {
    return this.#body === null ? 0 : this.#size - this.#body
  }

  /** @returns all octets so far */
  push(...pieces: readonly Uint8Array[]): Uint8Array {
    for (const octets of pieces) this.#keep(octets)
    return this.#octets.subarray(0, this.#size)
  }

  #keep(octets: Uint8Array): void {
    if (this.#size + octets.length > this.#octets.length) {
      const larger = new Uint8Array(2 * (this.#size + octets.length))
      larger.set(this.#octets.subarray(0, this.#size))
      this.#octets = larger
    }
    this.#octets.set(octets, this.#size)
    this.#size += octets.length
    // The header section comes in one piece, or nearly.
    this.#body ??= headerEnd(this.#octets.subarray(0, this.#size))
  }
}
