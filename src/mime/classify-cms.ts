import { type Element, readElement, TAG } from "../crypto/cms/der.ts"
import { GatewayError } from "../errors.ts"
import { CiphertextSample } from "./classify-ciphertext.ts"
import {
  AUTH_ENVELOPED_DATA,
  CONTENT_INFO,
  ENVELOPED_DATA,
  type EnvelopePart,
  mayEnd,
  memberFor,
  type Shape,
} from "./classify-cms-shape.ts"
import { onlyBlank, type Recogniser } from "./classify-recogniser.ts"

/** Real ones nest below 15 (names in certificates in originatorInfo). */
export const MAX_BER_DEPTH = 40

/** Segments of ciphertext below {@link SHORT_SEGMENT_OCTETS}; everybody writes 1000 octets or more, and each costs time. */
export const MAX_SHORT_SEGMENTS = 1000

/** Is given the parts of an envelope as they are walked: any number of pieces of each, in order. */
export type EnvelopeWatch = (part: EnvelopePart, octets: Uint8Array) => void

/** Walks a CMS ContentInfo with enveloped or authEnveloped data (RFC 5652 §6, RFC 5083) in BER, from its first octet to its last. */
export class EnvelopeWalker implements Recogniser {
  readonly #sample = new CiphertextSample()
  readonly #open: Open[] = []
  readonly #watch: EnvelopeWatch | null
  /** The part that is being walked, and how many elements are open around it. */
  #watched: { readonly part: EnvelopePart; readonly depth: number } | null = null
  /** Octets of an element's header that is not complete yet. */
  #held: Uint8Array = NOTHING
  /** Octets walked, those held included when they are complete. */
  #offset = 0
  /** Content of a primitive element that is still to come. */
  #remaining = 0
  #primitive: Shape = { kind: "any" }
  #contentType: number[] = []
  #shortSegments = 0
  #phase: "begin" | "inside" | "after" = "begin"
  found: "smime" | null = null

  constructor(watch: EnvelopeWatch | null = null) {
    this.#watch = watch
  }

  /** Whether the content is authenticated; known as soon as a part is. */
  get isAuthenticated(): boolean {
    return Buffer.from(this.#contentType).toString("hex") === AUTH_ENVELOPED_DATA_OID
  }

  push(octets: Uint8Array): void {
    let rest = octets
    while (rest.length > 0 && this.#phase !== "after") {
      const taken = this.#remaining > 0 ? this.#content(rest) : this.#header(rest)
      rest = rest.subarray(taken)
    }
    onlyBlank(rest)
  }

  end(): void {
    if (this.#phase !== "after") throw clear("cut off")
    this.#sample.end()
  }

  #content(octets: Uint8Array): number {
    const content = octets.subarray(0, Math.min(octets.length, this.#remaining))
    if (this.#primitive.kind === "ciphertext") this.#sample.push(content)
    if (this.#primitive.kind === "contentType") this.#contentType.push(...content)
    if (this.#watched !== null) this.#watch?.(this.#watched.part, content)
    this.#remaining -= content.length
    this.#offset += content.length
    if (this.#remaining === 0) this.#closeFull()
    return content.length
  }

  #header(octets: Uint8Array): number {
    const seen =
      this.#held.length === 0 ? octets : Buffer.concat([this.#held, octets.subarray(0, MAX_BER_HEADER_OCTETS)])
    const element = readElement(seen, 0)
    if (element === null) {
      this.#held = Uint8Array.from(seen)
      return octets.length
    }
    const taken = element.headerLength - this.#held.length
    this.#held = NOTHING
    this.#element(element, seen.subarray(0, element.headerLength))
    return taken
  }

  #element(element: Element, octets: Uint8Array): void {
    const parent = this.#open.at(-1) ?? outside()
    this.#offset += element.headerLength
    if (this.#offset > parent.bound) throw clear("element is too long")
    if (element.tag === 0) this.#endOfContents(element, parent, octets)
    else this.#begin(element, parent, octets)
  }

  #begin(element: Element, parent: Open, octets: Uint8Array): void {
    const shape = memberFor(parent, element.tag)
    this.#watched ??= shape.part === undefined ? null : { part: shape.part, depth: this.#open.length }
    this.#show(octets)
    const length = element.end === null ? null : element.end - element.headerLength
    const end = length === null ? null : this.#offset + length
    const bound = Math.min(parent.bound, this.#offset + (shape.limitOctets ?? Number.POSITIVE_INFINITY))
    if (end !== null && end > bound) throw clear("element is too long")
    this.#phase = "inside"
    if (shape.kind === "ciphertext") this.#segment(length)
    if ((element.tag & CONSTRUCTED) !== 0) {
      this.#open.push({ shape: this.#resolved(shape), end, bound: end ?? bound, next: 0 })
      if (this.#open.length > MAX_BER_DEPTH) throw clear("nested too deep")
    } else {
      this.#primitive = shape
      this.#remaining = length ?? 0
    }
    if (length === 0) this.#closeFull()
  }

  #segment(length: number | null): void {
    this.found = "smime"
    if (length === null || length < SHORT_SEGMENT_OCTETS) this.#shortSegments += 1
    if (this.#shortSegments > MAX_SHORT_SEGMENTS) throw clear("too many short segments")
  }

  // X.690 §8.1.5
  #endOfContents(element: Element, parent: Open, octets: Uint8Array): void {
    this.#show(octets)
    if (parent.end !== null || element.end !== element.headerLength) throw clear("end of contents where none is due")
    this.#close()
    this.#closeFull()
  }

  /** Closes the elements that end here. */
  #closeFull(): void {
    while (this.#open.at(-1)?.end === this.#offset) this.#close()
    if (this.#watched !== null && this.#open.length <= this.#watched.depth) this.#watched = null
  }

  /** Headers within a part belong to it, but for those between segments of ciphertext. */
  #show(octets: Uint8Array): void {
    if (this.#watched !== null && this.#watched.part !== "ciphertext") this.#watch?.(this.#watched.part, octets)
  }

  #close(): void {
    const closed = this.#open.pop()
    if (closed && !mayEnd(closed)) throw clear("element is not complete")
    if (this.#open.length === 0) this.#phase = "after"
  }

  /** What the content type says the content is. */
  #resolved(shape: Shape): Shape {
    if (shape.kind !== "content") return shape
    const type = Buffer.from(this.#contentType).toString("hex")
    if (type === ENVELOPED_DATA_OID) return ENVELOPED_DATA
    if (type === AUTH_ENVELOPED_DATA_OID) return AUTH_ENVELOPED_DATA
    throw clear("content type is not enveloped")
  }
}

/** An element that is being read. */
interface Open {
  readonly shape: Shape
  /** Offset behind it; null for the indefinite form. */
  readonly end: number | null
  /** No octet of it may stand behind this offset. */
  readonly bound: number
  /** The next member of a sequence. */
  next: number
}

function clear(what: string): GatewayError {
  return new GatewayError("CLEAR_CONTENT", `cms: ${what}`)
}

/** What the ContentInfo stands in. */
function outside(): Open {
  return {
    shape: { kind: "sequence", members: [{ tags: [TAG.sequence], shape: CONTENT_INFO }] },
    end: Number.POSITIVE_INFINITY,
    bound: Number.POSITIVE_INFINITY,
    next: 0,
  }
}

const CONSTRUCTED = 0x20
const SHORT_SEGMENT_OCTETS = 128
/** Tag, count and five octets of length. */
const MAX_BER_HEADER_OCTETS = 7
/** 1.2.840.113549.1.7.3 */
const ENVELOPED_DATA_OID = "2a864886f70d010703"
/** 1.2.840.113549.1.9.16.1.23 */
const AUTH_ENVELOPED_DATA_OID = "2a864886f70d0109100117"
const NOTHING = new Uint8Array(0)
