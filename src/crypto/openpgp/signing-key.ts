import { bitString, integer, nil, oid, sequence, TAG, tagged } from "../cms/der.ts"
import { isSignedBy, type SignatureHash, type SignatureScheme, signedDigest } from "../primitives/signature-check.ts"
import type { PublicKey } from "./key-packet.ts"

/** A public key packet's own words (RFC 9580 §5.5.5), for people and for verifying. */
export interface KeyDescription {
  /** `RSA 3072`, `Ed25519`, `P-256`; `unknown (30)` with the algorithm's ID when it is not known here. */
  readonly name: string
  /** Why it must not be relied upon, for people; null when it may. */
  readonly weakness: string | null
  /** DER of SubjectPublicKeyInfo and how it signs; null for keys that do not sign, or not in a way that is known here. */
  readonly signs: SigningKey | null
}

interface SigningKey {
  readonly spki: Uint8Array
  readonly kind: SignatureScheme["kind"]
  /** Of RSA, whose signatures have that length; 0 for others. */
  readonly modulusOctets: number
}

/** Reads the key material once more, for what {@link PublicKey} leaves out. Never throws: what is cut off is of no known kind. */
export function describeKey({ version, algorithm, body }: PublicKey): KeyDescription {
  const material = body.subarray(version === 6 ? 10 : 6)
  if (RSA.includes(algorithm)) return rsaKey(material)
  if (algorithm === ECDSA) return curveKey(material)
  if (algorithm === ECDH) return { ...curveKey(material), signs: null }
  if (algorithm === EDDSA_LEGACY) return edwardsKey("Ed25519", material.subarray(1 + (material[0] ?? 0) + 3))
  if (algorithm === ED25519) return edwardsKey("Ed25519", material.subarray(0, 32))
  if (algorithm === ED448) return edwardsKey("Ed448", material.subarray(0, 57))
  const [name, weakness] = NAMES.get(algorithm) ?? [`unknown (${algorithm})`, null]
  return { name, weakness, signs: null }
}

/** Whether `signature`, the algorithm-specific fields of a signature packet, is `key`'s over `octets`. */
export function isKeySignature(
  { signs }: KeyDescription,
  hash: SignatureHash,
  octets: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (!signs) return false
  const { spki, kind, modulusOctets } = signs
  // RFC 9580 §5.2.3.3: what EdDSA signs is the digest.
  if (kind === "eddsa") return isSignedBy(spki, { kind }, signedDigest(hash, octets), edwardsSignature(signature))
  const numbers = mpis(signature)
  if (kind === "ecdsa")
    return isSignedBy(spki, { kind, hash }, octets, sequence(...numbers.map((number) => integer(number))))
  return kind === "rsa" && isSignedBy(spki, { kind, hash }, octets, padded(numbers[0], modulusOctets))
}

function rsaKey(material: Uint8Array): KeyDescription {
  const [modulus, exponent] = mpis(material)
  if (!modulus || !exponent) return { name: "RSA", weakness: "its RSA key cannot be read", signs: null }
  const bits = modulus.length * 8 - Math.clz32(modulus[0] ?? 0) + 24
  const weakness =
    bits < MIN_RSA_BITS
      ? `its RSA key of ${bits} bits is too weak`
      : bits > MAX_RSA_BITS
        ? `its RSA key of ${bits} bits is larger than anybody's`
        : null
  const key = sequence(integer(modulus), integer(exponent))
  const spki = sequence(RSA_ENCRYPTION, bitString(key))
  return { name: `RSA ${bits}`, weakness, signs: { spki, kind: "rsa", modulusOctets: modulus.length } }
}

// RFC 9580 §5.5.5.4: length and octets of the curve's OID, the point as MPI.
function curveKey(material: Uint8Array): KeyDescription {
  const end = 1 + (material[0] ?? 0)
  const curve = material.subarray(1, end)
  const name = CURVES.get(Buffer.from(curve).toString("hex"))
  const [point] = mpis(material.subarray(end))
  if (name === undefined || !point)
    return { name: "unknown curve", weakness: "its key is on a curve that Postern does not know", signs: null }
  const algorithm = sequence(EC_PUBLIC_KEY, tagged(TAG.oid, curve))
  return {
    name,
    weakness: null,
    signs: { spki: sequence(algorithm, bitString(point)), kind: "ecdsa", modulusOctets: 0 },
  }
}

function edwardsKey(name: "Ed25519" | "Ed448", key: Uint8Array): KeyDescription {
  const algorithm = name === "Ed25519" ? ED25519_ALGORITHM : ED448_ALGORITHM
  return {
    name,
    weakness: null,
    signs: { spki: sequence(sequence(algorithm), bitString(key)), kind: "eddsa", modulusOctets: 0 },
  }
}

/** 64 or 114 octets as they stand (RFC 9580 §5.2.3.4), or r and s as MPIs (§5.2.3.3). */
function edwardsSignature(fields: Uint8Array): Uint8Array {
  if (fields.length === 64 || fields.length === 114) return fields
  return Buffer.concat(mpis(fields).map((number) => padded(number, 32)))
}

/** Every MPI (RFC 9580 §3.2) that stands there wholly. */
function mpis(octets: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = []
  for (let at = 0; at + 2 <= octets.length; ) {
    const end = at + 2 + Math.ceil((((octets[at] ?? 0) << 8) | (octets[at + 1] ?? 0)) / 8)
    if (end > octets.length) break
    found.push(octets.subarray(at + 2, end))
    at = end
  }
  return found
}

function padded(number: Uint8Array | undefined, octets: number): Uint8Array {
  const missing = octets - (number?.length ?? 0)
  return missing > 0
    ? Buffer.concat([new Uint8Array(missing), number ?? new Uint8Array(0)])
    : (number ?? new Uint8Array(0))
}

const RSA = [1, 2, 3]
const ECDH = 18
const ECDSA = 19
const EDDSA_LEGACY = 22
const ED25519 = 27
const ED448 = 28
/** RFC 9580 §9.1, and what does not encrypt or sign here. */
const NAMES: ReadonlyMap<number, readonly [name: string, weakness: string | null]> = new Map([
  [16, ["ElGamal", "its key is ElGamal, which nobody makes any more (RFC 9580 §12.6)"]],
  [17, ["DSA", "its key is DSA, which nobody makes any more (RFC 9580 §12.5)"]],
  [20, ["ElGamal", "its key is ElGamal for encryption and signatures, which was broken in 2003"]],
  [25, ["X25519", null]],
  [26, ["X448", null]],
])
/** By hexadecimal content of the OID (RFC 9580 §9.2). */
const CURVES: ReadonlyMap<string, string> = new Map([
  ["2a8648ce3d030107", "P-256"],
  ["2b81040022", "P-384"],
  ["2b81040023", "P-521"],
  ["2b2403030208010107", "brainpoolP256r1"],
  ["2b240303020801010b", "brainpoolP384r1"],
  ["2b240303020801010d", "brainpoolP512r1"],
  ["2b060104019755010501", "X25519"],
])
const MIN_RSA_BITS = 2048
/** Verifying takes longer with the square of it. */
const MAX_RSA_BITS = 16_384
const RSA_ENCRYPTION = sequence(oid("1.2.840.113549.1.1.1"), nil())
const EC_PUBLIC_KEY = oid("1.2.840.10045.2.1")
const ED25519_ALGORITHM = oid("1.3.101.112")
const ED448_ALGORITHM = oid("1.3.101.113")
