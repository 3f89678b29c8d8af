/** Order L of the prime-order subgroup of Curve25519 (RFC 7748 §4.1). */
export const X25519_ORDER = 0x1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3edn

/**
 * The inverse of `number` modulo a prime. Takes a time that depends on the number: only for key splitting and set-up, where nobody
 * else measures. Zero has none: the answer is 0 then.
 */
export function inverse(number: bigint, prime: bigint): bigint {
  let [low, high] = [modulo(number, prime), prime]
  let [factor, previous] = [1n, 0n]
  while (low > 1n) {
    const quotient = high / low
    ;[low, high] = [high - quotient * low, low]
    ;[factor, previous] = [previous - quotient * factor, factor]
  }
  return low === 0n ? 0n : modulo(factor, prime)
}

/** The representative from 0 to `modulus`-1. Without a branch, since numbers are secret at times. */
export function modulo(number: bigint, modulus: bigint): bigint {
  return ((number % modulus) + modulus) % modulus
}

/** The number that big-endian octets stand for. */
export function fromBigEndian(octets: Uint8Array): bigint {
  return octets.length === 0 ? 0n : BigInt(`0x${Buffer.from(octets).toString("hex")}`)
}

/** The number that little-endian octets stand for. */
export function fromLittleEndian(octets: Uint8Array): bigint {
  return fromBigEndian(octets.toReversed())
}

/** A number as so many octets (which it must fit into), big-endian. */
export function toBigEndian(number: bigint, octets = 32): Uint8Array {
  return new Uint8Array(Buffer.from(number.toString(16).padStart(2 * octets, "0"), "hex"))
}

/** A number as so many octets (which it must fit into), little-endian. */
export function toLittleEndian(number: bigint, octets = 32): Uint8Array {
  return toBigEndian(number, octets).reverse()
}
