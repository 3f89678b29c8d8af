import { createDecipheriv, createHash } from "node:crypto"
import { GatewayError } from "../../errors.ts"

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

/** AES-CBC with PKCS#7 padding, key of 16, 24 or 32 octets. @throws GatewayError DECRYPTION_FAILED */
export function aesCbcDecrypt(key: Uint8Array, iv: Uint8Array, ciphertext: Uint8Array): Uint8Array {
  return uniform(() => {
    const decipher = createDecipheriv(`aes-${bits(key)}-cbc`, key, iv)
    return Buffer.concat([decipher.update(ciphertext), decipher.final()])
  })
}

/** AES-GCM, key of 16, 24 or 32 octets, tag apart. @throws GatewayError DECRYPTION_FAILED */
export function aesGcmDecrypt(
  key: Uint8Array,
  nonce: Uint8Array,
  ciphertext: Uint8Array,
  tag: Uint8Array,
  associated: Uint8Array,
): Uint8Array {
  return uniform(() => {
    const decipher = createDecipheriv(
      bits(key) === 256 ? "aes-256-gcm" : bits(key) === 192 ? "aes-192-gcm" : "aes-128-gcm",
      key,
      nonce,
    )
    decipher.setAAD(associated)
    decipher.setAuthTag(tag)
    return Buffer.concat([decipher.update(ciphertext), decipher.final()])
  })
}

function bits(key: Uint8Array): number {
  return key.length * 8
}

/** After the session key all failures look alike (style guide 8). */
function uniform(decrypt: () => Uint8Array): Uint8Array {
  try {
    return decrypt()
  } catch {
    throw new GatewayError("DECRYPTION_FAILED", "cms: cannot open")
  }
}
