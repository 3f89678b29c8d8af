/** Octets to overwrite, at an offset: of a block, or of the feed of a stream. */
export interface Patch {
  readonly offset: number
  readonly octets: Uint8Array
}

/** True for the same octets. Not in constant time: nothing that is compared here is secret. */
export function sameOctets(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && standsAt(a, 0, b)
}

/** True when all of `expected` stands in `octets` at `offset`; no views, for the hot path. */
export function standsAt(octets: Uint8Array, offset: number, expected: Uint8Array): boolean {
  for (let at = 0; at < expected.length; at++) if (octets[offset + at] !== expected[at]) return false
  return true
}

/** By ascending offset, as they most often are. */
export function inOrder(patches: readonly Patch[]): readonly Patch[] {
  const ordered = patches.every(({ offset }, index) => offset >= (patches[index - 1]?.offset ?? 0))
  return ordered ? patches : patches.toSorted((a, b) => a.offset - b.offset)
}

/** A run of octets, from `start` to before `end`. */
export interface Span {
  readonly start: number
  readonly end: number
}

/**
 * A span of a message, beginning at `spanOffset`, as the patches change it: by intersection, so that it need not hold whole windows.
 * @returns the same view when no patch meets it, else a copy
 */
export function applyPatches(patches: readonly Patch[], spanOffset: number, octets: Uint8Array): Uint8Array {
  let patched: Uint8Array | null = null
  for (const patch of patches) {
    const start = Math.max(patch.offset, spanOffset)
    const end = Math.min(patch.offset + patch.octets.length, spanOffset + octets.length)
    if (start >= end) continue
    // Not slice(): that of a Buffer is a view. Not new Uint8Array: over 64 octets it has memory of its own, to be found and freed.
    patched ??= Buffer.from(octets)
    patched.set(patch.octets.subarray(start - patch.offset, end - patch.offset), start - spanOffset)
  }
  return patched ?? octets
}
