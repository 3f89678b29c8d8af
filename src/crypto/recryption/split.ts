import { GatewayError } from "../../errors.ts"
import {
  fromBigEndian,
  fromLittleEndian,
  inverse,
  modulo,
  toLittleEndian,
  X25519_ORDER,
} from "../primitives/modular.ts"
import { P256_ORDER, P256_SCALAR_OCTETS, p256ScalarFromNumber, randomP256Scalar } from "../primitives/p256.ts"
import { randomX25519Scalar, X25519_OCTETS } from "../primitives/x25519.ts"
import { clampedRepresentative } from "../primitives/x25519-recrypt.ts"

/** A device's own scalar b, and the recryption scalar k = a/b that turns what is for the account (a) into what is for the device. */
export interface Split {
  readonly device: Uint8Array
  readonly recryption: Uint8Array
}

/** Makes a device key for an account key on P-256; `random` draws a scalar from 1 to n-1. */
export function splitP256(account: Uint8Array, random: () => Uint8Array = randomP256Scalar): Split {
  const device = random()
  return { device, recryption: recryptionScalarP256(account, device) }
}

/**
 * k = a * b^-1 mod n, 32 octets big-endian.
 * @throws GatewayError SCALAR_INVALID for a scalar that is not in 1..n-1
 */
export function recryptionScalarP256(account: Uint8Array, device: Uint8Array): Uint8Array {
  return p256ScalarFromNumber(modulo(p256Number(account) * inverse(p256Number(device), P256_ORDER), P256_ORDER))
}

/**
 * The way back, from the device's form to the account's: k^-1 mod n.
 * @throws GatewayError SCALAR_INVALID
 */
export function inverseScalarP256(recryption: Uint8Array): Uint8Array {
  return p256ScalarFromNumber(inverse(p256Number(recryption), P256_ORDER))
}

/**
 * Makes a device key for an account key on Curve25519. Draws device scalars until the recryption scalar has a clamped form, which
 * every second draw gives: then plain X25519, which clamps its scalar, multiplies by exactly k and clears small subgroups by itself.
 */
export function splitX25519(account: Uint8Array, random: () => Uint8Array = randomX25519Scalar): Split {
  for (let draw = 0; draw < MAX_DRAWS; draw++) {
    const device = random()
    const recryption = recryptionScalarX25519(account, device)
    if (recryption !== null) return { device, recryption }
  }
  throw new GatewayError("SCALAR_INVALID", `split: no clamped recryption scalar in ${MAX_DRAWS} draws`)
}

/**
 * k = a / b mod L as a clamped scalar, 32 octets little-endian. Both scalars count as X25519 would clamp them.
 * @returns null when k has no clamped representative: another device scalar must be drawn
 * @throws GatewayError SCALAR_INVALID
 */
export function recryptionScalarX25519(account: Uint8Array, device: Uint8Array): Uint8Array | null {
  return clampedRepresentative(
    modulo(x25519Number(account) * inverse(x25519Number(device), X25519_ORDER), X25519_ORDER),
  )
}

/**
 * The way back: k^-1 mod L, clamped where it has such a form, else the least representative (bit 254 clear), which
 * {@link x25519Multiplication} takes as well.
 * @throws GatewayError SCALAR_INVALID
 */
export function inverseScalarX25519(recryption: Uint8Array): Uint8Array {
  checkLength(recryption, X25519_OCTETS)
  const number = inverse(fromLittleEndian(recryption), X25519_ORDER)
  if (number === 0n) throw new GatewayError("SCALAR_INVALID", "split: scalar is zero")
  return clampedRepresentative(number) ?? toLittleEndian(number)
}

/** Each draw fails with probability 1/2; a hundred failures mean a broken generator. */
const MAX_DRAWS = 100

function p256Number(scalar: Uint8Array): bigint {
  checkLength(scalar, P256_SCALAR_OCTETS)
  const number = fromBigEndian(scalar)
  if (number < 1n || number >= P256_ORDER) throw new GatewayError("SCALAR_INVALID", "split: scalar is out of range")
  return number
}

// RFC 7748 §5: decodeScalar25519.
function x25519Number(scalar: Uint8Array): bigint {
  checkLength(scalar, X25519_OCTETS)
  const number = fromLittleEndian(scalar)
  return ((number & ((1n << 255n) - 8n)) | (1n << 254n)) % X25519_ORDER
}

function checkLength(scalar: Uint8Array, octets: number): void {
  if (scalar.length !== octets) throw new GatewayError("SCALAR_INVALID", `split: scalar is not ${octets} octets`)
}
