import { GatewayError } from "../../errors.ts"
import { x25519Multiplication } from "../primitives/x25519-recrypt.ts"
import { readOpenPgpHead } from "./openpgp-head.ts"
import { sameOctets } from "./patch.ts"
import { type Recryptor, recryptBlock } from "./recryptor.ts"
import { inverseScalarX25519 } from "./split.ts"

/** The account's Curve25519Legacy subkey (its key id, 8 octets), and the recryption scalar to a device (32 octets, little-endian). */
export interface OpenPgpRecryption {
  readonly keyId: Uint8Array
  readonly scalar: Uint8Array
}

/**
 * Recrypts OpenPGP messages for the subkey `keyId`: the ephemeral point becomes k*V, nothing else changes, since the device's key has
 * the account's key id and fingerprint. Hidden recipients (key id 0) are left alone.
 * @throws GatewayError SCALAR_INVALID
 */
export function openPgpRecryptor({ keyId, scalar }: OpenPgpRecryption): Recryptor {
  const multiply = x25519Multiplication(scalar)
  const recryptor: Recryptor = {
    format: "openpgp",
    patches(block, { point, identifiers }) {
      const ours = identifiers.some(({ start, end }) => sameOctets(block.subarray(start, end), keyId))
      if (!ours) return null
      if (point === null) throw malformed("ephemeral point is not of Curve25519Legacy")
      return [{ offset: point.start, octets: multiply(block.subarray(point.start, point.end)) }]
    },
    recrypt(block) {
      const reading = readOpenPgpHead(block)
      if (reading.kind !== "head") throw malformed("session keys are cut off")
      return recryptBlock(recryptor, block, reading.head)
    },
  }
  return recryptor
}

/**
 * The way back, from the device's form to the account's, by the same recryption scalar. Both forms name the same key id: whoever uses
 * this must know which of the two a block is.
 * @throws GatewayError SCALAR_INVALID
 */
export function openPgpRestorer({ keyId, scalar }: OpenPgpRecryption): Recryptor {
  return openPgpRecryptor({ keyId, scalar: inverseScalarX25519(scalar) })
}

function malformed(what: string): GatewayError {
  return new GatewayError("OPENPGP_MALFORMED", `openpgp: ${what}`)
}
