import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject } from "node:crypto"
import { GatewayError } from "../../errors.ts"
import { privateKeyText, publicKeyText } from "./key-text.ts"
import { fromLittleEndian, inverse, modulo, toLittleEndian, X25519_ORDER } from "./modular.ts"
import { randomOctets } from "./random.ts"

/** The curves of RFC 7748, v^2 = u^3 + A*u^2 + u, by the name of the function that multiplies on them. */
export type MontgomeryCurve = "X25519" | "X448"

/**
 * A point of the subgroup of prime order, with both coordinates: what can be added to others. {@link readPoint} makes it from octets.
 * The sum of two multiples of a point that nobody knows is as secret as either.
 */
export interface MontgomeryPoint {
  readonly u: bigint
  readonly v: bigint
}

/** Octets of a scalar and of a coordinate, little-endian. */
export function montgomeryOctets(curve: MontgomeryCurve): number {
  return CURVES[curve].octets
}

/** Order L of the subgroup that the base point generates (RFC 7748 §4). */
export function montgomeryOrder(curve: MontgomeryCurve): bigint {
  return CURVES[curve].order
}

/**
 * The number that a private key stands for, clamped (RFC 7748 §5), not reduced.
 * @throws GatewayError SCALAR_INVALID for a wrong length
 */
export function decodeScalar(curve: MontgomeryCurve, octets: Uint8Array): bigint {
  const { octets: length, cofactorBits, topBit } = CURVES[curve]
  if (octets.length !== length) throw new GatewayError("SCALAR_INVALID", `${curve}: scalar is not ${length} octets`)
  const top = 1n << topBit
  return (fromLittleEndian(octets) & (top - (1n << cofactorBits))) | top
}

/** u(k*V) for a fixed k; any sign of V, any small component: 32 or 56 octets in and out. Throws GatewayError POINT_INVALID for a point of small order. */
export type MontgomeryAgreement = (point: Uint8Array) => Uint8Array

/**
 * Multiplication by any number modulo L, on u-coordinates, all of it OpenSSL's X25519 or X448: those clamp the scalar they are given, to
 * c*m with 2^(t-1) <= m < 2^t. Of m = k/c and L-m one is in that range, and -V has the same u as V.
 * @throws GatewayError SCALAR_INVALID for 0, and for those numbers of which neither sign has a clamped form: 2^-126 of all with X25519 (8 is one of
 * them), 2^-222 with X448 (2 is). Nobody draws them
 */
export function montgomeryAgreement(curve: MontgomeryCurve, scalar: bigint): MontgomeryAgreement {
  const key = keyOf(curve, scalar)
  return (point) => agree(curve, key, point)
}

/** k*V for a fixed k, with both coordinates. */
export type MontgomeryMultiplication = (point: MontgomeryPoint) => MontgomeryPoint

/**
 * The same with the v-coordinate: from u(k*V) and u((k+1)*V), both OpenSSL's, v(k*V) follows without a square root (Okeya and Sakurai 2001).
 * @throws GatewayError SCALAR_INVALID when k or k+1 cannot be multiplied by
 */
export function montgomeryMultiplication(curve: MontgomeryCurve, scalar: bigint): MontgomeryMultiplication {
  const multiple = montgomeryAgreement(curve, scalar)
  const next = montgomeryAgreement(curve, scalar + 1n)
  return (point) => {
    const octets = toLittleEndian(point.u, CURVES[curve].octets)
    return recoverPoint(
      curve,
      { ...point, multiple: multiple(octets), next: next(octets) },
      inverse(2n * point.v, CURVES[curve].prime),
    )
  }
}

/**
 * The multiple of the base point, a number's public key. By OpenSSL, as {@link montgomeryMultiplication}.
 * @throws GatewayError SCALAR_INVALID
 */
export function montgomeryPublicPoint(curve: MontgomeryCurve, scalar: bigint): MontgomeryPoint {
  const [multiple, next] = [publicOctets(keyOf(curve, scalar)), publicOctets(keyOf(curve, scalar + 1n))]
  return recoverPoint(curve, { ...CURVES[curve].base, multiple, next }, INVERSE_OF_TWICE_BASE_V[curve])
}

/**
 * A private key for one message (RFC 7748 §5: any octets, which OpenSSL clamps): its u-coordinate, and its agreement. There is no v: of k and -k, which agree
 * alike with everybody, the sender's is the one whose v is the sign that he writes.
 * @throws GatewayError SCALAR_INVALID for a wrong length
 */
export function montgomeryEphemeral(
  curve: MontgomeryCurve,
  octets: Uint8Array,
): { readonly coordinate: Uint8Array; readonly agree: MontgomeryAgreement } {
  if (octets.length !== CURVES[curve].octets)
    throw new GatewayError("SCALAR_INVALID", `${curve}: scalar is not ${CURVES[curve].octets} octets`)
  const key = createPrivateKey(privateKeyText(CURVES[curve].pkcs8Head, octets))
  return { coordinate: publicOctets(key), agree: (other) => agree(curve, key, other) }
}

/** V, u(k*V) and u((k+1)*V). */
interface Multiples extends MontgomeryPoint {
  readonly multiple: Uint8Array
  readonly next: Uint8Array
}

/** k*V from these, and from 1/2v. */
function recoverPoint(
  curve: MontgomeryCurve,
  { u, multiple, next }: Multiples,
  inverseOfTwiceV: bigint,
): MontgomeryPoint {
  const { prime, a } = CURVES[curve]
  const product = fromLittleEndian(multiple)
  const numerator = (u * product + 1n) * (u + product + 2n * a) - 2n * a - (u - product) ** 2n * fromLittleEndian(next)
  return { u: product, v: modulo(modulo(numerator, prime) * inverseOfTwiceV, prime) }
}

/**
 * The sum of two points.
 * @throws GatewayError POINT_INVALID where it would be infinity
 */
export function addPoints(curve: MontgomeryCurve, p: MontgomeryPoint, q: MontgomeryPoint): MontgomeryPoint {
  const { prime, a } = CURVES[curve]
  const same = p.u === q.u
  if (same && p.v !== q.v) throw new GatewayError("POINT_INVALID", `${curve}: sum is infinity`)
  const rise = same ? 3n * p.u ** 2n + 2n * a * p.u + 1n : q.v - p.v
  const slope = modulo(rise, prime) * blindedInverse(same ? 2n * p.v : q.u - p.u, curve)
  const u = modulo(slope ** 2n - a - p.u - q.u, prime)
  return { u, v: modulo(slope * (p.u - u) - p.v, prime) }
}

/**
 * A point from octets, see {@link coordinateOf}. Without the sign v is taken to be even: enough for a party that multiplies alone; parties whose
 * products are added must start from one v.
 * @throws GatewayError POINT_INVALID, too for a point of the twist, and one outside the subgroup of prime order
 */
export function readPoint(curve: MontgomeryCurve, octets: Uint8Array): MontgomeryPoint {
  const { prime, a } = CURVES[curve]
  const coordinate = coordinateOf(curve, octets)
  const u = fromLittleEndian(coordinate)
  const square = modulo(u ** 3n + a * u ** 2n + u, prime)
  const root = squareRoot(curve, square)
  if (modulo(root ** 2n, prime) !== square) throw new GatewayError("POINT_INVALID", `${curve}: point is on the twist`)
  checkOrder(curve, coordinate)
  const odd = BigInt((octets[coordinate.length] ?? 0) >> 7)
  const other = (root ^ odd) & 1n
  return { u, v: root + other * (prime - 2n * root) }
}

/**
 * The u-coordinate of a point: all of its octets (32, 56), or in the extended form of key contributions those before the last, which is 0x80
 * where v is odd, else 0x00.
 * @throws GatewayError POINT_INVALID for another length or sign, and for u not below the prime: no two texts are of one point
 */
export function coordinateOf(curve: MontgomeryCurve, octets: Uint8Array): Uint8Array {
  const { prime, octets: length } = CURVES[curve]
  const sign = octets.length === length + 1 ? octets[length] : 0
  if (octets.length < length || octets.length > length + 1 || (sign !== 0 && sign !== 0x80))
    throw new GatewayError("POINT_INVALID", `${curve}: point is not ${length} octets, with a sign or without`)
  const coordinate = octets.subarray(0, length)
  if (fromLittleEndian(coordinate) >= prime)
    throw new GatewayError("POINT_INVALID", `${curve}: coordinate is not reduced`)
  return coordinate
}

/** The extended form, 33 or 57 octets. */
export function printPoint(curve: MontgomeryCurve, { u, v }: MontgomeryPoint): Uint8Array {
  const { octets } = CURVES[curve]
  return Uint8Array.of(...toLittleEndian(u, octets), v % 2n === 1n ? 0x80 : 0)
}

/** 1*V, done by a clamped scalar that is 1 modulo L, takes away whatever V has of small order: what stays the same had nothing of it. */
function checkOrder(curve: MontgomeryCurve, point: Uint8Array): void {
  const projected = agree(curve, ONE[curve], point)
  if (Buffer.compare(projected, point) !== 0)
    throw new GatewayError("POINT_INVALID", `${curve}: point is not in the subgroup of prime order`)
}

/** ±scalar as the octets of a clamped number. No branch depends on the scalar; a difference of the two forms is taken or left by multiplying it with a bit. */
function clampedUpToSign(curve: MontgomeryCurve, scalar: bigint): Uint8Array {
  const { order, inverseOfCofactor, cofactorBits, topBit, octets } = CURVES[curve]
  const m = modulo(scalar * inverseOfCofactor, order)
  const lowest = topBit - cofactorBits
  const negative = 1n - ((m >> lowest) & 1n)
  const found = m + negative * (order - 2n * m)
  if (m === 0n || found >> lowest !== 1n)
    throw new GatewayError("SCALAR_INVALID", `${curve}: scalar has no clamped form of either sign`)
  return toLittleEndian(found << cofactorBits, octets)
}

function keyOf(curve: MontgomeryCurve, scalar: bigint): KeyObject {
  const octets = clampedUpToSign(curve, scalar)
  const key = privateKey(curve, octets)
  octets.fill(0)
  return key
}

/** As a JWK (RFC 8037 §2), which is ten times faster to write than DER. */
function publicOctets(key: KeyObject): Uint8Array {
  return Buffer.from(createPublicKey(key).export({ format: "jwk" }).x ?? "", "base64url")
}

function privateKey(curve: MontgomeryCurve, scalar: Uint8Array): KeyObject {
  const pkcs8 = Buffer.concat([CURVES[curve].pkcs8Head, scalar])
  const key = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" })
  pkcs8.fill(0)
  return key
}

function agree(curve: MontgomeryCurve, key: KeyObject, point: Uint8Array): Uint8Array {
  const { octets, spkiHead } = CURVES[curve]
  if (point.length !== octets) throw new GatewayError("POINT_INVALID", `${curve}: point is not ${octets} octets`)
  try {
    return diffieHellman({ privateKey: key, publicKey: publicKeyText(spkiHead, point) })
  } catch (cause) {
    // RFC 7748 §6: OpenSSL refuses the all-zero result of a point of small order.
    throw new GatewayError("POINT_INVALID", `${curve}: point is of small order`, { cause })
  }
}

/** Euclid's algorithm takes a time that depends on the number. This one is multiplied by a random one before: the time then tells nothing of it. */
function blindedInverse(number: bigint, curve: MontgomeryCurve): bigint {
  const { prime, octets } = CURVES[curve]
  const blind = (fromLittleEndian(randomOctets(octets)) % (prime - 1n)) + 1n
  return modulo(inverse(modulo(number * blind, prime), prime) * blind, prime)
}

/** A square root of a square; of anything else something whose square is another. */
function squareRoot(curve: MontgomeryCurve, square: bigint): bigint {
  const { prime, rootOfMinusOne } = CURVES[curve]
  // a^((p+1)/4) for X448, with (p+1)/4 = (2^224 - 1) * 2^222; a^((p+3)/8) for X25519, with (p+3)/8 = (2^251 - 1) * 2.
  if (rootOfMinusOne === null) return squared(powerOfOnes(square, 224, prime), 222, prime)
  const root = squared(powerOfOnes(square, 251, prime), 1, prime)
  // RFC 8032 §5.1.3, step 3; without a branch.
  const isRoot = BigInt(modulo(root ** 2n, prime) === square)
  return modulo(root * (isRoot + (1n - isRoot) * rootOfMinusOne), prime)
}

/** a^(2^n - 1). */
function powerOfOnes(a: bigint, n: number, prime: bigint): bigint {
  if (n === 1) return a
  if (n % 2 === 1) return (squared(powerOfOnes(a, n - 1, prime), 1, prime) * a) % prime
  const half = powerOfOnes(a, n / 2, prime)
  return (squared(half, n / 2, prime) * half) % prime
}

/** a^(2^n). */
function squared(a: bigint, n: number, prime: bigint): bigint {
  let result = a
  for (let time = 0; time < n; time++) result = (result * result) % prime
  return result
}

const P25519 = 2n ** 255n - 19n
const P448 = 2n ** 448n - 2n ** 224n - 1n
const X448_ORDER = 2n ** 446n - 13818066809895115352007386748515426880336692474882178609894547503885n

/** RFC 7748 §4.1 (v as printed there and as the Mesh has it; erratum 4730 has the other) and §4.2; heads of PKCS #8 and SubjectPublicKeyInfo by RFC 8410. */
const CURVES = {
  X25519: {
    octets: 32,
    prime: P25519,
    order: X25519_ORDER,
    a: 486662n,
    base: { u: 9n, v: 14781619447589544791020593568409986887264606134616475288964881837755586237401n },
    cofactorBits: 3n,
    topBit: 254n,
    inverseOfCofactor: inverse(8n, X25519_ORDER),
    // 2^((p-1)/4)
    rootOfMinusOne: 19681161376707505956807079304988542015446066515923890162744021073123829784752n,
    pkcs8Head: Buffer.from("302e020100300506032b656e04220420", "hex"),
    spkiHead: Buffer.from("302a300506032b656e032100", "hex"),
  },
  X448: {
    octets: 56,
    prime: P448,
    order: X448_ORDER,
    a: 156326n,
    base: {
      u: 5n,
      v: 355293926785568175264127502063783334808976399387714271831880898435169088786967410002932673765864550910142774147268105838985595290606362n,
    },
    cofactorBits: 2n,
    topBit: 447n,
    inverseOfCofactor: inverse(4n, X448_ORDER),
    rootOfMinusOne: null,
    pkcs8Head: Buffer.from("3046020100300506032b656f043a0438", "hex"),
    spkiHead: Buffer.from("3042300506032b656f033900", "hex"),
  },
} as const

/** The base point never changes: a public key divides by nothing. */
const INVERSE_OF_TWICE_BASE_V = {
  X25519: inverse(2n * CURVES.X25519.base.v, P25519),
  X448: inverse(2n * CURVES.X448.base.v, P448),
} as const

const ONE = {
  X25519: keyOf("X25519", 1n),
  X448: keyOf("X448", 1n),
} as const
