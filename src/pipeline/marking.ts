import { RecryptionStream } from "../crypto/recryption/stream.ts"
import { formTag } from "./form-tag.ts"
import { markerField } from "./marker-field.ts"
import { type EncryptedBy, MARKER_MAC_OCTETS, MarkerMac, type MarkerMaker } from "./marker-mac.ts"

/** Makes the marker of a message in the account's form, fed with its body. */
export class Marking {
  readonly #by: EncryptedBy
  readonly #maker: MarkerMaker
  readonly #more: boolean
  readonly #mac: MarkerMac
  readonly #stream: RecryptionStream
  #tag: Uint8Array | null = null

  /** `limitOctets`: how much of the body is covered; null: all of it, and all of it must then be pushed. */
  constructor(by: EncryptedBy, maker: MarkerMaker, limitOctets: number | null = null) {
    this.#by = by
    this.#maker = maker
    this.#more = limitOctets !== null
    this.#mac = new MarkerMac(2, by, maker, limitOctets)
    this.#stream = new RecryptionStream(
      (block, { format, endOctets }) => {
        if (format === "openpgp") this.#tag ??= formTag(maker, block.subarray(0, endOctets))
        return []
      },
      { onStable: (octets) => this.#mac.update(octets) },
    )
  }

  push(octets: Uint8Array): void {
    // The stream decodes what it is given until it knows the head of a block, and passes on the rest.
    this.#stream.push(octets.subarray(0, HEAD_OCTETS))
    this.#stream.push(octets.subarray(HEAD_OCTETS))
  }

  /** Octets of {@link field} for a body of which so many are covered, all of it, and that is no OpenPGP: known before the body is. */
  static fieldOctets(by: EncryptedBy, maker: MarkerMaker, coveredOctets: number): number {
    const mac = new Uint8Array(MARKER_MAC_OCTETS)
    return markerField(maker, { version: 2, by, coveredOctets, mac, more: false, tag: null }).length
  }

  /** The header field, line end included. Ends the computation. */
  field(): Uint8Array {
    this.#stream.end()
    const covered = this.#mac.finish(this.#tag)
    return markerField(this.#maker, { version: 2, by: this.#by, ...covered, more: this.#more, tag: this.#tag })
  }
}

/** The head of an envelope to one recipient in base64 has 700 octets; more is decoded when that was not enough. */
const HEAD_OCTETS = 1_024
