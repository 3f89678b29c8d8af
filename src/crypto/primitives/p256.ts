import { createECDH, ECDH } from "node:crypto"
import { GatewayError } from "../../errors.ts"

/** Order n of the P-256 group (SEC 2 §2.4.2). */
export const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n

/** Octets of a P-256 scalar, and of one coordinate; big-endian. */
export const P256_SCALAR_OCTETS = 32
/** Octets of an uncompressed P-256 point, its leading 04 included (SEC 1 §2.3.3). */
export const P256_POINT_OCTETS = 65

const CURVE = "prime256v1"

/** A scalar drawn evenly from 1 to n-1. */
export function randomP256Scalar(): Uint8Array {
  const ecdh = createECDH(CURVE)
  ecdh.generateKeys()
  return p256ScalarFromNumber(BigInt(`0x${ecdh.getPrivateKey("hex")}`))
}

/**
 * A scalar made of 48 evenly distributed octets: the 128 bits more than the order keep the bias below 2^-128 (FIPS 186-5 A.2.1).
 * @throws GatewayError SCALAR_INVALID when there are fewer than 48 octets
 */
export function p256ScalarFromSeed(seed: Uint8Array): Uint8Array {
  if (seed.length < 48) throw new GatewayError("SCALAR_INVALID", "p256: a scalar needs a seed of 48 octets")
  const number = BigInt(`0x${Buffer.from(seed).toString("hex")}`)
  return p256ScalarFromNumber((number % (P256_ORDER - 1n)) + 1n)
}

/**
 * The point `scalar`*G, uncompressed (65 octets).
 * @throws GatewayError SCALAR_INVALID when the scalar is not in 1..n-1
 */
export function p256PublicPoint(scalar: Uint8Array): Uint8Array {
  return withScalar(scalar).getPublicKey()
}

/** The x-coordinate (32 octets) of the product of a fixed scalar and `point` (33 or 65 octets). Throws GatewayError POINT_INVALID. */
export type P256Agreement = (point: Uint8Array) => Uint8Array

/**
 * Multiplication by one scalar, kept ready for many points: the hot path of recryption.
 * @throws GatewayError SCALAR_INVALID when the scalar is not in 1..n-1
 */
export function p256Agreement(scalar: Uint8Array): P256Agreement {
  const ecdh = withScalar(scalar)
  return (point) => {
    checkForm(point)
    try {
      return ecdh.computeSecret(point)
    } catch (cause) {
      throw new GatewayError("POINT_INVALID", "p256: point is not on the curve", { cause })
    }
  }
}

/**
 * The x-coordinate (32 octets) of `scalar`*`point`: ECDH (SEC 1 §3.3.1).
 * @throws GatewayError SCALAR_INVALID, POINT_INVALID
 */
export function p256SharedX(scalar: Uint8Array, point: Uint8Array): Uint8Array {
  return p256Agreement(scalar)(point)
}

/** A new ephemeral point and its agreement with `point` in one go: cheaper than two calls, for the sender's side (RFC 5753 §3.1). */
export function p256Ephemeral(
  scalar: Uint8Array,
  point: Uint8Array,
): { readonly ephemeralPoint: Uint8Array; readonly sharedX: Uint8Array } {
  checkForm(point)
  const ecdh = withScalar(scalar)
  try {
    return { ephemeralPoint: ecdh.getPublicKey(), sharedX: ecdh.computeSecret(point) }
  } catch (cause) {
    throw new GatewayError("POINT_INVALID", "p256: point is not on the curve", { cause })
  }
}

/**
 * The uncompressed form (65 octets) of a point given in either form; checks that it is on the curve.
 * @throws GatewayError POINT_INVALID
 */
export function p256Decompress(point: Uint8Array): Uint8Array {
  checkForm(point)
  return convert(point, "uncompressed")
}

/**
 * The compressed form (33 octets) of a point given in either form; checks that it is on the curve.
 * @throws GatewayError POINT_INVALID
 */
export function p256Compress(point: Uint8Array): Uint8Array {
  checkForm(point)
  return convert(point, "compressed")
}

/** True for a point of the curve in compressed (33) or uncompressed (65 octets) form. The order of P-256 is prime: every one but infinity will do. */
export function isP256Point(point: Uint8Array): boolean {
  if (!hasForm(point)) return false
  try {
    convert(point, "uncompressed")
    return true
  } catch (error) {
    if (error instanceof GatewayError) return false
    throw error
  }
}

/**
 * PrivateKeyInfo (RFC 5208) with ECPrivateKey (RFC 5915), public point included: 138 octets of DER.
 * @throws GatewayError SCALAR_INVALID
 */
export function p256Pkcs8(scalar: Uint8Array): Uint8Array {
  return Buffer.concat([PKCS8_HEAD, scalar, PKCS8_MIDDLE, p256PublicPoint(scalar)])
}

/**
 * The scalar of a key in the form of {@link p256Pkcs8}, which is OpenSSL's too.
 * @throws GatewayError SCALAR_INVALID for any other
 */
export function p256ScalarOfPkcs8(der: Uint8Array): Uint8Array {
  const scalar = new Uint8Array(der.subarray(PKCS8_HEAD.length, PKCS8_HEAD.length + P256_SCALAR_OCTETS))
  if (scalar.length !== P256_SCALAR_OCTETS || Buffer.compare(p256Pkcs8(scalar), der) !== 0)
    throw new GatewayError("SCALAR_INVALID", "p256: is no private key (PKCS #8) of P-256")
  return scalar
}

/** SubjectPublicKeyInfo (RFC 5480) of an uncompressed point: 91 octets of DER. */
export function p256Spki(point: Uint8Array): Uint8Array {
  return Buffer.concat([SPKI_HEAD, point])
}

/** A number from 1 to n-1 as 32 octets, big-endian. Throws GatewayError SCALAR_INVALID for any other. */
export function p256ScalarFromNumber(number: bigint): Uint8Array {
  if (number < 1n || number >= P256_ORDER) throw new GatewayError("SCALAR_INVALID", "p256: scalar is out of range")
  return new Uint8Array(Buffer.from(number.toString(16).padStart(P256_SCALAR_OCTETS * 2, "0"), "hex"))
}

function withScalar(scalar: Uint8Array): ECDH {
  if (scalar.length !== P256_SCALAR_OCTETS) throw new GatewayError("SCALAR_INVALID", "p256: scalar is not 32 octets")
  const ecdh = createECDH(CURVE)
  try {
    ecdh.setPrivateKey(scalar)
  } catch (cause) {
    throw new GatewayError("SCALAR_INVALID", "p256: scalar is out of range", { cause })
  }
  return ecdh
}

// SEC 1 §2.3.3; OpenSSL would also take the hybrid forms 06 and 07, and one octet 00 for infinity.
function hasForm(point: Uint8Array): boolean {
  if (point.length === P256_POINT_OCTETS) return point[0] === 4
  return point.length === 33 && (point[0] === 2 || point[0] === 3)
}

function checkForm(point: Uint8Array): void {
  if (!hasForm(point))
    throw new GatewayError("POINT_INVALID", "p256: point is neither 33 nor 65 octets with their prefix")
}

function convert(point: Uint8Array, form: "compressed" | "uncompressed"): Uint8Array {
  try {
    return Buffer.from(ECDH.convertKey(point, CURVE, undefined, "hex", form).toString(), "hex")
  } catch (cause) {
    throw new GatewayError("POINT_INVALID", "p256: point is not on the curve", { cause })
  }
}

const PKCS8_HEAD = Buffer.from("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420", "hex")
const PKCS8_MIDDLE = Buffer.from("a144034200", "hex")
const SPKI_HEAD = Buffer.from("3059301306072a8648ce3d020106082a8648ce3d030107034200", "hex")
