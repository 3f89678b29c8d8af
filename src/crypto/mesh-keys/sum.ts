import { GatewayError } from "../../errors.ts"
import { addEdwardsPoints } from "../primitives/edwards.ts"
import { toLittleEndian } from "../primitives/modular.ts"
import {
  addPoints,
  type MontgomeryCurve,
  type MontgomeryPoint,
  montgomeryOctets,
  printPoint,
  readPoint,
} from "../primitives/montgomery.ts"
import { type CfrgCurve, isMontgomery, type PrivateKey, type PublicKey } from "./key.ts"
import { orderOf, publishedForm, scalarOf } from "./use.ts"

/**
 * The key x1 + x2 + … mod L: what co-generation makes of a device's base key and its activation key. A scalar, never clamped.
 * @throws GatewayError MESH_KEY_UNSUPPORTED for keys on different curves; SCALAR_INVALID
 */
export function sumOfPrivateKeys(first: PrivateKey, ...others: readonly PrivateKey[]): PrivateKey {
  checkCurves(first, others)
  return scalarKey(
    first.curve,
    [first, ...others].map(scalarOf).reduce((sum, scalar) => sum + scalar),
  )
}

/**
 * The public key of that sum, from public keys alone: points are added. Whoever has the private keys takes their sum's.
 * X25519 and X448 keys must be contributions, with the sign of v: without it there are several sums.
 * @throws GatewayError MESH_KEY_UNSUPPORTED; POINT_INVALID
 */
export function sumOfPublicKeys(first: PublicKey, ...others: readonly PublicKey[]): PublicKey {
  checkCurves(first, others)
  const { curve } = first
  const all = [first, ...others].map(({ octets }) => octets)
  if (!isMontgomery(curve)) return { curve, octets: all.reduce((sum, octets) => addEdwardsPoints(curve, sum, octets)) }
  const points = all.map((octets) => contributedPoint(curve, octets))
  return publishedForm({
    curve,
    octets: printPoint(
      curve,
      points.reduce((sum, point) => addPoints(curve, sum, point)),
    ),
  })
}

function contributedPoint(curve: MontgomeryCurve, octets: Uint8Array): MontgomeryPoint {
  if (octets.length === montgomeryOctets(curve))
    throw new GatewayError("MESH_KEY_UNSUPPORTED", "mesh key: has no sign, so nothing can be added to it")
  return readPoint(curve, octets)
}

/** A number as a key, reduced modulo L: 32 octets, or 56. */
export function scalarKey(curve: CfrgCurve, scalar: bigint): PrivateKey {
  const octets = curve === "X25519" || curve === "Ed25519" ? 32 : 56
  return { kind: "scalar", curve, octets: toLittleEndian(scalar % orderOf(curve), octets) }
}

function checkCurves(first: { readonly curve: CfrgCurve }, others: readonly { readonly curve: CfrgCurve }[]): void {
  if (others.some(({ curve }) => curve !== first.curve))
    throw new GatewayError("MESH_KEY_UNSUPPORTED", "mesh key: keys are on different curves")
}
