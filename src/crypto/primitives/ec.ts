import { createECDH, ECDH } from "node:crypto"
import { GatewayError } from "../../errors.ts"
import { P256_ORDER, p256PublicPoint } from "./p256.ts"

/** NIST curves beside P-256, which has {@link file://./p256.ts a file of its own}: for keys of other people's only. */
export type EcCurve = "P-384" | "P-521"

/** Octets of a curve's uncompressed point, its leading 04 included (SEC 1 §2.3.3). */
export function ecPointOctets(curve: EcCurve): number {
  return 1 + 2 * CURVES[curve].coordinateOctets
}

/** The order of a curve's group, which is prime. */
export function nistOrder(curve: EcCurve | "P-256"): bigint {
  return curve === "P-256" ? P256_ORDER : CURVES[curve].order
}

/**
 * The uncompressed form of a point of the curve, given in that or in compressed form.
 * @throws GatewayError POINT_INVALID
 */
export function ecPoint(curve: EcCurve, point: Uint8Array): Uint8Array {
  const { name, coordinateOctets } = CURVES[curve]
  const compressed = point.length === 1 + coordinateOctets && (point[0] === 2 || point[0] === 3)
  // OpenSSL would also take the hybrid forms 06 and 07, and one octet 00 for infinity.
  if (!compressed && !(point.length === ecPointOctets(curve) && point[0] === 4)) throw notOnCurve(curve)
  try {
    return Buffer.from(ECDH.convertKey(point, name, undefined, "hex", "uncompressed").toString(), "hex")
  } catch (cause) {
    throw notOnCurve(curve, cause)
  }
}

/**
 * The point of a scalar (big-endian, as many octets as a coordinate), uncompressed.
 * @throws GatewayError SCALAR_INVALID
 */
export function nistPublicPoint(curve: EcCurve | "P-256", scalar: Uint8Array): Uint8Array {
  if (curve === "P-256") return p256PublicPoint(scalar)
  const ecdh = createECDH(CURVES[curve].name)
  try {
    ecdh.setPrivateKey(scalar)
    return ecdh.getPublicKey()
  } catch (cause) {
    throw new GatewayError("SCALAR_INVALID", `ec: scalar is out of range of ${curve}`, { cause })
  }
}

/**
 * An ephemeral point and its agreement with `point` (ECDH, SEC 1 §3.3.1): a function of `secret`, which is of 32 octets at least, and fit
 * to be the seed of a scalar.
 * @throws GatewayError POINT_INVALID
 */
export function ecEphemeral(
  curve: EcCurve,
  secret: (octets: number) => Uint8Array,
  point: Uint8Array,
): { readonly ephemeralPoint: Uint8Array; readonly sharedX: Uint8Array } {
  const { name, coordinateOctets, order } = CURVES[curve]
  const ecdh = createECDH(name)
  // FIPS 186-5 A.2.1: 128 bits more than the order has keep the bias below 2^-128.
  const number = BigInt(`0x${Buffer.from(secret(coordinateOctets + 16)).toString("hex")}`)
  const scalar = (number % (order - 1n)) + 1n
  ecdh.setPrivateKey(Buffer.from(scalar.toString(16).padStart(coordinateOctets * 2, "0"), "hex"))
  try {
    return { ephemeralPoint: ecdh.getPublicKey(), sharedX: ecdh.computeSecret(point) }
  } catch (cause) {
    throw notOnCurve(curve, cause)
  }
}

function notOnCurve(curve: EcCurve, cause?: unknown): GatewayError {
  return new GatewayError("POINT_INVALID", `ec: point is not on ${curve}`, { cause })
}

/** SEC 2 §2.5.1 and §2.6.1. */
const CURVES = {
  "P-384": {
    name: "secp384r1",
    coordinateOctets: 48,
    order: BigInt("0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973"),
  },
  "P-521": {
    name: "secp521r1",
    coordinateOctets: 66,
    order: BigInt(
      "0x01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
    ),
  },
} as const
