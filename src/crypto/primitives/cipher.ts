import {
  type CipherGCM,
  type CipherOCB,
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  type DecipherGCM,
} from "node:crypto"
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

/** AES-CBC, with a key of 16 or 32 octets and PKCS#7 padding (RFC 5652 §6.3). */
export function aesCbcEncryptor(key: Uint8Array, iv: Uint8Array): StreamCipher {
  return createCipheriv(key.length === 16 ? "aes-128-cbc" : "aes-256-cbc", createSecretKey(key), iv)
}

/** Reverses {@link aesCbcEncryptor} for keys of 32 octets. Wrong padding must not be told apart from other failures by its caller's peer. */
export function aes256CbcDecryptor(key: Uint8Array, iv: Uint8Array): StreamCipher {
  return opening(createDecipheriv("aes-256-cbc", createSecretKey(key), iv))
}

/** AES-GCM (NIST SP 800-38D), with a key of 16 or 32 octets and a nonce of 12 that never repeats under one key. */
export function aesGcmEncryptor(key: Uint8Array, nonce: Uint8Array, associated?: Uint8Array): AuthenticatedEncryptor {
  const name = key.length === 16 ? "aes-128-gcm" : "aes-256-gcm"
  const cipher: CipherGCM = createCipheriv(name, createSecretKey(key), nonce)
  if (associated) cipher.setAAD(associated)
  return authenticated(cipher)
}

/** AES-256-OCB (RFC 7253) with a nonce of 15 octets that never repeats under one key, and a tag of 16. */
export function aes256OcbEncryptor(key: Uint8Array, nonce: Uint8Array, associated: Uint8Array): AuthenticatedEncryptor {
  const cipher = createCipheriv("aes-256-ocb", createSecretKey(key), nonce, { authTagLength: BLOCK_OCTETS })
  cipher.setAAD(associated)
  return authenticated(cipher)
}

function authenticated(cipher: CipherGCM | CipherOCB): AuthenticatedEncryptor {
  return {
    update: (octets) => cipher.update(octets),
    final: () => cipher.final(),
    tag: () => cipher.getAuthTag(),
  }
}

/**
 * Reverses {@link aesGcmEncryptor} for keys of 32 octets. What `update` gives is not authentic before `final` has returned.
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
