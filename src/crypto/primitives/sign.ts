import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto"
import { GatewayError } from "../../errors.ts"
import { publicKeyText } from "./key-text.ts"
import { p256Pkcs8, p256Spki } from "./p256.ts"

/** How an ECDSA signature stands: r and s of 32 octets each (IEEE P1363), or as Ecdsa-Sig-Value (RFC 3279 §2.2.3). */
export type EcdsaForm = "raw" | "der"

/** Octets of an Ed25519 seed and of an Ed25519 public key (RFC 8032 §5.1.5). */
export const ED25519_KEY_OCTETS = 32

/**
 * ECDSA with P-256 and SHA-256 over `octets` (not their digest). The nonce is random: two calls give two signatures.
 * @throws GatewayError SCALAR_INVALID
 */
export function signP256(scalar: Uint8Array, octets: Uint8Array, form: EcdsaForm): Uint8Array {
  const key = createPrivateKey({ key: Buffer.from(p256Pkcs8(scalar)), format: "der", type: "pkcs8" })
  return sign("sha256", octets, { key, dsaEncoding: encoding(form) })
}

/** True when `signature` over `octets` is of the key with this uncompressed point; false for anything malformed. */
export function verifyP256(point: Uint8Array, octets: Uint8Array, signature: Uint8Array, form: EcdsaForm): boolean {
  const key = readPublic(p256Spki(point))
  return key !== null && verify("sha256", octets, { key, dsaEncoding: encoding(form) }, signature)
}

/**
 * The public key (32 octets) of an Ed25519 seed (32 octets).
 * @throws GatewayError SCALAR_INVALID
 */
export function ed25519PublicKey(seed: Uint8Array): Uint8Array {
  return createPublicKey(ed25519Private(seed)).export({ format: "der", type: "spki" }).subarray(-ED25519_KEY_OCTETS)
}

/**
 * Ed25519 (RFC 8032 §5.1.6), 64 octets; the same for the same input.
 * @throws GatewayError SCALAR_INVALID
 */
export function signEd25519(seed: Uint8Array, octets: Uint8Array): Uint8Array {
  return sign(null, octets, ed25519Private(seed))
}

/** True when `signature` over `octets` is of `publicKey` (32 octets); false for anything malformed. */
export function verifyEd25519(publicKey: Uint8Array, octets: Uint8Array, signature: Uint8Array): boolean {
  const key = readPublic(Buffer.concat([ED25519_SPKI_HEAD, publicKey]))
  return key !== null && verify(null, octets, key, signature)
}

function ed25519Private(seed: Uint8Array): KeyObject {
  if (seed.length !== ED25519_KEY_OCTETS) throw new GatewayError("SCALAR_INVALID", "ed25519: seed is not 32 octets")
  return createPrivateKey({ key: Buffer.concat([ED25519_PKCS8_HEAD, seed]), format: "der", type: "pkcs8" })
}

function readPublic(spki: Uint8Array): KeyObject | null {
  try {
    return createPublicKey(publicKeyText(spki))
  } catch {
    // A key that is none signs nothing: the caller's answer is "not valid", whatever the cause.
    return null
  }
}

function encoding(form: EcdsaForm): "ieee-p1363" | "der" {
  return form === "raw" ? "ieee-p1363" : "der"
}

// RFC 8410 §7 and §4.
const ED25519_PKCS8_HEAD = Buffer.from("302e020100300506032b657004220420", "hex")
const ED25519_SPKI_HEAD = Buffer.from("302a300506032b6570032100", "hex")
