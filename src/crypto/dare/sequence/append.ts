import { GatewayError } from "../../../errors.ts"
import type { Writable } from "../../jsonb/write.ts"
import { joined } from "../../primitives/joined.ts"
import { EnvelopeSealer, type SealOptions } from "../seal.ts"
import { frameEnd, frameOctets, headOf } from "./frame.ts"
import { type Link, type Links, linkOf, linksAfter, noLinks, type SequenceType, treePositionOf } from "./linkage.ts"

/** Where the next frame goes, and what it states of those before. {@link file://./verify.ts} finds it for a sequence that is there. */
export interface Tail {
  readonly type: SequenceType
  readonly end: number
  readonly links: Links
}

/** A frame that is to be written at the end of its sequence, and the end behind it. */
export interface NextFrame {
  readonly octets: Uint8Array
  readonly tail: Tail
}

/** How the content of a frame is sealed; its header and trailer are the sequence's own. */
export type FrameOptions = Omit<SealOptions, "header" | "trailer">

/** The first frame: what kind of sequence this is. Its payload is empty. */
export function beginSequence(type: SequenceType, policy?: Writable): NextFrame {
  const nothing: Tail = { type, end: 0, links: noLinks() }
  return appendFrame(nothing, new Uint8Array(0), { encryption: null }, { policy })
}

/** A frame with content that is at hand. `header` may add members (EnvelopeId). */
export function appendFrame(
  tail: Tail,
  content: Uint8Array,
  options: FrameOptions,
  header: Readonly<Record<string, Writable | undefined>> = {},
): NextFrame {
  const writer = new FrameWriter(tail, content.length, options, header)
  const octets = joined([writer.begin, writer.update(content), writer.end()])
  return { octets, tail: writer.tail }
}

/**
 * Writes one frame in pieces. Its length stands before it, so that the content's has to be known; the digests stand behind.
 * A frame that breaks off is a last frame that readers leave out.
 */
export class FrameWriter {
  readonly #before: Tail
  readonly #sealer: EnvelopeSealer
  readonly #contentOctets: number
  readonly #frameContentOctets: number
  readonly #trailerOctets: number
  #received = 0
  /** What the last trailer states; the first one only says how long it will be. */
  #stated: Link | null = null
  #link: Link | null = null

  constructor(tail: Tail, contentOctets: number, options: FrameOptions, header: SealOptions["header"] = {}) {
    this.#before = tail
    this.#contentOctets = contentOctets
    this.#sealer = new EnvelopeSealer({
      ...options,
      header: { ...header, SequenceInfo: sequenceInfo(tail) },
      trailer: (payloadDigest) => {
        this.#stated = linkOf(tail.links, payloadDigest)
        return linkMembers(tail.type, this.#stated)
      },
    })
    this.#trailerOctets = this.#sealer.trailerOctets
    const records = [this.#sealer.header.length, this.#payloadOctets, this.#trailerOctets]
    this.#frameContentOctets = records.reduce((sum, size) => sum + headOf("record", size).length + size, 0)
  }

  /** What stands before the payload. */
  get begin(): Uint8Array {
    const { header } = this.#sealer
    return Buffer.concat([
      headOf("frame", this.#frameContentOctets),
      headOf("record", header.length),
      header,
      headOf("record", this.#payloadOctets),
    ])
  }

  update(content: Uint8Array): Uint8Array {
    this.#received += content.length
    return this.#sealer.update(content)
  }

  /** The rest of the frame. @throws GatewayError LENGTH_MISMATCH when the content had another length than was said */
  end(): Uint8Array {
    if (this.#received !== this.#contentOctets)
      throw new GatewayError("LENGTH_MISMATCH", "sequence: content has another length than was said")
    const last = this.#sealer.final()
    const { trailer } = this.#sealer.end()
    this.#link = this.#stated
    return Buffer.concat([last, headOf("record", trailer.length), trailer, frameEnd(this.#frameContentOctets)])
  }

  /** Behind this frame; only after `end()`. */
  get tail(): Tail {
    const { type, end, links } = this.#before
    return { type, end: end + frameOctets(this.#frameContentOctets), links: linksAfter(links, this.#written, end) }
  }

  /** What binds this frame and all before it (64 octets); only after `end()`. */
  get apex(): Uint8Array {
    return new Uint8Array(this.#written.apex)
  }

  get #written(): Link {
    if (this.#link === null)
      throw new GatewayError("LENGTH_MISMATCH", "sequence: frame has not been written to its end")
    return this.#link
  }

  get #payloadOctets(): number {
    return this.#sealer.payloadOctets(this.#contentOctets)
  }
}

function sequenceInfo({ type, links }: Tail): Writable {
  const { index } = links
  if (index === 0) return { DataEncoding: "JSON", ContainerType: type, Index: 0 }
  const isTree = type === "Tree" || type === "Merkle"
  return { Index: index, TreePosition: isTree ? (treePositionOf(links) ?? undefined) : undefined }
}

function linkMembers(type: SequenceType, { chain, apex }: Link) {
  return {
    ChainDigest: type === "Chain" ? chain : undefined,
    ApexDigest: type === "Merkle" ? apex : undefined,
  }
}
