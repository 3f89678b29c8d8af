import { base32Encode } from "./base32.ts"
import { isCut, type Udf } from "./udf.ts"

/**
 * True when two UDFs stand for the same: equal, or for digests and authenticators the one a prefix of the other (draft-hallambaker-mesh-udf §3.2).
 * Neither may have fewer than `minimumBits`, type octet included. A last `A` may be bits or what was filled up with and is taken for either. The time
 * tells where they differ: not for keys that somebody guesses at.
 */
export function sameUdf(a: Udf, b: Udf, minimumBits = MIN_COMPARED_BITS): boolean {
  if (a.type !== b.type) return false
  if (!isCut(a.kind)) return Buffer.compare(a.data, b.data) === 0
  const [short, long] = [charactersOf(a), charactersOf(b)].toSorted((x, y) => x.length - y.length)
  if (short === undefined || long === undefined || short.length * 5 < minimumBits) return false
  return long.startsWith(short) || short === filled(a.text.length >= b.text.length ? a : b, short.length)
}

/** Of two that are the same ({@link sameUdf}) the one to keep: that with more bits ("precision improvement"). */
export function morePrecise(a: Udf, b: Udf): Udf {
  return b.text.length > a.text.length ? b : a
}

/** The form whose bits end with a whole octet: its last character is then filled up with zero bits and no prefix of a longer one. */
function filled(udf: Udf, characters: number): string {
  const octets = Math.floor((characters * 5) / 8)
  return base32Encode(Uint8Array.of(udf.type, ...udf.data.subarray(0, octets - 1)))
}

function charactersOf(udf: Udf): string {
  return udf.text.replaceAll("-", "")
}

/** As in the library. A fingerprint that names a key deserves 128. */
const MIN_COMPARED_BITS = 100
