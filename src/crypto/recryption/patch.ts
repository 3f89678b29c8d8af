/** Octets to overwrite, at an offset: of a block, or of the feed of a stream. */
export interface Patch {
  readonly offset: number
  readonly octets: Uint8Array
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
    patched ??= Uint8Array.from(octets)
    patched.set(patch.octets.subarray(start - patch.offset, end - patch.offset), start - spanOffset)
  }
  return patched ?? octets
}
