import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto"
import { ed448 } from "@noble/curves/ed448.js"
import { ed25519, ed25519ctx } from "@noble/curves/ed25519.js"
import { GatewayError } from "../../errors.ts"
import { sha512, shake256 } from "./hash.ts"
import { joined } from "./joined.ts"
import { privateKeyText, publicKeyText } from "./key-text.ts"
import { fromLittleEndian, modulo, toLittleEndian } from "./modular.ts"

/** The curves of RFC 8032. */
export type EdwardsCurve = "Ed25519" | "Ed448"

/** A secret number on its curve, and what nonces are made of. */
export interface EdwardsScalar {
  readonly scalar: bigint
  /** Secret, too: as many octets as a public key has. */
  readonly prefix: Uint8Array
}

/** Octets of a public key. */
export function edwardsOctets(curve: EdwardsCurve): number {
  return CURVES[curve].octets
}

/** Order L of the subgroup that the base point generates. */
export function edwardsOrder(curve: EdwardsCurve): bigint {
  return CURVES[curve].order
}

/**
 * The number and the prefix that a seed stands for (RFC 8032 §5.1.5, §5.2.5). The seed is hashed whatever its length is: Ed448 seeds of the
 * Mesh have 56 octets, for which OpenSSL, wanting 57, has no form.
 */
export function expandSeed(curve: EdwardsCurve, seed: Uint8Array): EdwardsScalar {
  const { octets, cofactorBits, topBit, hash } = CURVES[curve]
  const digest = hash(seed)
  const top = 1n << topBit
  const scalar = (fromLittleEndian(digest.subarray(0, octets)) & (top - (1n << cofactorBits))) | top
  return { scalar, prefix: digest.subarray(octets) }
}

/** A number that is a sum or a share has no seed: its prefix is made of the number itself. */
export function edwardsScalar(curve: EdwardsCurve, scalar: bigint): EdwardsScalar {
  const { octets, order } = CURVES[curve]
  const number = toLittleEndian(modulo(scalar, order), octets)
  return { scalar, prefix: CURVES[curve].hash(PREFIX_LABEL, number).subarray(octets) }
}

/**
 * The public key of a number. @noble/curves computes it: OpenSSL multiplies only by what it has hashed from a seed. Once for a key, not for a message.
 * @throws GatewayError SCALAR_INVALID when it is 0 modulo L
 */
export function edwardsPublicKey(curve: EdwardsCurve, scalar: bigint): Uint8Array {
  const { Point, order } = CURVES[curve]
  const number = modulo(scalar, order)
  if (number === 0n) throw new GatewayError("SCALAR_INVALID", `${curve}: scalar is zero`)
  return Point.BASE.multiply(number).toBytes()
}

/**
 * The public key of a seed in the form that OpenSSL has: 32 octets for Ed25519, 57 for Ed448.
 * @throws GatewayError SCALAR_INVALID for another length
 */
export function seedPublicKey(curve: EdwardsCurve, seed: Uint8Array): Uint8Array {
  return publicOctets(seedKey(curve, seed))
}

/** Signs octets; the same signature for the same octets. */
export type EdwardsSigner = (octets: Uint8Array) => Uint8Array

/**
 * Signs with a seed in the form that OpenSSL has, which does all of it (RFC 8032).
 * @throws GatewayError SCALAR_INVALID for another length
 */
export function seedSigner(curve: EdwardsCurve, seed: Uint8Array): EdwardsSigner {
  const key = seedKey(curve, seed)
  return (octets) => sign(null, octets, key)
}

/**
 * Signs with a number, which OpenSSL cannot: S = r + k*s, where R = r*B is the public key, by OpenSSL, of a seed that is derived for this
 * message. Seeds are hashed to clamped numbers, which are half of all; the sign of R, a bit of its encoding, gives the other half. So r
 * is as good as uniform (2^-126; 2^-222), no multiplication on the curve is ours, and any verifier takes the signature for RFC 8032's.
 */
export function scalarSigner(curve: EdwardsCurve, key: EdwardsScalar, publicKey: Uint8Array): EdwardsSigner {
  const { order, octets: length, domain, hash, seedOctets } = CURVES[curve]
  const multiple = order * LEAST_MULTIPLE
  return (octets) => {
    const drawn = hash(NONCE_LABEL, key.prefix, octets)
    const seed = drawn.subarray(0, seedOctets)
    const point = new Uint8Array(publicOctets(oneUseKey(curve, seed)))
    // No branch depends on what is secret: the other sign is taken or not by multiplying with a bit.
    const negative = (drawn[seedOctets] ?? 0) & 1
    point[length - 1] = (point[length - 1] ?? 0) ^ (negative << 7)
    const positiveNonce = expandSeed(curve, seed).scalar
    const nonce = positiveNonce + BigInt(negative) * (multiple - 2n * positiveNonce)
    const challenge = fromLittleEndian(hash(domain, point, publicKey, octets))
    const answer = modulo(nonce + challenge * key.scalar, order)
    return joined([point, toLittleEndian(answer, length)])
  }
}

/** True when `signature` over `octets` is of `publicKey` (RFC 8032, no context); false for anything malformed. OpenSSL's. */
export function isEdwardsSignature(
  curve: EdwardsCurve,
  publicKey: Uint8Array,
  octets: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (publicKey.length !== CURVES[curve].octets) return false
  try {
    return verify(null, octets, createPublicKey(publicKeyText(CURVES[curve].spkiHead, publicKey)), signature)
  } catch {
    // A key that is none signs nothing.
    return false
  }
}

/**
 * The same for Ed25519ctx with an empty context, which RFC 8032 forbids and generation 2022 signs with; OpenSSL has no such thing. By @noble/curves.
 */
export function isEmptyContextSignature(publicKey: Uint8Array, octets: Uint8Array, signature: Uint8Array): boolean {
  try {
    return ed25519ctx.verify(signature, octets, publicKey, { context: new Uint8Array(0), zip215: false })
  } catch {
    return false
  }
}

/** The number k modulo L that a signature with the point R answers to, with Ed25519 as in {@link isEmptyContextSignature}. */
export function edwardsChallenge(
  curve: EdwardsCurve,
  point: Uint8Array,
  publicKey: Uint8Array,
  octets: Uint8Array,
): bigint {
  const { hash, order, emptyContext } = CURVES[curve]
  return fromLittleEndian(hash(emptyContext, point, publicKey, octets)) % order
}

/**
 * k*V for a fixed k, encoded points in and out. By @noble/curves: OpenSSL does not multiply on these curves.
 * @throws GatewayError SCALAR_INVALID when k is 0 modulo L; the function POINT_INVALID, as {@link addEdwardsPoints}
 */
export function edwardsMultiplication(curve: EdwardsCurve, scalar: bigint): (point: Uint8Array) => Uint8Array {
  const number = modulo(scalar, CURVES[curve].order)
  if (number === 0n) throw new GatewayError("SCALAR_INVALID", `${curve}: scalar is zero`)
  return (point) => decode(curve, point).multiply(number).toBytes()
}

/**
 * The sum of two encoded points.
 * @throws GatewayError POINT_INVALID for a point off the curve, not in its canonical encoding, or outside the subgroup of prime order
 */
export function addEdwardsPoints(curve: EdwardsCurve, a: Uint8Array, b: Uint8Array): Uint8Array {
  const sum = decode(curve, a).add(decode(curve, b))
  if (sum.is0()) throw new GatewayError("POINT_INVALID", `${curve}: sum is zero`)
  return sum.toBytes()
}

function decode(curve: EdwardsCurve, octets: Uint8Array) {
  const { Point } = CURVES[curve]
  try {
    const point = Point.fromBytes(octets)
    if (!point.is0() && point.isTorsionFree()) return point
  } catch (cause) {
    throw new GatewayError("POINT_INVALID", `${curve}: is no point`, { cause })
  }
  throw new GatewayError("POINT_INVALID", `${curve}: point is not in the subgroup of prime order`)
}

function seedKey(curve: EdwardsCurve, seed: Uint8Array): KeyObject {
  const { pkcs8Head, seedOctets } = CURVES[curve]
  if (seed.length !== seedOctets) throw new GatewayError("SCALAR_INVALID", `${curve}: seed is not ${seedOctets} octets`)
  const pkcs8 = Buffer.concat([pkcs8Head, seed])
  const key = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" })
  pkcs8.fill(0)
  return key
}

/** For one message: as text, which is faster and cannot be overwritten ({@link file://./key-text.ts}). */
function oneUseKey(curve: EdwardsCurve, seed: Uint8Array): KeyObject {
  return createPrivateKey(privateKeyText(CURVES[curve].pkcs8Head, seed))
}

/** As a JWK (RFC 8037 §2), which is ten times faster to write than DER. */
function publicOctets(key: KeyObject): Uint8Array {
  return Buffer.from(createPublicKey(key).export({ format: "jwk" }).x ?? "", "base64url")
}

function hashEd25519(...parts: readonly Uint8Array[]): Uint8Array {
  return sha512(Buffer.concat(parts))
}

function hashEd448(...parts: readonly Uint8Array[]): Uint8Array {
  return shake256(114, ...parts)
}

const NONCE_LABEL = Buffer.from("postern nonce of a scalar key")
const PREFIX_LABEL = Buffer.from("postern prefix of a scalar key")
/** A multiple of L above every clamped number: cofactor (8, 4), times 2. */
const LEAST_MULTIPLE = 16n

/** RFC 8032 §5.1 and §5.2; heads of PKCS #8 and SubjectPublicKeyInfo by RFC 8410. */
const CURVES = {
  Ed25519: {
    octets: 32,
    seedOctets: 32,
    order: ed25519.Point.Fn.ORDER,
    cofactorBits: 3n,
    topBit: 254n,
    Point: ed25519.Point,
    domain: new Uint8Array(0),
    // dom2 with F = 0 and an empty context.
    emptyContext: Buffer.from("SigEd25519 no Ed25519 collisions\0\0"),
    hash: hashEd25519,
    pkcs8Head: Buffer.from("302e020100300506032b657004220420", "hex"),
    spkiHead: Buffer.from("302a300506032b6570032100", "hex"),
  },
  Ed448: {
    octets: 57,
    seedOctets: 57,
    order: ed448.Point.Fn.ORDER,
    cofactorBits: 2n,
    topBit: 447n,
    Point: ed448.Point,
    // dom4 with F = 0 and an empty context.
    domain: Buffer.from("SigEd448\0\0"),
    emptyContext: Buffer.from("SigEd448\0\0"),
    hash: hashEd448,
    pkcs8Head: Buffer.from("3047020100300506032b6571043b0439", "hex"),
    spkiHead: Buffer.from("3043300506032b6571033a00", "hex"),
  },
} as const
