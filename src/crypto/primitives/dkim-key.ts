import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto"
import { GatewayError } from "../../errors.ts"
import { sha256 } from "./hash.ts"

/** Signing algorithms of DKIM (RFC 6376 §3.3.2, RFC 8463 §3). */
export type DkimAlgorithm = "rsa-sha256" | "ed25519-sha256"

/** A private key that is ready to sign. */
export interface DkimSigner {
  readonly algorithm: DkimAlgorithm
  /** What the p= tag of its record holds: SubjectPublicKeyInfo of RSA (RFC 6376 §3.6.1), the 32 octets of Ed25519 (RFC 8463 §4.2). */
  readonly publicKey: Uint8Array
  /** The signature over `octets` (not their digest); the same for the same octets. 256 octets for RSA-2048, 64 for Ed25519. */
  sign(octets: Uint8Array): Uint8Array
}

/** A new private key: PKCS #8, as RFC 7468 text. RSA takes a tenth of a second. */
export function makeDkimKey(algorithm: DkimAlgorithm): string {
  const { privateKey } =
    algorithm === "rsa-sha256"
      ? generateKeyPairSync("rsa", { modulusLength: RSA_BITS, publicExponent: 65_537 })
      : generateKeyPairSync("ed25519")
  return privateKey.export({ type: "pkcs8", format: "pem" }).toString()
}

/**
 * Reads a private key (PKCS #8 or PKCS #1, RFC 7468 text).
 * @throws GatewayError DKIM_KEY_UNUSABLE when it is none, or one that verifiers must not accept (RFC 8301 §3.2)
 */
export function readDkimKey(pem: string): DkimSigner {
  const key = privateKeyOf(pem)
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key
  if (type === "ed25519") return signerOf(key, "ed25519-sha256")
  if (type !== "rsa") throw unusable(`is ${type ?? "secret"}, neither RSA nor Ed25519`)
  const bits = details?.modulusLength ?? 0
  if (bits < MIN_RSA_BITS || bits > MAX_RSA_BITS)
    throw unusable(`RSA of ${bits} bits, ${MIN_RSA_BITS} to ${MAX_RSA_BITS} can be used`)
  return signerOf(key, "rsa-sha256")
}

function privateKeyOf(pem: string): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch (cause) {
    throw unusable("cannot be read", cause)
  }
}

function signerOf(key: KeyObject, algorithm: DkimAlgorithm): DkimSigner {
  const spki = createPublicKey(key).export({ format: "der", type: "spki" })
  if (algorithm === "rsa-sha256") return { algorithm, publicKey: spki, sign: (octets) => sign("sha256", octets, key) }
  return {
    algorithm,
    publicKey: spki.subarray(-ED25519_OCTETS),
    // RFC 8463 §3: PureEdDSA over the SHA-256 of what RSA would sign.
    sign: (octets) => sign(null, sha256(octets), key),
  }
}

function unusable(what: string, cause?: unknown): GatewayError {
  return new GatewayError("DKIM_KEY_UNUSABLE", `dkim key: ${what}`, { cause })
}

/** RFC 8301 §3.2: at least 1024, and 2048 is what should be used. A longer one needs a record over several DNS packets. */
const RSA_BITS = 2_048
const MIN_RSA_BITS = 1_024
/** RFC 8301 §3.2: verifiers need not take longer ones. */
const MAX_RSA_BITS = 4_096
const ED25519_OCTETS = 32
