import { GatewayError } from "../../errors.ts"
import { fromLittleEndian, inverse, modulo, toLittleEndian, X25519_ORDER } from "./modular.ts"
import { type MontgomeryAgreement, montgomeryAgreement } from "./montgomery.ts"
import { X25519_OCTETS } from "./x25519.ts"

/**
 * Multiplication of points by k (32 octets little-endian, clamped or not; taken modulo L), kept ready for many points: the hot path of recryption.
 * @throws GatewayError SCALAR_INVALID when the scalar is not 32 octets, or zero
 */
export function x25519Multiplication(scalar: Uint8Array): MontgomeryAgreement {
  if (scalar.length !== X25519_OCTETS)
    throw new GatewayError("SCALAR_INVALID", `x25519: scalar is not ${X25519_OCTETS} octets`)
  return montgomeryAgreement("X25519", fromLittleEndian(scalar))
}

/**
 * The clamped scalar 8m, 32 octets little-endian, that is congruent to `number` modulo L.
 * @returns null when there is none: m must lie from 2^251 to 2^252-1, which half of all numbers allow
 */
export function clampedRepresentative(number: bigint): Uint8Array | null {
  const m = modulo(number * INVERSE_OF_8, X25519_ORDER)
  return m >= MIN_M && m < 2n * MIN_M ? toLittleEndian(8n * m) : null
}

const MIN_M = 1n << 251n
const INVERSE_OF_8 = inverse(8n, X25519_ORDER)
