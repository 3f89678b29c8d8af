import { GatewayError, hasCode } from "../../errors.ts"
import { aes256CbcDecryptor, aesCbcEncryptor, type StreamCipher } from "../primitives/cipher.ts"
import { hkdfKey, hkdfSha256, hkdfSha512 } from "../primitives/hash.ts"
import { unwrapKey, wrapKey } from "../primitives/keywrap.ts"

/*
 * Keys of a DARE envelope. The text (draft-hallambaker-mesh-dare-12 §5) and the library differ; what is published follows the library:
 *
 *   agreement or symmetric key -- HKDF-SHA512, no salt, info "" --> KEK -- AES key wrap (RFC 3394) --> base seed, 32 octets
 *   base seed -- HKDF-SHA256, salt = Salt --> info "encrypt": key, 32 octets; info "iv": 16 octets
 *   base seed -- HKDF-SHA256, salt = Salt, info = what is signed --> witness, 32 octets
 */

/** Octets of a base seed. */
export const BASE_SEED_OCTETS = 32
/** Octets of the salt that is written; a shorter one is refused. */
export const SALT_OCTETS = 16

/** What all keys of an envelope come from, and how its writer labelled them. */
export interface BaseSeed {
  readonly octets: Uint8Array
  /** Stands before the labels of content keys: nothing with the library, "dare-" with who goes by the text. */
  readonly labelPrefix: "" | "dare-"
}

/** Wraps a base seed under an agreement, or a symmetric key. 40 octets. */
export function wrapBaseSeed(agreement: Uint8Array, seed: Uint8Array): Uint8Array {
  return wrapKey(keyEncryptionKey(agreement, ""), seed)
}

/**
 * Reverses {@link wrapBaseSeed}, for the three labels that are found: the library's, a published example's, the text's. The wrapping tells
 * by itself which is right, so that trying them is no guess.
 * @returns null when none of them fits
 */
export function unwrapBaseSeed(agreement: Uint8Array, wrapped: Uint8Array): BaseSeed | null {
  if (wrapped.length !== BASE_SEED_OCTETS + 8) return null
  for (const label of ["", "master", "dare-master"]) {
    const octets = unwrapped(keyEncryptionKey(agreement, label), wrapped)
    if (octets) return { octets, labelPrefix: label === "dare-master" ? "dare-" : "" }
  }
  return null
}

/** What a payload is encrypted with, or an annotation. Secret. */
export interface ContentKeys {
  readonly key: Uint8Array
  readonly iv: Uint8Array
}

/** Key and initialization vector of a payload (`salt` is the header's Salt), or of an annotation (its own octets stand before that). */
export function contentKeys({ octets, labelPrefix }: BaseSeed, salt: Uint8Array): ContentKeys {
  const seed = hkdfKey(octets)
  return {
    key: hkdfSha256(seed, salt, `${labelPrefix}encrypt`, 32),
    iv: hkdfSha256(seed, salt, `${labelPrefix}iv`, 16),
  }
}

/** Encrypts what these keys are for, A256CBC: AES-256-CBC with PKCS#7 padding. */
export function contentEncryptor(seed: BaseSeed, salt: Uint8Array): StreamCipher {
  const { key, iv } = contentKeys(seed, salt)
  return aesCbcEncryptor(key, iv)
}

/** Reverses {@link contentEncryptor}. Wrong padding looks like everything else that can be wrong behind a base seed. */
export function contentDecryptor(seed: BaseSeed, salt: Uint8Array): StreamCipher {
  const { key, iv } = contentKeys(seed, salt)
  const decryptor = aes256CbcDecryptor(key, iv)
  return {
    update: (octets) => decryptor.update(octets),
    final: () => {
      try {
        return decryptor.final()
      } catch {
        throw cannotOpen()
      }
    },
  }
}

/** The one failure of all that goes wrong with an envelope's keys (style guide 8): the cause would tell an attacker which. */
export function cannotOpen(): GatewayError {
  return new GatewayError("DECRYPTION_FAILED", "dare: cannot open")
}

/** What only somebody who could decrypt can state about a signature: that it was made for this base seed. 32 octets. */
export function witnessOf(seed: BaseSeed, salt: Uint8Array, signed: Uint8Array): Uint8Array {
  return hkdfSha256(seed.octets, salt, signed, 32)
}

function keyEncryptionKey(agreement: Uint8Array, label: string): Uint8Array {
  return hkdfSha512(agreement, NO_SALT, label, 32)
}

function unwrapped(keyEncryptionKeyOctets: Uint8Array, wrapped: Uint8Array): Uint8Array | null {
  try {
    return unwrapKey(keyEncryptionKeyOctets, wrapped)
  } catch (error) {
    // The next label is tried; that none fits is said by the caller, always in the same words.
    if (hasCode(error, "DECRYPTION_FAILED")) return null
    throw error
  }
}

const NO_SALT = new Uint8Array(64)
