import { applyPatches, type Patch, type Span } from "./patch.ts"

/** What a block is written in. */
export type BlockFormat = "cms" | "openpgp"

/** One ephemeral key in the head of a block, and whom it is for. */
export interface Exchange {
  /** The ephemeral point's octets; null when they are not in a form that can be recrypted. */
  readonly point: Span | null
  /** CMS: whole RecipientIdentifier elements. OpenPGP: the key id. */
  readonly identifiers: readonly Span[]
}

/** The part of a block that recryption reads: everything up to the end of the last exchange. */
export interface BlockHead {
  readonly format: BlockFormat
  readonly endOctets: number
  /** Of the whole block, as far as its head tells: at least so many belong to it. */
  readonly wholeOctets: number
  readonly exchanges: readonly Exchange[]
  /** All that any recryption of this block can change, whoever it is for: the rest is what a marker can rely on. */
  readonly windows: readonly Span[]
}

/** Turns blocks for one key into blocks for another, by overwriting octets in their head. */
export interface Recryptor {
  readonly format: BlockFormat
  /**
   * What changes in one exchange of `block`.
   * @returns null when the exchange is not for this recryptor's key
   * @throws GatewayError when it is, but cannot be recrypted: POINT_INVALID, CMS_MALFORMED, OPENPGP_MALFORMED
   */
  patches(block: Uint8Array, exchange: Exchange): readonly Patch[] | null
  /**
   * A whole block, or as much of one as holds its head, of the same length.
   * @returns null when nothing in it is for this recryptor's key
   * @throws GatewayError as {@link Recryptor.patches}, and when the head is cut off or no head
   */
  recrypt(block: Uint8Array): Uint8Array | null
}

/**
 * What the recryptors change in a block. Each exchange goes to the first recryptor that knows it.
 * @throws GatewayError as {@link Recryptor.patches}
 */
export function patchesOf(recryptors: readonly Recryptor[], block: Uint8Array, head: BlockHead): Patch[] {
  const all: Patch[] = []
  for (const exchange of head.exchanges)
    for (const recryptor of recryptors) {
      const patches = recryptor.format === head.format ? recryptor.patches(block, exchange) : null
      if (patches === null) continue
      all.push(...patches)
      break
    }
  return all
}

/** What changes in a block, of which `block` holds at least the head. May throw as {@link Recryptor.patches} does. */
export type BlockPatching = (block: Uint8Array, head: BlockHead) => readonly Patch[]

/** {@link Recryptor.recrypt} for a head that was read already. */
export function recryptBlock(recryptor: Recryptor, block: Uint8Array, head: BlockHead): Uint8Array | null {
  const patches = patchesOf([recryptor], block, head)
  return patches.length === 0 ? null : applyPatches(patches, 0, block)
}

/** What reading the head of a block came to: the head, no block at all, or at least so many octets are needed. */
export type HeadReading =
  | { readonly kind: "head"; readonly head: BlockHead }
  | { readonly kind: "none" }
  | { readonly kind: "more"; readonly octets: number }
