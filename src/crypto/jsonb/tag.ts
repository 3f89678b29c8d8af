/*
 * Tags of JSON-B (draft-hallambaker-jsonbcd-21 §4, tables 1 and 2). Lengths and integers are big-endian.
 *
 *   80-83 string, last piece    84-87 string, piece     length in 1, 2, 4, 8 octets
 *   88-8B data, last piece      8C-8F data, piece       as well
 *   A0-A3 integer  A8-AB negative integer  1, 2, 4, 8 octets     A7 AF bignum, length in 2 octets
 *   92 binary64    B0 true    B1 false    B2 null
 *
 * B4 stands in no table: the reference code writes it before a member's name (connections of both generations), length in 1 octet, no comma before it.
 */

/** What a tag announces: content of a fixed length, or of one that follows in so many octets. */
export type Tag =
  | { readonly kind: "string" | "data"; readonly last: boolean; readonly lengthOctets: number }
  | { readonly kind: "name"; readonly last: true; readonly lengthOctets: number }
  | { readonly kind: "bignum"; readonly negative: boolean; readonly lengthOctets: number }
  | { readonly kind: "integer"; readonly negative: boolean; readonly contentOctets: number }
  | { readonly kind: "real"; readonly contentOctets: number }
  | { readonly kind: "boolean"; readonly value: boolean; readonly contentOctets: number }
  | { readonly kind: "null"; readonly contentOctets: number }

/** The tag with this octet; null when JSON-B has none (those of JSON-C and JSON-D, which the Mesh does not use, included). */
export function tagOf(octet: number): Tag | null {
  return TAGS[octet] ?? null
}

/** How a value is divided: the first octet of a piece that is the last, or of one that is not. */
export const FIRST_TAG = { lastString: 0x80, string: 0x84, lastData: 0x88, data: 0x8c } as const

/** What is nothing but the name of a member. */
export const NAME_TAG = 0xb4

/** Octets of the lengths that the low two bits of a tag 80-8F stand for. */
export const LENGTH_OCTETS = [1, 2, 4, 8] as const

const TAGS: readonly (Tag | undefined)[] = Array.from({ length: 256 }, (_, octet) => describe(octet))

function describe(octet: number): Tag | undefined {
  const size = LENGTH_OCTETS[octet & 3] ?? 1
  if (octet >= 0x80 && octet <= 0x8f) {
    return { kind: octet < 0x88 ? "string" : "data", last: (octet & 4) === 0, lengthOctets: size }
  }
  const negative = (octet & 8) !== 0
  if (octet === 0xa7 || octet === 0xaf) return { kind: "bignum", negative, lengthOctets: 2 }
  if (octet >= 0xa0 && octet <= 0xab && (octet & 4) === 0) return { kind: "integer", negative, contentOctets: size }
  if (octet === 0x92) return { kind: "real", contentOctets: 8 }
  if (octet === 0xb0 || octet === 0xb1) return { kind: "boolean", value: octet === 0xb0, contentOctets: 0 }
  if (octet === 0xb2) return { kind: "null", contentOctets: 0 }
  if (octet === NAME_TAG) return { kind: "name", last: true, lengthOctets: 1 }
  return undefined
}
