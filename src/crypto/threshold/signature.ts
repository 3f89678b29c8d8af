import { GatewayError } from "../../errors.ts"
import type { PublicKey } from "../mesh-keys/key.ts"
import { isMontgomery } from "../mesh-keys/key.ts"
import { isSignatureOf, orderOf } from "../mesh-keys/use.ts"
import {
  addEdwardsPoints,
  type EdwardsCurve,
  edwardsChallenge,
  edwardsMultiplication,
  edwardsOctets,
  edwardsPublicKey,
} from "../primitives/edwards.ts"
import { equalConstantTime } from "../primitives/hash.ts"
import { joined } from "../primitives/joined.ts"
import { fromLittleEndian, toLittleEndian } from "../primitives/modular.ts"

/** What one holder of a share gives to a signature: its nonce's point R_i, and S_i = r_i + k*s_i, as a signature has them. */
export interface SignatureContribution {
  readonly point: Uint8Array
  readonly answer: Uint8Array
}

/**
 * What all contributions answer to: k = H(dom || R || A || M) for the sum R of their points (draft-hallambaker-threshold-sigs §4). With
 * Ed25519 that is Ed25519ctx with an empty context: what comes out is no plain Ed25519 signature.
 * @throws GatewayError MESH_KEY_UNSUPPORTED for a key that does not sign; POINT_INVALID
 */
export function thresholdChallenge(key: PublicKey, points: readonly Uint8Array[], octets: Uint8Array): bigint {
  const curve = edwardsOf(key)
  return edwardsChallenge(curve, sumOfPoints(curve, points), key.octets, octets)
}

/**
 * True when a contribution answers to the challenge for the public share: S_i*B = R_i + k*A_i. Whoever combines looks at each, so that it shows whose is wrong.
 * Everything here is public. There is no making of contributions: a nonce that is the same in two sessions gives the share away, and the drafts leave that open.
 * @throws GatewayError MESH_KEY_UNSUPPORTED
 */
export function isSignatureContribution(
  share: PublicKey,
  { point, answer }: SignatureContribution,
  challenge: bigint,
): boolean {
  const curve = edwardsOf(share)
  const number = fromLittleEndian(answer)
  if (answer.length !== edwardsOctets(curve) || number >= orderOf(curve)) return false
  try {
    const expected = addEdwardsPoints(curve, point, edwardsMultiplication(curve, challenge)(share.octets))
    return equalConstantTime(edwardsPublicKey(curve, number), expected)
  } catch (error) {
    if (error instanceof GatewayError) return false
    throw error
  }
}

/**
 * The signature R || S that contributions add up to.
 * @throws GatewayError MESH_KEY_UNSUPPORTED, POINT_INVALID, SHARES_INVALID when there are none
 */
export function combineSignature(key: PublicKey, contributions: readonly SignatureContribution[]): Uint8Array {
  const curve = edwardsOf(key)
  const sum = contributions.reduce((total, { answer }) => total + fromLittleEndian(answer), 0n) % orderOf(curve)
  const point = sumOfPoints(
    curve,
    contributions.map(({ point }) => point),
  )
  return joined([point, toLittleEndian(sum, edwardsOctets(curve))])
}

/** True when a signature that was made by several holders is the key's; false for anything malformed. */
export function isThresholdSignature(key: PublicKey, octets: Uint8Array, signature: Uint8Array): boolean {
  // Generation 2022 signs like that everywhere.
  return isSignatureOf(key, octets, signature, 2022)
}

function sumOfPoints(curve: EdwardsCurve, points: readonly Uint8Array[]): Uint8Array {
  const [first, ...others] = points
  if (first === undefined) throw new GatewayError("SHARES_INVALID", "threshold: there are no contributions")
  return others.reduce((sum, point) => addEdwardsPoints(curve, sum, point), first)
}

function edwardsOf({ curve }: PublicKey): EdwardsCurve {
  if (isMontgomery(curve)) throw new GatewayError("MESH_KEY_UNSUPPORTED", `threshold: ${curve} does not sign`)
  return curve
}
