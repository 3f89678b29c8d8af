import { GatewayError } from "../../errors.ts"
import {
  type EdwardsCurve,
  type EdwardsScalar,
  type EdwardsSigner,
  edwardsMultiplication,
  edwardsOrder,
  edwardsPublicKey,
  edwardsScalar,
  expandSeed,
  isEdwardsSignature,
  isEmptyContextSignature,
  scalarSigner,
  seedPublicKey,
  seedSigner,
} from "../primitives/edwards.ts"
import { fromLittleEndian, modulo } from "../primitives/modular.ts"
import {
  coordinateOf,
  decodeScalar,
  type MontgomeryCurve,
  montgomeryAgreement,
  montgomeryEphemeral,
  montgomeryOrder,
  montgomeryPublicPoint,
  printPoint,
} from "../primitives/montgomery.ts"
import { type CfrgCurve, type Generation, isMontgomery, type PrivateKey, type PublicKey } from "./key.ts"

/**
 * The public key as it is published and fingerprinted: X448 in the extended form (57 octets), X25519 without the sign (32).
 * @throws GatewayError SCALAR_INVALID for a key of a wrong length, or a scalar of zero
 */
export function publicKeyOf(key: PrivateKey): PublicKey {
  return publishedForm(contributionOf(key))
}

/**
 * The public key as a contribution to a sum: X25519, too, with the sign of v (33 octets).
 * @throws GatewayError SCALAR_INVALID
 */
export function contributionOf(key: PrivateKey): PublicKey {
  const { curve } = key
  if (isMontgomery(curve)) return { curve, octets: printPoint(curve, montgomeryPublicPoint(curve, scalarOf(key))) }
  if (isNativeSeed(key)) return { curve, octets: seedPublicKey(curve, key.octets) }
  return { curve, octets: edwardsPublicKey(curve, scalarOf(key)) }
}

/** A public key in the form that its fingerprint is made of, see {@link publicKeyOf}. */
export function publishedForm({ curve, octets }: PublicKey): PublicKey {
  return { curve, octets: curve === "X25519" ? octets.subarray(0, 32) : octets }
}

/**
 * The number modulo L that the key stands for.
 * @throws GatewayError SCALAR_INVALID
 */
export function scalarOf(key: PrivateKey): bigint {
  const order = orderOf(key.curve)
  if (key.kind === "scalar") return fromLittleEndian(checked(key).octets) % order
  if (isMontgomery(key.curve)) return modulo(decodeScalar(key.curve, key.octets), order)
  return modulo(expanded(key.curve, key).scalar, order)
}

/** Order L of a curve's subgroup: keys and shares are numbers modulo L. */
export function orderOf(curve: CfrgCurve): bigint {
  return isMontgomery(curve) ? montgomeryOrder(curve) : edwardsOrder(curve)
}

/** What a key agrees upon with another's public octets, which may be extended: see {@link agreementOf}. */
export type Agreement = (publicOctets: Uint8Array) => Uint8Array

/**
 * Key agreement, kept ready for many points. X25519 and X448: the u-coordinate, by OpenSSL. Ed25519 and Ed448: the encoded point, as the Mesh
 * encrypts to signature keys in its examples; that is arithmetic in JavaScript (a hundred times slower) and nothing for the hot path.
 * @throws GatewayError SCALAR_INVALID; the agreement POINT_INVALID for points of small order, and for octets that are not the one form of a point
 */
export function agreementOf(key: PrivateKey): Agreement {
  const { curve } = key
  if (!isMontgomery(curve)) return edwardsMultiplication(curve, scalarOf(key))
  return withoutSign(curve, montgomeryAgreement(curve, scalarOf(key)))
}

/**
 * A sender's ephemeral key, of octets that are drawn or derived for it: its public key and its agreement. X448 is extended, so that groups can divide the
 * agreement, by a v that is even: of k and -k, which have one u and agree alike, that one is meant. So no second multiplication finds out which it is.
 * @throws GatewayError SCALAR_INVALID; the agreement POINT_INVALID
 */
export function ephemeralOf(
  curve: MontgomeryCurve,
  octets: Uint8Array,
): { readonly publicKey: PublicKey; readonly agree: Agreement } {
  const { coordinate, agree } = montgomeryEphemeral(curve, octets)
  const extended = new Uint8Array(coordinate.length + 1)
  extended.set(coordinate)
  return { publicKey: publishedForm({ curve, octets: extended }), agree: withoutSign(curve, agree) }
}

/** The sign of v changes nothing in u. */
function withoutSign(curve: MontgomeryCurve, agree: Agreement): Agreement {
  return (point) => agree(coordinateOf(curve, point))
}

/**
 * Signs with an Ed25519 or Ed448 key, kept ready for many messages. All by OpenSSL where the key is a seed in its form (RFC 8032); for the Mesh's
 * own Ed448 seeds and for scalars all but one line of arithmetic: see {@link scalarSigner}.
 * @throws GatewayError MESH_KEY_UNSUPPORTED for a key that cannot sign; SCALAR_INVALID
 */
export function signerOf(key: PrivateKey): EdwardsSigner {
  const { curve } = key
  if (isMontgomery(curve)) throw new GatewayError("MESH_KEY_UNSUPPORTED", `mesh key: ${curve} does not sign`)
  if (isNativeSeed(key)) return seedSigner(curve, key.octets)
  const expandedKey = expanded(curve, key)
  return scalarSigner(curve, expandedKey, edwardsPublicKey(curve, expandedKey.scalar))
}

/**
 * True when the signature over `octets` is of the key, as the generation signs: 2024 by RFC 8032; 2022 does so with Ed448, and with Ed25519 as
 * Ed25519ctx with an empty context. False for anything malformed, and for keys that do not sign.
 */
export function isSignatureOf(
  key: PublicKey,
  octets: Uint8Array,
  signature: Uint8Array,
  generation: Generation,
): boolean {
  if (isMontgomery(key.curve)) return false
  if (generation === 2022 && key.curve === "Ed25519") return isEmptyContextSignature(key.octets, octets, signature)
  return isEdwardsSignature(key.curve, key.octets, octets, signature)
}

function expanded(curve: EdwardsCurve, key: PrivateKey): EdwardsScalar {
  if (key.kind === "scalar") return edwardsScalar(curve, fromLittleEndian(checked(key).octets))
  if (!SEED_OCTETS[curve].includes(key.octets.length))
    throw new GatewayError("SCALAR_INVALID", `mesh key: ${curve} seed has ${key.octets.length} octets`)
  return expandSeed(curve, key.octets)
}

/** A number has at most as many octets as a key of the curve; Ed448 writes 56 or 57. */
function checked(key: PrivateKey): PrivateKey {
  const most = key.curve === "Ed448" ? 57 : SCALAR_OCTETS[key.curve]
  if (key.octets.length === 0 || key.octets.length > most)
    throw new GatewayError("SCALAR_INVALID", `mesh key: ${key.curve} scalar has ${key.octets.length} octets`)
  return key
}

/** OpenSSL takes Ed448 seeds of 57 octets only. */
function isNativeSeed(key: PrivateKey): boolean {
  return key.kind === "seed" && key.octets.length === (key.curve === "Ed448" ? 57 : 32)
}

const SCALAR_OCTETS: Readonly<Record<CfrgCurve, number>> = { X25519: 32, X448: 56, Ed25519: 32, Ed448: 56 }
const SEED_OCTETS: Readonly<Record<EdwardsCurve, readonly number[]>> = { Ed25519: [32], Ed448: [56, 57] }
