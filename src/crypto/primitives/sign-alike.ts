import { p256 } from "@noble/curves/nist.js"

/**
 * ECDSA with P-256 and SHA-256 over `octets`, as Ecdsa-Sig-Value (RFC 3279 §2.2.3), with the nonce of RFC 6979: the same for the same input, for what
 * several processes must make alike. node:crypto offers no such nonce.
 * @throws Error of the library when the scalar is not in 1..n-1
 */
export function signP256Alike(scalar: Uint8Array, octets: Uint8Array): Uint8Array {
  return p256.sign(octets, scalar, { format: "der" })
}
