import { writeJsonB } from "../jsonb/write.ts"
import { isMontgomery, type PublicKey } from "../mesh-keys/key.ts"
import { isSignatureOf } from "../mesh-keys/use.ts"
import type { EdwardsCurve, EdwardsSigner } from "../primitives/edwards.ts"
import { joined } from "../primitives/joined.ts"
import type { EnvelopeSignature } from "./fields.ts"

/*
 * What a signature is made over (published examples; the text does not say):
 *
 *   generation 2024   alg ED25519, ED448   JSON-B "S512", JSON-B data of the payload's digest
 *   generation 2022   alg S512             the payload's digest; with Ed25519 under the empty context
 *
 * The payload is what is stored: ciphertext, when it is encrypted. Header and trailer are not signed.
 */

/** Who signs what is written. */
export interface Signer {
  /** UDF of the key. */
  readonly kid: string
  readonly curve: EdwardsCurve
  /** Signs by RFC 8032: 64 or 114 octets. */
  readonly sign: EdwardsSigner
  /** Enclosed in the signature, as a profile has it. */
  readonly publicKey?: Uint8Array
}

/** What is signed in generation 2024, and what a witness is made over. @param payloadDigest SHA-512 of the payload as stored */
export function manifestOf(payloadDigest: Uint8Array): Uint8Array {
  return joined([writeJsonB("S512"), writeJsonB(payloadDigest)])
}

/** The entry of one signature. */
export function signatureEntry(signer: Signer, manifest: Uint8Array) {
  const key = signer.publicKey && { PublicKeyECDH: { crv: signer.curve, Public: signer.publicKey } }
  return { alg: ALGORITHMS[signer.curve], kid: signer.kid, SignatureKey: key, signature: signer.sign(manifest) }
}

/** Octets of a signature. */
export function signatureOctets(curve: EdwardsCurve): number {
  return curve === "Ed25519" ? 64 : 114
}

/**
 * True when the signature, of either generation, is of `key` over the payload with this digest, computed from what was received. False for
 * an algorithm that is not the key's.
 */
export function isEnvelopeSignature(signature: EnvelopeSignature, key: PublicKey, payloadDigest: Uint8Array): boolean {
  if (signature.algorithm === "S512") return isSignatureOf(key, payloadDigest, signature.signature, 2022)
  if (isMontgomery(key.curve) || signature.algorithm !== ALGORITHMS[key.curve]) return false
  return isSignatureOf(key, manifestOf(payloadDigest), signature.signature, 2024)
}

/** What the witness of a signature is made over: that of generation 2024 serves all signatures, those of 2022 one each. */
export function witnessedOctets(signature: EnvelopeSignature, payloadDigest: Uint8Array): Uint8Array {
  return signature.algorithm === "S512" ? signature.signature : manifestOf(payloadDigest)
}

const ALGORITHMS = { Ed25519: "ED25519", Ed448: "ED448" } as const satisfies Record<EdwardsCurve, string>
