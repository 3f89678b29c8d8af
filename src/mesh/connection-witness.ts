/** PURE */
import { sha512 } from "../crypto/primitives/hash.ts"
import { presentBits } from "../crypto/udf/udf.ts"

/** One side of a connection: the binary fingerprint of its profile (generation 2024: 65 octets, 2022: 64), and its nonce. */
export interface ConnectionSide {
  readonly fingerprint: Uint8Array
  readonly nonce: Uint8Array
}

/**
 * What the new device and an administrator's device both show, for a person to compare (draft-hallambaker-mesh-protocol, device connection). No
 * type octet stands before it, so that it is no UDF.
 */
export function connectionWitness(account: ConnectionSide, device: ConnectionSide): string {
  return presentBits(sha512(Buffer.concat([sideDigest(account), sideDigest(device)])))
}

function sideDigest({ fingerprint, nonce }: ConnectionSide): Uint8Array {
  return sha512(Buffer.concat([fingerprint, nonce]))
}
