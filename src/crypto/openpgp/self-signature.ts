import type { SignatureHash } from "../primitives/signature-check.ts"
import type { PublicKey } from "./key-packet.ts"
import type { Signature } from "./signature.ts"
import { describeKey, isKeySignature, type KeyDescription } from "./signing-key.ts"

/** What a signature of a primary key is about: that key alone, or a user id or subkey with it. */
export type Signed =
  | { readonly kind: "key" }
  | { readonly kind: "user"; readonly userId: Uint8Array }
  | { readonly kind: "subkey"; readonly key: PublicKey }

/**
 * Whether the primary key made this signature over itself and what it binds (RFC 9580 §5.2.4). Dates and what it says are not looked at, and every hash
 * function will do but MD5 and RIPEMD-160.
 */
export function isOwnSignature(
  { key, description }: { readonly key: PublicKey; readonly description: KeyDescription },
  signature: Signature,
  signed: Signed,
): boolean {
  const hash = HASHES.get(signature.hashAlgorithm)
  if (!hash || signature.version !== key.version || signature.keyAlgorithm !== key.algorithm) return false
  if (signature.issuer && Buffer.compare(signature.issuer, key.keyId) !== 0) return false
  return isKeySignature(description, hash, digestedOctets(key, signature, signed), signature.material)
}

/** Whether a signing subkey made this signature over the primary key and itself (RFC 9580 §5.2.1.9). */
export function isBackSignature(primary: PublicKey, subkey: PublicKey, signature: Signature): boolean {
  const hash = HASHES.get(signature.hashAlgorithm)
  if (!hash || signature.version !== subkey.version || signature.keyAlgorithm !== subkey.algorithm) return false
  const octets = digestedOctets(primary, signature, { kind: "subkey", key: subkey })
  return isKeySignature(describeKey(subkey), hash, octets, signature.material)
}

function digestedOctets(primary: PublicKey, { version, salt, hashed }: Signature, signed: Signed): Uint8Array {
  const trailer = Buffer.alloc(6)
  trailer.set([version, 0xff])
  trailer.writeUInt32BE(hashed.length, 2)
  return Buffer.concat([salt, ...keyOctets(primary), ...boundOctets(signed), hashed, trailer])
}

function keyOctets({ version, body }: PublicKey): Uint8Array[] {
  if (version === 4) return [Uint8Array.of(0x99, body.length >> 8, body.length & 0xff), body]
  return [countOf(0x9b, body.length), body]
}

function boundOctets(signed: Signed): Uint8Array[] {
  if (signed.kind === "subkey") return keyOctets(signed.key)
  return signed.kind === "user" ? [countOf(0xb4, signed.userId.length), signed.userId] : []
}

function countOf(tag: number, octets: number): Uint8Array {
  const count = Buffer.alloc(5)
  count[0] = tag
  count.writeUInt32BE(octets, 1)
  return count
}

/** RFC 9580 §9.5 */
const HASHES: ReadonlyMap<number, SignatureHash> = new Map([
  [2, "sha1"],
  [8, "sha256"],
  [9, "sha384"],
  [10, "sha512"],
  [11, "sha224"],
  [12, "sha3-256"],
  [14, "sha3-512"],
])
