import { GatewayError } from "../../errors.ts"
import { isEndOfContents, readElement, TAG } from "./der.ts"

/** One BER element with what is in it. */
export interface Node {
  readonly tag: number
  /** Header included. */
  readonly octets: Uint8Array
  readonly content: Uint8Array
  readonly children: readonly Node[]
}

/** CMS nests about ten deep. */
export const MAX_BER_NODE_DEPTH = 24

/**
 * Reads the element that the octets begin with, and everything in it.
 * @throws GatewayError DER_SYNTAX, CMS_MALFORMED
 */
export function readNode(octets: Uint8Array): Node {
  return nodeAt(octets, 0, octets.length, 0)[0]
}

/**
 * The members of the constructed element that the octets begin with, one after the other, so that a long list is never there as a whole.
 * @throws GatewayError DER_SYNTAX, CMS_MALFORMED
 */
export function* membersOf(octets: Uint8Array): Generator<Node> {
  const element = readElement(octets, 0)
  if (element === null || (element.tag & CONSTRUCTED) === 0) throw malformed("BER")
  const limit = element.end ?? octets.length
  if (limit > octets.length) throw malformed("BER")
  let at = element.contentStart
  while (element.end === null ? !isEndOfContents(octets, at) : at < limit) {
    const [node, next] = nodeAt(octets, at, limit, 1)
    yield node
    at = next
  }
}

/** The content octets; those of a constructed string (X.690 §8.7.3) put together. */
export function valueOctets(node: Node): Uint8Array {
  return (node.tag & CONSTRUCTED) === 0 ? node.content : Buffer.concat(node.children.map(valueOctets))
}

/** Content octets of an OBJECT IDENTIFIER in hexadecimal; empty when it is not there. */
export function oidHex(node: Node | undefined): string {
  return node?.tag === TAG.oid ? Buffer.from(node.content).toString("hex") : ""
}

export function malformed(what: string): GatewayError {
  return new GatewayError("CMS_MALFORMED", `cms: ${what} is malformed or not supported`)
}

function nodeAt(octets: Uint8Array, offset: number, limit: number, depth: number): [Node, number] {
  const element = readElement(octets, offset)
  if (!element || depth > MAX_BER_NODE_DEPTH || element.contentStart > limit || (element.end ?? 0) > limit)
    throw malformed("BER")
  const { tag, contentStart, end } = element
  const children: Node[] = []
  let at = contentStart
  if ((tag & CONSTRUCTED) !== 0)
    while (end === null ? !isEndOfContents(octets, at) : at < end) {
      const [child, next] = nodeAt(octets, at, end ?? limit, depth + 1)
      children.push(child)
      at = next
    }
  const contentEnd = end ?? at
  const behind = end ?? at + 2
  const node = {
    tag,
    octets: octets.subarray(offset, behind),
    content: octets.subarray(contentStart, contentEnd),
    children,
  }
  return [node, behind]
}

const CONSTRUCTED = 0x20
