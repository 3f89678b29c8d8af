import { GatewayError } from "../../errors.ts"
import { isMontgomery, type PrivateKey } from "../mesh-keys/key.ts"
import { scalarOf } from "../mesh-keys/use.ts"
import {
  addPoints,
  type MontgomeryCurve,
  montgomeryMultiplication,
  montgomeryOctets,
  printPoint,
  readPoint,
} from "../primitives/montgomery.ts"

/** What one holder of a share gives: s*V, in the extended form (33 or 57 octets). It is as secret as what is agreed. */
export type AgreementContribution = (point: Uint8Array) => Uint8Array

/**
 * A share's part in an agreement (draft-hallambaker-threshold §4), kept ready for many points. Multiplication is OpenSSL's: u(s*V) and u((s+1)*V), from which v(s*V) follows.
 *
 * Shares are numbers modulo L, so their parts add up to the key's only for points of order L. Others are refused; the drafts do not say so. A point without the sign of v (32 or 56 octets) is taken with the even one: everybody who takes part must then do the same.
 * @throws GatewayError MESH_KEY_UNSUPPORTED for a key that does not agree; SCALAR_INVALID; the contribution POINT_INVALID
 */
export function agreementContribution(share: PrivateKey): AgreementContribution {
  const curve = montgomeryOf(share)
  const multiply = montgomeryMultiplication(curve, scalarOf(share))
  return (point) => printPoint(curve, multiply(readPoint(curve, point)))
}

/**
 * What is agreed: the u-coordinate of the sum of the contributions, as X25519 and X448 give it.
 * @throws GatewayError SHARES_INVALID for fewer than two; POINT_INVALID for what is no contribution, and where the sum would be infinity
 */
export function combineAgreement(curve: MontgomeryCurve, contributions: readonly Uint8Array[]): Uint8Array {
  const octets = montgomeryOctets(curve)
  const [first, ...others] = contributions
  if (first === undefined || others.length === 0)
    throw new GatewayError("SHARES_INVALID", "threshold: two contributions at least are combined")
  if (contributions.some(({ length }) => length !== octets + 1))
    throw new GatewayError("POINT_INVALID", "threshold: contribution has no sign")
  const points = contributions.map((contribution) => readPoint(curve, contribution))
  return printPoint(
    curve,
    points.reduce((sum, point) => addPoints(curve, sum, point)),
  ).subarray(0, octets)
}

function montgomeryOf({ curve }: PrivateKey): MontgomeryCurve {
  if (!isMontgomery(curve)) throw new GatewayError("MESH_KEY_UNSUPPORTED", `threshold: ${curve} does not agree`)
  return curve
}
