import { createDecipheriv, createHash, createSecretKey } from "node:crypto"
import { GatewayError } from "../../errors.ts"
import type { StreamCipher } from "./cipher.ts"

/** Hash of an ANSI X9.63 key derivation. */
export type KdfHash = "sha1" | "sha224" | "sha256" | "sha384" | "sha512"

/** ANSI X9.63 key derivation (SEC 1 §3.6.1): hash(Z || counter || info), as often as needed. */
export function x963Kdf(hash: KdfHash, shared: Uint8Array, info: Uint8Array, lengthOctets: number): Uint8Array {
  const blocks: Uint8Array[] = []
  for (let counter = 1, have = 0; have < lengthOctets; counter++) {
    const number = new Uint8Array([0, 0, 0, counter])
    const block = createHash(hash).update(shared).update(number).update(info).digest()
    blocks.push(block)
    have += block.length
  }
  return Buffer.concat(blocks).subarray(0, lengthOctets)
}

/** AES-CBC with PKCS#7 padding, key of 16, 24 or 32 octets. Nothing is known to be right before `final` has returned. Throws GatewayError DECRYPTION_FAILED, always this one. */
export function aesCbcDecryptor(key: Uint8Array, iv: Uint8Array): StreamCipher {
  return uniform(() => createDecipheriv(`aes-${bits(key)}-cbc`, createSecretKey(key), iv))
}

/** What AES-GCM authenticates beside the ciphertext, and by what. */
export interface GcmSeal {
  readonly nonce: Uint8Array
  /** 12 to 16 octets (RFC 5084 §3.2). */
  readonly tag: Uint8Array
  readonly associated: Uint8Array
}

/** AES-GCM, key of 16, 24 or 32 octets. Nothing is authentic before `final` has returned. Throws GatewayError DECRYPTION_FAILED, always this one. */
export function aesGcmDecryptor(key: Uint8Array, { nonce, tag, associated }: GcmSeal): StreamCipher {
  return uniform(() => {
    const length = bits(key)
    const name = length === 256 ? "aes-256-gcm" : length === 192 ? "aes-192-gcm" : "aes-128-gcm"
    if (tag.length < LEAST_TAG_OCTETS) throw cannotOpen()
    const decipher = createDecipheriv(name, createSecretKey(key), nonce, { authTagLength: tag.length })
    decipher.setAAD(associated)
    decipher.setAuthTag(tag)
    return decipher
  })
}

function bits(key: Uint8Array): number {
  return key.length * 8
}

/** After the session key all failures look alike (style guide 8). */
function uniform(make: () => StreamCipher): StreamCipher {
  const decipher = alike(make)
  return { update: (octets) => alike(() => decipher.update(octets)), final: () => alike(() => decipher.final()) }
}

function alike<T>(act: () => T): T {
  try {
    return act()
  } catch {
    throw cannotOpen()
  }
}

function cannotOpen(): GatewayError {
  return new GatewayError("DECRYPTION_FAILED", "cms: cannot open")
}

const LEAST_TAG_OCTETS = 12
