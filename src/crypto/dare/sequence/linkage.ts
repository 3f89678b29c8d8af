import { sha512 } from "../../primitives/hash.ts"

/** How the frames of a sequence are bound to one another (draft-hallambaker-mesh-dare-12 §6.1). */
export type SequenceType = "List" | "Digest" | "Chain" | "Tree" | "Merkle"

export const SEQUENCE_TYPES: readonly string[] = ["List", "Digest", "Chain", "Tree", "Merkle"] satisfies SequenceType[]

/** What the next frame needs of those before it: some 50 digests and positions, however many frames there are. */
export interface Links {
  /** Index of the next frame. */
  readonly index: number
  readonly chain: Uint8Array
  /**
   * Number k: the last frame whose number, counted from 1, is divisible by 2^k and by no higher power. It is the root of the last complete
   * tree of that height, and every frame that the next one refers to is among them.
   */
  readonly roots: readonly (Root | undefined)[]
}

interface Root {
  readonly position: number
  readonly apex: Uint8Array
}

/** What a frame states of those before it. */
export interface Link {
  readonly chain: Uint8Array
  readonly apex: Uint8Array
}

/** Before the first frame. */
export function noLinks(): Links {
  return { index: 0, chain: ZERO, roots: [] }
}

/**
 * The link of the next frame. With x its number from 1 and 2^k the highest power of two that divides x:
 * chain = SHA-512(chain before || digest); apex = the digest, taken together with the roots of height 0 to k-1 and then with that of the frame before in the tree,
 * each SHA-512(root || so far).
 */
export function linkOf(links: Links, payloadDigest: Uint8Array): Link {
  const before = rootBefore(links)
  const joined = links.roots.slice(0, height(links.index + 1))
  const apex = [...joined, before].reduce((so, root) => joinDigests(root?.apex ?? ZERO, so), payloadDigest)
  return { chain: joinDigests(links.chain, payloadDigest), apex }
}

/** Position of the frame before the next one, in the tree; null for the first. */
export function treePositionOf(links: Links): number | null {
  return rootBefore(links)?.position ?? null
}

/** Behind the next frame, which stands at `position`. */
export function linksAfter(links: Links, link: Link, position: number): Links {
  const roots = [...links.roots]
  roots[height(links.index + 1)] = { position, apex: link.apex }
  return { index: links.index + 1, chain: link.chain, roots }
}

/** What published sequences state as chain digest: their writer never knew the digest before, and took zeros for it. */
export function unlinkedChain(payloadDigest: Uint8Array): Uint8Array {
  return joinDigests(ZERO, payloadDigest)
}

/**
 * What published sequences state as apex digest: zeros stand for each root. Files of 2019-20 take as many of them as the next frame would.
 * It shows that the payload is what it was, and nothing of the frames before.
 */
export function unlinkedApexes(index: number, payloadDigest: Uint8Array): readonly Uint8Array[] {
  return [height(index + 1), height(index + 2)].map((joined) =>
    Array.from({ length: joined + 1 }).reduce<Uint8Array>((so) => joinDigests(ZERO, so), payloadDigest),
  )
}

/**
 * Index of the frame before, in the tree; null for the first. With x and k as above: frame x - 2^k from 1, and for a power of two that of
 * half its number.
 */
export function treePredecessor(index: number): number | null {
  const number = index + 1
  const power = 2 ** height(number)
  const before = number === power ? power / 2 : number - power
  return before < 1 ? null : before - 1
}

function rootBefore(links: Links): Root | undefined {
  const before = treePredecessor(links.index)
  return before === null ? undefined : links.roots[height(before + 1)]
}

/** Exponent of the highest power of two that divides the number. */
function height(number: number): number {
  let exponent = 0
  for (let rest = number; rest % 2 === 0; rest /= 2) exponent++
  return exponent
}

function joinDigests(left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha512(Buffer.concat([left, right]))
}

const ZERO = new Uint8Array(64)
