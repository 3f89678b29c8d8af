import { equalConstantTime, hmacSha256 } from "../crypto/primitives/hash.ts"
import { ascii } from "../mime/compose.ts"
import type { MarkerMaker } from "./marker-mac.ts"

export const FORM_TAG_OCTETS = 16

/**
 * Tells the account's form of an OpenPGP message from its devices' forms, which name the same key and differ in the ephemeral point
 * alone: a MAC over the head of its first block, decoded, as the account's key opens it.
 */
export function formTag({ markerKey, account }: MarkerMaker, head: Uint8Array): Uint8Array {
  const label = ascii(`postern form 1\0${encodeURIComponent(account)}\0`)
  return hmacSha256(markerKey).update(label).update(head).digest().subarray(0, FORM_TAG_OCTETS)
}

/** True when `head` is what `tag` was made of. */
export function formFits(maker: MarkerMaker, tag: Uint8Array, head: Uint8Array): boolean {
  return equalConstantTime(tag, formTag(maker, head))
}
