import { createPrivateKey, diffieHellman, type KeyObject } from "node:crypto"
import { GatewayError } from "../../errors.ts"
import { publicKeyText } from "./key-text.ts"
import { fromLittleEndian, inverse, modulo, toLittleEndian, X25519_ORDER } from "./modular.ts"
import { X25519_OCTETS } from "./x25519.ts"

/** k*V for a fixed k: 32 octets in, 32 octets out. Throws GatewayError POINT_INVALID for a point of small order or a wrong length. */
export type X25519Multiplication = (point: Uint8Array) => Uint8Array

/**
 * Multiplication of points by k, kept ready for many points. `scalar` is k in clamped form (RFC 7748 §5), or any other number, which
 * is then taken modulo L and split into two clamped factors: X25519 clamps whatever it is given, so it can multiply by nothing else.
 * @throws GatewayError SCALAR_INVALID when the scalar is not 32 octets, or zero
 */
export function x25519Multiplication(scalar: Uint8Array): X25519Multiplication {
  if (scalar.length !== X25519_OCTETS)
    throw new GatewayError("SCALAR_INVALID", `x25519: scalar is not ${X25519_OCTETS} octets`)
  const keys = (isClamped(scalar) ? [scalar] : clampedFactors(fromLittleEndian(scalar))).map(privateKey)
  return (point) => {
    if (point.length !== X25519_OCTETS)
      throw new GatewayError("POINT_INVALID", `x25519: point is not ${X25519_OCTETS} octets`)
    return keys.reduce(multiply, point)
  }
}

/**
 * The clamped scalar 8m, 32 octets little-endian, that is congruent to `number` modulo L.
 * @returns null when there is none: m must lie from 2^251 to 2^252-1, which half of all numbers allow
 */
export function clampedRepresentative(number: bigint): Uint8Array | null {
  const m = modulo(number * INVERSE_OF_8, X25519_ORDER)
  return m >= MIN_M && m < 2n * MIN_M ? toLittleEndian(8n * m) : null
}

/** Two clamped scalars whose product is `number` modulo L: every second first factor has such a partner. */
function clampedFactors(number: bigint): Uint8Array[] {
  if (modulo(number, X25519_ORDER) === 0n) throw new GatewayError("SCALAR_INVALID", "x25519: scalar is zero")
  for (let m = MIN_M; m < MIN_M + MAX_FACTORS; m++) {
    const partner = clampedRepresentative(number * inverse(8n * m, X25519_ORDER))
    if (partner !== null) return [toLittleEndian(8n * m), partner]
  }
  throw new GatewayError("SCALAR_INVALID", "x25519: scalar has no clamped factors")
}

function isClamped(scalar: Uint8Array): boolean {
  return ((scalar[0] ?? 1) & 7) === 0 && (scalar[31] ?? 0) >> 6 === 1
}

function multiply(point: Uint8Array, key: KeyObject): Uint8Array {
  try {
    return diffieHellman({ privateKey: key, publicKey: publicKeyText(SPKI_HEAD, point) })
  } catch (cause) {
    // RFC 7748 §6.1: OpenSSL refuses the all-zero result of a point of small order.
    throw new GatewayError("POINT_INVALID", "x25519: point is of small order", { cause })
  }
}

function privateKey(scalar: Uint8Array): KeyObject {
  const pkcs8 = Buffer.concat([PKCS8_HEAD, scalar])
  const key = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" })
  pkcs8.fill(0)
  return key
}

const MIN_M = 1n << 251n
/** Each try fails with probability 1/2. */
const MAX_FACTORS = 256n
const INVERSE_OF_8 = inverse(8n, X25519_ORDER)
// RFC 8410 §4 and §7.
const SPKI_HEAD = Buffer.from("302a300506032b656e032100", "hex")
const PKCS8_HEAD = Buffer.from("302e020100300506032b656e04220420", "hex")
