import { createPrivateKey, createPublicKey, diffieHellman } from "node:crypto"
import { GatewayError } from "../../errors.ts"
import { P256_POINT_OCTETS, p256Decompress, p256Pkcs8, p256Spki } from "./p256.ts"
import { withoutStackTraces } from "./stack-traces.ts"

/**
 * k*V or -k*V for a fixed k, in the form V came in (65 octets uncompressed or 33 compressed): ECDH uses x only, so either sign serves.
 * Throws GatewayError POINT_INVALID for anything but a point of the curve.
 */
export type P256Multiplication = (point: Uint8Array) => Uint8Array

/**
 * Multiplication of points by k, kept ready for many points: the hot path of recryption.
 * @throws GatewayError SCALAR_INVALID when the scalar is not in 1..n-1
 */
export function p256Multiplication(scalar: Uint8Array): P256Multiplication {
  const privateKey = createPrivateKey({ key: Buffer.from(p256Pkcs8(scalar)), format: "der", type: "pkcs8" })
  const sharedX = (point: Uint8Array): Uint8Array => {
    const publicKey = createPublicKey({ key: Buffer.from(spkiOf(point)), format: "der", type: "spki" })
    return diffieHellman({ privateKey, publicKey })
  }
  return (point) => {
    const compressed = new Uint8Array(COMPRESSED_OCTETS)
    compressed[0] = 2
    try {
      // The import checks that the point is on the curve (SEC 1 §2.3.4).
      compressed.set(
        withoutStackTraces(() => sharedX(point)),
        1,
      )
    } catch (cause) {
      throw new GatewayError("POINT_INVALID", "p256: point is not on the curve", { cause })
    }
    return point.length === COMPRESSED_OCTETS ? compressed : p256Decompress(compressed)
  }
}

// SEC 1 §2.3.3; infinity (one octet) and the hybrid forms are refused here, OpenSSL would take them.
function spkiOf(point: Uint8Array): Uint8Array {
  if (point.length === P256_POINT_OCTETS && point[0] === 4) return p256Spki(point)
  if (point.length === COMPRESSED_OCTETS && (point[0] === 2 || point[0] === 3))
    return Buffer.concat([COMPRESSED_SPKI_HEAD, point])
  throw new GatewayError("POINT_INVALID", "p256: point is neither 33 nor 65 octets with their prefix")
}

const COMPRESSED_OCTETS = 33
const COMPRESSED_SPKI_HEAD = Buffer.from("3039301306072a8648ce3d020106082a8648ce3d030107032200", "hex")
