import { type CipherGCM, createCipheriv, createDecipheriv, createSecretKey, type DecipherGCM } from "node:crypto"
import { GatewayError } from "../../errors.ts"

/** A cipher fed in pieces. */
export interface StreamCipher {
  /** What the pieces given so far make available, possibly nothing. */
  update(octets: Uint8Array): Uint8Array
  /** The rest; padding is written or taken off here. A decryptor throws GatewayError DECRYPTION_FAILED. */
  final(): Uint8Array
}

/** An encryptor with an authentication tag. */
export interface AuthenticatedEncryptor extends StreamCipher {
  /** The tag, 16 octets; only after `final()`. */
  tag(): Uint8Array
}

/** Octets of an AES block, and of the initialization vectors of CBC and CFB. */
export const BLOCK_OCTETS = 16

/** AES-256-CBC with PKCS#7 padding (RFC 5652 §6.3). */
export function aes256CbcEncryptor(key: Uint8Array, iv: Uint8Array): StreamCipher {
  return createCipheriv("aes-256-cbc", createSecretKey(key), iv)
}

/** Reverses {@link aes256CbcEncryptor}. Wrong padding must not be told apart from other failures by its caller's peer. */
export function aes256CbcDecryptor(key: Uint8Array, iv: Uint8Array): StreamCipher {
  return opening(createDecipheriv("aes-256-cbc", createSecretKey(key), iv))
}

/** AES-256-GCM (NIST SP 800-38D) with a nonce of 12 octets that never repeats under one key. */
export function aes256GcmEncryptor(
  key: Uint8Array,
  nonce: Uint8Array,
  associated?: Uint8Array,
): AuthenticatedEncryptor {
  const cipher: CipherGCM = createCipheriv("aes-256-gcm", createSecretKey(key), nonce)
  if (associated) cipher.setAAD(associated)
  return {
    update: (octets) => cipher.update(octets),
    final: () => cipher.final(),
    tag: () => cipher.getAuthTag(),
  }
}

/**
 * Reverses {@link aes256GcmEncryptor}. What `update` gives is not authentic before `final` has returned.
 * @throws GatewayError DECRYPTION_FAILED when the tag is not 16 octets: a shorter one would be easier to forge
 */
export function aes256GcmDecryptor(
  key: Uint8Array,
  nonce: Uint8Array,
  tag: Uint8Array,
  associated?: Uint8Array,
): StreamCipher {
  if (tag.length !== BLOCK_OCTETS) throw cannotDecrypt()
  const decipher: DecipherGCM = createDecipheriv("aes-256-gcm", createSecretKey(key), nonce, {
    authTagLength: BLOCK_OCTETS,
  })
  if (associated) decipher.setAAD(associated)
  decipher.setAuthTag(tag)
  return opening(decipher)
}

/** AES-256-CFB with the full block fed back, as OpenPGP uses it (RFC 9580 §12.9); no padding, no tag. */
export function aes256CfbEncryptor(key: Uint8Array, iv: Uint8Array): StreamCipher {
  return createCipheriv("aes-256-cfb", createSecretKey(key), iv)
}

/** Reverses {@link aes256CfbEncryptor}. */
export function aes256CfbDecryptor(key: Uint8Array, iv: Uint8Array): StreamCipher {
  return opening(createDecipheriv("aes-256-cfb", createSecretKey(key), iv))
}

/** Triple DES in CBC with PKCS#7 padding: only for the PKCS#12 files of systems that know nothing else. */
export function tripleDesCbcEncryptor(key: Uint8Array, iv: Uint8Array): StreamCipher {
  return createCipheriv("des-ede3-cbc", createSecretKey(key), iv)
}

function opening(decipher: StreamCipher): StreamCipher {
  return {
    update: (octets) => decipher.update(octets),
    final: () => {
      try {
        return decipher.final()
      } catch {
        // One failure for all causes (style guide 8): the cause would tell an attacker which.
        throw cannotDecrypt()
      }
    },
  }
}

function cannotDecrypt(): GatewayError {
  return new GatewayError("DECRYPTION_FAILED", "cipher: cannot decrypt")
}
