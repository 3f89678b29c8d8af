import { createHash, createHmac, hkdfSync, timingSafeEqual } from "node:crypto"

/** A digest fed in pieces. */
export interface Digest {
  update(octets: Uint8Array): this
  digest(): Uint8Array
}

export function sha1(octets: Uint8Array): Uint8Array {
  return createHash("sha1").update(octets).digest()
}

export function sha256(octets: Uint8Array): Uint8Array {
  return createHash("sha256").update(octets).digest()
}

export function sha512(octets: Uint8Array): Uint8Array {
  return createHash("sha512").update(octets).digest()
}

export function digestOf(algorithm: "sha1" | "sha256" | "sha512"): Digest {
  return createHash(algorithm)
}

export function hmacSha256(key: Uint8Array): Digest {
  return createHmac("sha256", key)
}

/** HKDF with SHA-256 (RFC 5869). */
export function hkdfSha256(keyMaterial: Uint8Array, salt: Uint8Array, info: string, lengthOctets: number): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", keyMaterial, salt, info, lengthOctets))
}

/** Compares without telling by its time where the first difference is. Different lengths are unequal. */
export function equalConstantTime(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}
