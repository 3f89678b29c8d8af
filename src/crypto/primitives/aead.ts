import { createCipheriv, createDecipheriv, createSecretKey } from "node:crypto"
import { GatewayError } from "../../errors.ts"

/** Octets of the AES-GCM tag (NIST SP 800-38D). */
export const TAG_OCTETS = 16
/** Octets of the AES-GCM nonce. */
export const NONCE_OCTETS = 12

/** AES-256-GCM: ciphertext followed by its tag. The nonce must never repeat under one key. */
export function sealAes256Gcm(
  key: Uint8Array,
  nonce: Uint8Array,
  plaintext: Uint8Array,
  associated?: Uint8Array,
): Uint8Array {
  const cipher = createCipheriv("aes-256-gcm", createSecretKey(key), nonce)
  if (associated) cipher.setAAD(associated)
  const body = cipher.update(plaintext)
  return Buffer.concat([body, cipher.final(), cipher.getAuthTag()])
}

/**
 * Reverses {@link sealAes256Gcm}; nothing is returned before the tag is right.
 * @throws GatewayError DECRYPTION_FAILED
 */
export function openAes256Gcm(
  key: Uint8Array,
  nonce: Uint8Array,
  sealed: Uint8Array,
  associated?: Uint8Array,
): Uint8Array {
  // A shorter tag would be accepted by Node, and is easier to guess.
  if (sealed.length < TAG_OCTETS) throw new GatewayError("DECRYPTION_FAILED", "aead: cannot open")
  try {
    const decipher = createDecipheriv("aes-256-gcm", createSecretKey(key), nonce, { authTagLength: TAG_OCTETS })
    if (associated) decipher.setAAD(associated)
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_OCTETS))
    const body = decipher.update(sealed.subarray(0, sealed.length - TAG_OCTETS))
    // A stream cipher has given out all by now; this is where the tag is compared.
    decipher.final()
    return body
  } catch {
    // One failure for all causes (style guide 8): the cause would tell an attacker which.
    throw new GatewayError("DECRYPTION_FAILED", "aead: cannot open")
  }
}
