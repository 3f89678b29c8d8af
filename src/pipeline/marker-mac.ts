import { type HmacKey, hmacSha256 } from "../crypto/primitives/hash.ts"
import { ascii } from "../mime/compose.ts"
import { LineEnds, PIECE_OCTETS } from "./line-ends.ts"

/** Who encrypted a stored message: we did, or it came encrypted and nobody knows who did (anybody can encrypt to a published key). */
export type EncryptedBy = "this gateway" | "unknown"

/** For whom markers are made, and with what. */
export interface MarkerMaker {
  readonly account: string
  /** The secret that makes markers; lives in `secrets/`. 32 octets. */
  readonly markerKey: HmacKey
}

/**
 * What the MAC of a marker covers. 2: the body without its line ends, so that a store may wrap base64 anew or write LF for CRLF. 1: the
 * body's octets as they stand; no longer made.
 */
export type MarkerVersion = 1 | 2

/** A MAC, and how much of the body it covers. */
export interface Covered {
  readonly coveredOctets: number
  readonly mac: Uint8Array
}

export const MARKER_MAC_OCTETS = 16

/**
 * Computes the MAC of one stored message. Fed with the stable octets of the body: those outside the patch windows, the windows as
 * zeros, so that it holds for every device's view.
 */
export class MarkerMac {
  readonly #limitOctets: number | null
  readonly #lineEnds: LineEnds | null
  readonly #mac
  #covered = 0

  /** `limitOctets`: how many octets are covered, line ends not counted, when not all of the body is; null: all of it. */
  constructor(version: MarkerVersion, by: EncryptedBy, maker: MarkerMaker, limitOctets: number | null) {
    this.#limitOctets = limitOctets
    this.#lineEnds = version === 1 ? null : new LineEnds()
    const label = ascii(`postern marker ${version}\0${by}\0${encodeURIComponent(maker.account)}\0`)
    this.#mac = hmacSha256(maker.markerKey).update(label)
  }

  update(stable: Uint8Array): void {
    for (let at = 0; at < stable.length && this.#left > 0; at += PIECE_OCTETS) {
      const piece = stable.subarray(at, at + PIECE_OCTETS)
      this.#cover(this.#lineEnds?.removed(piece) ?? piece)
    }
  }

  get #left(): number {
    return this.#limitOctets === null ? Number.POSITIVE_INFINITY : this.#limitOctets - this.#covered
  }

  #cover(octets: Uint8Array): void {
    const part = octets.length > this.#left ? octets.subarray(0, this.#left) : octets
    this.#mac.update(part)
    this.#covered += part.length
  }

  /** The octets covered so far and the MAC over them and the marker's tag (null: it has none). Ends the computation. */
  finish(tag: Uint8Array | null): Covered {
    const more = this.#lineEnds === null || this.#limitOctets === null ? "" : "+"
    // Read from its end, what goes into the MAC can be taken apart in one way only.
    if (tag !== null) this.#mac.update(tag)
    this.#mac.update(ascii(`\0${this.#covered}${more}${tag === null ? "" : "t"}`))
    return { coveredOctets: this.#covered, mac: this.#mac.digest().subarray(0, MARKER_MAC_OCTETS) }
  }
}
