import { GatewayError } from "../../errors.ts"
import { fromBigEndian, inverse, modulo, toBigEndian } from "../primitives/modular.ts"
import { shamirPrime } from "./prime.ts"
import type { Share } from "./share.ts"

/** Draws so many octets that nobody can guess. */
export type RandomOctets = (count: number) => Uint8Array

/**
 * Splits a secret of 16 to 64 octets: any `threshold` of the shares recover it, fewer say nothing of it (Shamir 1979). The polynomial has
 * degree threshold-1 (the draft says threshold), and is drawn again where a value of it does not fit the secret's octets.
 *
 * Numbers are BigInt: no branch here depends on the secret but that one, which one draw in 2^100 takes; but V8 does not promise that its arithmetic takes one time.
 * @throws GatewayError SHARES_INVALID
 */
export function splitSecret(secret: Uint8Array, threshold: number, count: number, random: RandomOctets): Share[] {
  const prime = shamirPrime(secret.length)
  if (prime === null || secret.length < MIN_SECRET_OCTETS) throw invalid("secret is not of 16 to 64 octets")
  if (!isBetween(1, threshold, MAX_THRESHOLD) || !isBetween(threshold, count, MAX_SHARES))
    throw invalid(`threshold is 1 to ${MAX_THRESHOLD}, shares as many as that to ${MAX_SHARES}`)
  for (let draw = 0; draw < MAX_DRAWS; draw++) {
    const drawn = Array.from({ length: threshold - 1 }, () => drawNumber(secret.length, prime, random))
    const shares = sharesOf([fromBigEndian(secret), ...drawn], count, prime, secret.length)
    if (shares !== null) return shares
  }
  throw invalid(`no fitting polynomial in ${MAX_DRAWS} draws`)
}

/**
 * The shares that the polynomial with these coefficients gives, that of degree 0 (the secret) first.
 * @returns null where a value has more octets than the secret
 */
export function sharesOf(
  coefficients: readonly bigint[],
  count: number,
  prime: bigint,
  lengthOctets: number,
): Share[] | null {
  const values = Array.from({ length: count }, (_, at) => valueAt(coefficients, BigInt(at + 1), prime))
  if (values.some((value) => value >> BigInt(8 * lengthOctets) !== 0n)) return null
  return values.map((value, at) => ({ threshold: coefficients.length, x: at + 1, y: toBigEndian(value, lengthOctets) }))
}

/**
 * Recovers a secret. With more shares than the threshold asks for, all must agree; with just enough, nothing tells a wrong share from a right
 * one: what comes out has to be looked at (for an account: whether its keys are those of its profile).
 * @throws GatewayError SHARES_INVALID for too few shares, two for one x, shares of different secrets, or shares that do not agree
 */
export function recoverSecret(shares: readonly Share[]): Uint8Array {
  const [first] = shares
  const length = first?.y.length ?? 0
  const prime = shamirPrime(length)
  if (first === undefined || prime === null) throw invalid("there are none")
  if (shares.some(({ threshold, x }) => !isBetween(1, threshold, MAX_THRESHOLD) || !isBetween(1, x, MAX_SHARES)))
    throw invalid("threshold or place is not possible")
  if (shares.some(({ threshold, y }) => threshold !== first.threshold || y.length !== length))
    throw invalid("they are of different secrets")
  if (new Set(shares.map(({ x }) => x)).size !== shares.length) throw invalid("two are for one place")
  if (shares.length < first.threshold) throw invalid(`${first.threshold} are needed`)
  const used = shares.slice(0, first.threshold).map(pointOf)
  const others = shares.slice(first.threshold).map(pointOf)
  if (others.some(({ x, y }) => interpolate(used, x, prime) !== y)) throw invalid("they do not agree")
  const secret = interpolate(used, 0n, prime)
  if (secret >> BigInt(8 * length) !== 0n) throw invalid("they are of different secrets")
  return toBigEndian(secret, length)
}

/** A value of a polynomial, by Horner's rule; `coefficients[0]` is that of degree 0. */
export function valueAt(coefficients: readonly bigint[], x: bigint, prime: bigint): bigint {
  return coefficients.reduceRight((value, coefficient) => (value * x + coefficient) % prime, 0n)
}

/** Lagrange's coefficient of the point with this x, for the value at `at`: numbers that everybody knows. */
export function lagrange(xs: readonly bigint[], x: bigint, at: bigint, prime: bigint): bigint {
  return xs
    .filter((other) => other !== x)
    .reduce((product, other) => modulo(product * (at - other) * inverse(x - other, prime), prime), 1n)
}

interface Point {
  readonly x: bigint
  readonly y: bigint
}

function interpolate(points: readonly Point[], at: bigint, prime: bigint): bigint {
  const xs = points.map(({ x }) => x)
  return points.reduce((sum, { x, y }) => (sum + y * lagrange(xs, x, at, prime)) % prime, 0n)
}

function pointOf({ x, y }: Share): Point {
  return { x: BigInt(x), y: fromBigEndian(y) }
}

/** 64 bits more than the prime has leave a bias below 2^-64. */
function drawNumber(lengthOctets: number, prime: bigint, random: RandomOctets): bigint {
  return fromBigEndian(random(lengthOctets + 8)) % prime
}

function isBetween(least: number, number: number, most: number): boolean {
  return Number.isInteger(number) && number >= least && number <= most
}

function invalid(what: string): GatewayError {
  return new GatewayError("SHARES_INVALID", `shares: ${what}`)
}

/** A secret that can be guessed needs no shares. */
const MIN_SECRET_OCTETS = 16
/** Four bits of a share say each. */
const MAX_THRESHOLD = 15
const MAX_SHARES = 16
/** From 16 octets on a draw fails once in 2^100. */
const MAX_DRAWS = 8
