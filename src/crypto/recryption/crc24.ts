import { crc24 } from "../openpgp/armor.ts"

/**
 * What to add (exclusive or) to the CRC-24 of a message whose head changed by `delta` (old xor new, from the first octet on), when
 * `followingOctets` unchanged octets follow the head. The CRC is linear: neither the message nor its old CRC is needed.
 */
export function crc24Change(delta: Uint8Array, followingOctets: number): number {
  return multiply(crc24(delta, 0), powerOfOctets(followingOctets))
}

/** x^(8n) modulo the polynomial. */
function powerOfOctets(n: number): number {
  let result = 1
  let base = 1 << 8
  for (let rest = n; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) result = multiply(result, base)
    base = multiply(base, base)
  }
  return result
}

/** Product of two polynomials over GF(2), modulo x^24 + POLYNOMIAL. */
function multiply(a: number, b: number): number {
  let product = 0
  let shifted = a
  for (let rest = b; rest > 0; rest >>>= 1) {
    if ((rest & 1) === 1) product ^= shifted
    shifted = times(shifted)
  }
  return product
}

/** Multiplied by x. */
function times(a: number): number {
  return ((a & 0x800000) === 0 ? a << 1 : (a << 1) ^ POLYNOMIAL) & 0xffffff
}

const POLYNOMIAL = 0x864cfb
