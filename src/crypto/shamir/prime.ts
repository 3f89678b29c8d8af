/** The smallest prime above 2^(8n) for secrets of n octets, n from 1 to 64 (draft-hallambaker-mesh-udf §4.6 and its table). */
export function shamirPrime(octets: number): bigint | null {
  const offset = OFFSETS[octets - 1]
  return offset === undefined ? null : (1n << BigInt(8 * octets)) + BigInt(offset)
}

const OFFSETS: readonly number[] = [
  1, 1, 43, 15, 15, 21, 81, 13, 15, 13, 7, 61, 111, 25, 451, 51, 85, 175, 253, 7, 87, 427, 27, 133, 235, 375, 423, 735,
  357, 115, 81, 297, 175, 57, 45, 127, 61, 37, 91, 27, 15, 241, 231, 55, 105, 127, 115, 231, 207, 181, 37, 235, 163,
  1093, 187, 211, 21, 841, 445, 165, 777, 583, 133, 75,
]
