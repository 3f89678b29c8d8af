import {
  constants,
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  createSecretKey,
  publicEncrypt,
} from "node:crypto"
import { GatewayError } from "../../errors.ts"
import { publicKeyText } from "./key-text.ts"

/** Octets by which a wrapped key is longer than the key (RFC 3394 §2.2.1). */
export const WRAP_OVERHEAD_OCTETS = 8

/**
 * AES Key Wrap (RFC 3394 §2.2.1): `key` (16 octets or more, a multiple of 8) under a key-encryption key of 16, 24 or 32 octets.
 * @throws GatewayError LENGTH_MISMATCH
 */
export function wrapKey(keyEncryptionKey: Uint8Array, key: Uint8Array): Uint8Array {
  if (key.length < 16 || key.length % 8 !== 0)
    throw new GatewayError("LENGTH_MISMATCH", "keywrap: key is no multiple of 8 octets from 16 on")
  const cipher = createCipheriv(algorithm(keyEncryptionKey), createSecretKey(keyEncryptionKey), INITIAL_VALUE)
  // The mode knows its end: `final` would give nothing more.
  return cipher.update(key)
}

/**
 * Reverses {@link wrapKey}.
 * @throws GatewayError DECRYPTION_FAILED for every wrong wrapping alike; LENGTH_MISMATCH for a key-encryption key of another length
 */
export function unwrapKey(keyEncryptionKey: Uint8Array, wrapped: Uint8Array): Uint8Array {
  const name = algorithm(keyEncryptionKey)
  // OpenSSL takes nothing at all for a wrapping of nothing.
  if (wrapped.length < 24 || wrapped.length % 8 !== 0) throw cannotUnwrap()
  try {
    const decipher = createDecipheriv(name, createSecretKey(keyEncryptionKey), INITIAL_VALUE)
    return Buffer.concat([decipher.update(wrapped), decipher.final()])
  } catch {
    // One failure for all causes (style guide 8): the cause would tell an attacker which.
    throw cannotUnwrap()
  }
}

/** An RSA public key ready to transport keys. */
export interface RsaTransport {
  /** Octets of the modulus, and so of every transported key. */
  readonly modulusOctets: number
  /** The padding is random: two calls give two results. */
  encrypt(key: Uint8Array): Uint8Array
}

/** Hash of RSAES-OAEP, for the label and for its mask generation function MGF1 alike. */
export type OaepHash = "sha1" | "sha256" | "sha384" | "sha512"

/**
 * Key transport to an RSA key given as SubjectPublicKeyInfo (rsaEncryption): RSAES-PKCS1-v1_5 (RFC 8017 §7.2.1), or with a hash RSAES-OAEP (§7.1.1).
 * @returns null when the key is not RSA
 * @throws GatewayError CERTIFICATE_INVALID when the key cannot be read
 */
export function rsaTransport(subjectPublicKeyInfo: Uint8Array, oaepHash: OaepHash | null = null): RsaTransport | null {
  const key = readPublicKey(subjectPublicKeyInfo)
  const bits = key.asymmetricKeyDetails?.modulusLength
  if (key.asymmetricKeyType !== "rsa" || bits === undefined) return null
  return {
    modulusOctets: Math.ceil(bits / 8),
    encrypt: (octets) =>
      oaepHash === null
        ? publicEncrypt({ key, padding: constants.RSA_PKCS1_PADDING }, octets)
        : publicEncrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash }, octets),
  }
}

function readPublicKey(subjectPublicKeyInfo: Uint8Array) {
  try {
    return createPublicKey(publicKeyText(subjectPublicKeyInfo))
  } catch (cause) {
    throw new GatewayError("CERTIFICATE_INVALID", "keywrap: public key cannot be read", { cause })
  }
}

function cannotUnwrap(): GatewayError {
  return new GatewayError("DECRYPTION_FAILED", "keywrap: cannot unwrap")
}

function algorithm(keyEncryptionKey: Uint8Array): string {
  const bits = keyEncryptionKey.length * 8
  if (bits !== 128 && bits !== 192 && bits !== 256)
    throw new GatewayError("LENGTH_MISMATCH", "keywrap: key-encryption key is not 16, 24 or 32 octets")
  return `id-aes${bits}-wrap`
}

// RFC 3394 §2.2.3.1
const INITIAL_VALUE = Buffer.from("a6a6a6a6a6a6a6a6", "hex")
