import { applyPatches, type Patch, sameOctets } from "../crypto/recryption/patch.ts"
import { type BlockHead, type BlockPatching, patchesOf, type Recryptor } from "../crypto/recryption/recryptor.ts"
import { formFits } from "./form-tag.ts"
import { isGenuine, type ReadMarker, readMarker } from "./marker-field.ts"
import type { MarkerMaker } from "./marker-mac.ts"

/** The ways from the forms of an account's devices to the account's own. */
export interface Restorers {
  /** From the S/MIME certificates of the live devices, which a block in their form names. */
  readonly smime: readonly Recryptor[]
  /** For each live device, from its form of the account's OpenPGP keys. */
  readonly openpgp: readonly (readonly Recryptor[])[]
  /** Of those keys: a block names them in any form. */
  readonly keyIds: readonly Uint8Array[]
  /** Recognise the S/MIME certificates of devices that were revoked: there is no way from those any more. */
  readonly revoked: readonly Recryptor[]
}

export const NO_RESTORERS: Restorers = { smime: [], openpgp: [], keyIds: [], revoked: [] }

/** True when no block can be restored: there are no devices. */
export function isEmpty({ smime, openpgp }: Restorers): boolean {
  return smime.length === 0 && openpgp.length === 0
}

/** The marker in a header section, when this gateway made it for this account. */
export function genuineMarker(header: Uint8Array, maker: MarkerMaker): ReadMarker | null {
  const marker = readMarker(header)
  return marker !== null && isGenuine(maker, marker) ? marker : null
}

/**
 * What changes in the blocks of one message so that it is in the account's form, whatever form it comes in. S/MIME blocks say whose
 * they are. OpenPGP blocks do not: the tag of the message's marker tells, of the first; the others of the message are in the same form.
 */
export class Restoring {
  readonly #maker: MarkerMaker
  readonly #restorers: Restorers
  readonly #tag: Uint8Array | null
  /** The OpenPGP restorers that the message needs: none when it is in the account's form; null: not known yet. */
  #needed: readonly Recryptor[] | null
  #lost = false

  /** `tag`: of a genuine marker of the message; null: it has none, and OpenPGP blocks stay as they are. */
  constructor(rest: MarkerMaker & { readonly restorers: Restorers }, tag: Uint8Array | null) {
    this.#maker = rest
    this.#restorers = rest.restorers
    this.#tag = tag
    this.#needed = tag === null ? [] : null
  }

  /** True when a block is in the form of a device that was revoked, or was altered: there is no way back to the account's form. */
  get lost(): boolean {
    return this.#lost
  }

  readonly patching: BlockPatching = (block, head) =>
    head.format === "cms" ? this.#smime(block, head) : this.#openPgp(block, head)

  #smime(block: Uint8Array, head: BlockHead): readonly Patch[] {
    const patches = patchesOf(this.#restorers.smime, block, head)
    if (patches.length === 0 && patchesOf(this.#restorers.revoked, block, head).length > 0) this.#lost = true
    return patches
  }

  #openPgp(block: Uint8Array, head: BlockHead): readonly Patch[] {
    this.#needed ??= this.#tag && this.#neededFor(block.subarray(0, head.endOctets), head, this.#tag)
    return this.#needed === null ? [] : patchesOf(this.#needed, block, head)
  }

  /** @returns null when this block cannot tell, since it is for somebody else */
  #neededFor(block: Uint8Array, head: BlockHead, tag: Uint8Array): readonly Recryptor[] | null {
    if (formFits(this.#maker, tag, block)) return []
    const { keyIds, openpgp } = this.#restorers
    const named = head.exchanges.flatMap(({ identifiers }) => identifiers)
    const ours = named.some(({ start, end }) => keyIds.some((id) => sameOctets(id, block.subarray(start, end))))
    if (!ours) return null
    const fits = (restorers: readonly Recryptor[]): boolean =>
      formFits(this.#maker, tag, applyPatches(patchesOf(restorers, block, head), 0, block))
    const needed = openpgp.find(fits)
    if (needed === undefined) this.#lost = true
    return needed ?? []
  }
}
