import { GatewayError } from "../../errors.ts"
import type { PrivateKey } from "../mesh-keys/key.ts"
import { scalarKey } from "../mesh-keys/sum.ts"
import { orderOf, scalarOf } from "../mesh-keys/use.ts"
import { fromLittleEndian, modulo } from "../primitives/modular.ts"
import { lagrange, type RandomOctets, valueAt } from "../shamir/secret.ts"

/**
 * Splits a private key into scalars whose sum it is modulo L (draft-hallambaker-threshold §3): all of them are needed, and any fewer are
 * uniform numbers.
 * @throws GatewayError SHARES_INVALID for fewer than two shares
 */
export function splitKey(key: PrivateKey, count: number, random: RandomOctets): PrivateKey[] {
  if (!Number.isInteger(count) || count < 2 || count > MAX_SHARES)
    throw new GatewayError("SHARES_INVALID", "threshold: a key is split in two to sixteen")
  const order = orderOf(key.curve)
  const drawn = Array.from({ length: count - 1 }, () => drawScalar(key, random))
  const rest = drawn.reduce((left, scalar) => modulo(left - scalar, order), scalarOf(key))
  return [rest, ...drawn].map((scalar) => scalarKey(key.curve, scalar))
}

/** A share of a key by Shamir's scheme modulo L. */
export interface KeyShare {
  readonly x: number
  readonly share: PrivateKey
}

/**
 * Splits a private key so that any `threshold` of the shares will do, once it is known which: see {@link weighted}.
 * @throws GatewayError SHARES_INVALID
 */
export function shareKey(key: PrivateKey, threshold: number, count: number, random: RandomOctets): KeyShare[] {
  if (![threshold, count].every(Number.isInteger) || threshold < 1 || count < threshold || count > MAX_SHARES)
    throw new GatewayError("SHARES_INVALID", "threshold: number of shares is not possible")
  const drawn = Array.from({ length: threshold - 1 }, () => drawScalar(key, random))
  const coefficients = [scalarOf(key), ...drawn]
  return Array.from({ length: count }, (_, at) => {
    const value = valueAt(coefficients, BigInt(at + 1), orderOf(key.curve))
    return { x: at + 1, share: scalarKey(key.curve, value) }
  })
}

/**
 * The summand that a share stands for among those with these places: the share times Lagrange's coefficient. The summands add up to the key.
 * @throws GatewayError SHARES_INVALID when the places are not different, or the share's own is not among them
 */
export function weighted({ x, share }: KeyShare, places: readonly number[]): PrivateKey {
  if (new Set(places).size !== places.length || !places.includes(x))
    throw new GatewayError("SHARES_INVALID", "threshold: places of shares are not different")
  const order = orderOf(share.curve)
  return scalarKey(share.curve, scalarOf(share) * lagrange(places.map(BigInt), BigInt(x), 0n, order))
}

/** 64 bits more than L has leave a bias below 2^-64. */
function drawScalar({ curve }: PrivateKey, random: RandomOctets): bigint {
  return fromLittleEndian(random(curve === "X448" || curve === "Ed448" ? 64 : 40)) % orderOf(curve)
}

const MAX_SHARES = 16
