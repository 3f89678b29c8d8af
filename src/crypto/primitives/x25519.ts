import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject } from "node:crypto"
import { GatewayError } from "../../errors.ts"
import { privateKeyText, publicKeyText } from "./key-text.ts"
import { randomOctets } from "./random.ts"

/** Octets of an X25519 scalar and of a u-coordinate; little-endian (RFC 7748 §5). */
export const X25519_OCTETS = 32

/** A clamped scalar (RFC 7748 §5) of 32 random octets. */
export function randomX25519Scalar(): Uint8Array {
  return clampX25519(randomOctets(X25519_OCTETS))
}

/** The scalar as RFC 7748 §5 decodes it: multiple of 8, bit 254 set, bit 255 clear. A copy. */
export function clampX25519(scalar: Uint8Array): Uint8Array {
  checkLength(scalar, "SCALAR_INVALID", "scalar")
  const clamped = new Uint8Array(scalar)
  clamped[0] = (clamped[0] ?? 0) & 248
  clamped[31] = ((clamped[31] ?? 0) & 127) | 64
  return clamped
}

/**
 * X25519(scalar, 9): the public u-coordinate, 32 octets.
 * @throws GatewayError SCALAR_INVALID
 */
export function x25519PublicKey(scalar: Uint8Array): Uint8Array {
  return publicOctets(privateKey(scalar))
}

/** X25519 of a fixed scalar and `point` (32 octets). Throws GatewayError POINT_INVALID where the result would be zero. */
export type X25519Agreement = (point: Uint8Array) => Uint8Array

/**
 * X25519 by one scalar, kept ready for many points: the hot path of recryption. The scalar is clamped by the function itself.
 * @throws GatewayError SCALAR_INVALID when the scalar is not 32 octets
 */
export function x25519Agreement(scalar: Uint8Array): X25519Agreement {
  const key = privateKey(scalar)
  return (point) => agree(key, point)
}

/**
 * X25519(scalar, point), 32 octets (RFC 7748 §6.1).
 * @throws GatewayError SCALAR_INVALID, POINT_INVALID (small order: the result would be zero)
 */
export function x25519SharedKey(scalar: Uint8Array, point: Uint8Array): Uint8Array {
  return agree(privateKey(scalar), point)
}

/**
 * A sender's ephemeral public key and its agreement with `point` in one go. Measured: 150 microseconds, 370 with keys as DER.
 * @throws GatewayError SCALAR_INVALID, POINT_INVALID
 */
export function x25519Ephemeral(
  scalar: Uint8Array,
  point: Uint8Array,
): { readonly ephemeralPoint: Uint8Array; readonly sharedKey: Uint8Array } {
  checkLength(scalar, "SCALAR_INVALID", "scalar")
  const key = createPrivateKey(privateKeyText(PKCS8_HEAD, scalar))
  return { ephemeralPoint: publicOctets(key), sharedKey: agree(key, point) }
}

function agree(key: KeyObject, point: Uint8Array): Uint8Array {
  checkLength(point, "POINT_INVALID", "point")
  try {
    return diffieHellman({ privateKey: key, publicKey: publicKeyText(SPKI_HEAD, point) })
  } catch (cause) {
    // RFC 7748 §6.1: OpenSSL refuses the all-zero result of a point of small order.
    throw new GatewayError("POINT_INVALID", "x25519: point is of small order", { cause })
  }
}

function privateKey(scalar: Uint8Array): KeyObject {
  checkLength(scalar, "SCALAR_INVALID", "scalar")
  return createPrivateKey({ key: Buffer.concat([PKCS8_HEAD, scalar]), format: "der", type: "pkcs8" })
}

function publicOctets(key: KeyObject): Uint8Array {
  // RFC 8037 §2. As a JSON Web Key it is there in 1 microsecond, in SubjectPublicKeyInfo in 30.
  const { x = "" } = createPublicKey(key).export({ format: "jwk" })
  return Buffer.from(x, "base64url")
}

function checkLength(octets: Uint8Array, code: "SCALAR_INVALID" | "POINT_INVALID", what: string): void {
  if (octets.length !== X25519_OCTETS) throw new GatewayError(code, `x25519: ${what} is not ${X25519_OCTETS} octets`)
}

// RFC 8410 §7 and §4.
const PKCS8_HEAD = Buffer.from("302e020100300506032b656e04220420", "hex")
const SPKI_HEAD = Buffer.from("302a300506032b656e032100", "hex")
