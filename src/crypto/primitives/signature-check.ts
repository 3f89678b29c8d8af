import { constants, createPublicKey, hash, type KeyObject, verify } from "node:crypto"
import { publicKeyText } from "./key-text.ts"

/** Which of them count is for the caller to say. */
export type SignatureHash = "sha1" | "sha224" | "sha256" | "sha384" | "sha512" | "sha3-256" | "sha3-512"

/** How a signature was made. EdDSA hashes by itself. */
export type SignatureScheme =
  | { readonly kind: "rsa"; readonly hash: SignatureHash }
  /** Mask generation with the same hash. */
  | { readonly kind: "rsa-pss"; readonly hash: SignatureHash; readonly saltOctets: number }
  /** The signature as Ecdsa-Sig-Value (RFC 3279 §2.2.3). */
  | { readonly kind: "ecdsa"; readonly hash: SignatureHash }
  | { readonly kind: "eddsa" }

/** True when `signature` over `octets` is of the key in `subjectPublicKeyInfo`; false for anything malformed, and for a key of another kind. */
export function isSignedBy(
  subjectPublicKeyInfo: Uint8Array,
  scheme: SignatureScheme,
  octets: Uint8Array,
  signature: Uint8Array,
): boolean {
  try {
    const key = createPublicKey(publicKeyText(subjectPublicKeyInfo))
    if (!KEY_TYPES[scheme.kind].includes(key.asymmetricKeyType ?? "")) return false
    return verifyWith(key, scheme, octets, signature)
  } catch {
    // A key that is none, or one that OpenSSL does not know, signs nothing.
    return false
  }
}

/** The digest that a signature is made over, where that is a step of its own. */
export function signedDigest(algorithm: SignatureHash, octets: Uint8Array): Uint8Array {
  return hash(algorithm, octets, "buffer")
}

/** Bits of an RSA key's modulus; null for other keys, and for what is none. */
export function rsaModulusBits(subjectPublicKeyInfo: Uint8Array): number | null {
  try {
    const key = createPublicKey(publicKeyText(subjectPublicKeyInfo))
    return key.asymmetricKeyDetails?.modulusLength ?? null
  } catch {
    return null
  }
}

function verifyWith(key: KeyObject, scheme: SignatureScheme, octets: Uint8Array, signature: Uint8Array): boolean {
  switch (scheme.kind) {
    case "rsa":
      return verify(scheme.hash, octets, { key, padding: constants.RSA_PKCS1_PADDING }, signature)
    case "rsa-pss": {
      const padding = constants.RSA_PKCS1_PSS_PADDING
      return verify(scheme.hash, octets, { key, padding, saltLength: scheme.saltOctets }, signature)
    }
    case "ecdsa":
      return verify(scheme.hash, octets, { key, dsaEncoding: "der" }, signature)
    case "eddsa":
      return verify(null, octets, key, signature)
  }
  return scheme satisfies never
}

/** Of Node's `asymmetricKeyType`. */
const KEY_TYPES: Readonly<Record<SignatureScheme["kind"], readonly string[]>> = {
  rsa: ["rsa"],
  "rsa-pss": ["rsa", "rsa-pss"],
  ecdsa: ["ec"],
  eddsa: ["ed25519", "ed448"],
}
