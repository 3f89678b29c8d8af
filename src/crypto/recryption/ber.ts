import { GatewayError } from "../../errors.ts"
import { isEndOfContents, readElement } from "../cms/der.ts"

/** An element that stands wholly in its octets, of definite or indefinite length (X.690 §8.1.3). */
export interface BerElement {
  readonly tag: number
  readonly start: number
  readonly contentStart: number
  readonly contentEnd: number
  readonly end: number
}

/** CMS nests about ten deep before the content; every level costs a stack frame. */
export const MAX_BER_DEPTH = 32

/**
 * The element at `offset`, which must end at or before `limit`.
 * @returns null when the octets end before it does
 * @throws GatewayError DER_SYNTAX
 */
export function readBer(octets: Uint8Array, offset: number, limit: number, depth = 0): BerElement | null {
  if (depth > MAX_BER_DEPTH) throw syntax(`over ${MAX_BER_DEPTH} levels`, offset)
  const found = offset < limit ? readElement(octets, offset) : null
  if (found === null) return null
  const { tag, start, contentStart } = found
  if (found.end !== null) {
    return found.end > limit ? null : { tag, start, contentStart, contentEnd: found.end, end: found.end }
  }
  for (let at = contentStart; at + 2 <= limit; ) {
    if (isEndOfContents(octets, at)) return { tag, start, contentStart, contentEnd: at, end: at + 2 }
    const child = readBer(octets, at, limit, depth + 1)
    if (child === null) return null
    at = child.end
  }
  return null
}

/** As many recipients as fit in the octets that are read; and as many elements as are worth an object each. */
export const MAX_BER_CHILDREN = 4_096

/**
 * The elements inside a constructed element, one level deep.
 * @throws GatewayError DER_SYNTAX when they do not fill it exactly, or there are over {@link MAX_BER_CHILDREN}
 */
export function berChildren(octets: Uint8Array, parent: BerElement): BerElement[] {
  const children: BerElement[] = []
  for (let at = parent.contentStart; at < parent.contentEnd; ) {
    const child = readBer(octets, at, parent.contentEnd)
    if (child === null) throw syntax("element is cut off", at)
    if (children.length === MAX_BER_CHILDREN) throw syntax(`over ${MAX_BER_CHILDREN} elements`, at)
    children.push(child)
    at = child.end
  }
  return children
}

function syntax(what: string, offset: number): GatewayError {
  return new GatewayError("DER_SYNTAX", `ber: ${what} at octet ${offset}`)
}
