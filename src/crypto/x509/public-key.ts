import type { Certificate } from "../cms/certificate.ts"
import { childrenOf, contentOf, hex, octetsOf, oid, readWhole, TAG } from "../cms/der.ts"
import { rsaModulusBits } from "../primitives/signature-check.ts"

/** A certificate's key for people: `RSA 3072`, `P-256`; null when it is of a kind that is not known here. */
export function keyName(certificate: Certificate): string | null {
  const algorithm = keyAlgorithm(certificate)
  if (!RSA_KEYS.includes(algorithm)) return CURVES.get(algorithm) ?? null
  const bits = rsaModulusBits(certificate.subjectPublicKeyInfo)
  return bits === null ? null : `RSA ${bits}`
}

/** Why the key must not be relied upon, for people; null when it may. */
export function weakness(certificate: Certificate): string | null {
  const name = keyName(certificate)
  if (name === null) return "its key is of a kind that Postern does not know"
  const bits = isRsa(certificate) ? Number(name.slice("RSA ".length)) : MIN_RSA_BITS
  if (bits < MIN_RSA_BITS) return `its RSA key of ${bits} bits is too weak`
  return bits > MAX_RSA_BITS ? `its RSA key of ${bits} bits is larger than anybody's` : null
}

export function isRsa(certificate: Certificate): boolean {
  return RSA_KEYS.includes(keyAlgorithm(certificate))
}

/** Curve keys: hexadecimal DER of what their AlgorithmIdentifier holds; a curve spelt out as parameters is none of ours (CVE-2020-0601). RSA: of its OID. */
function keyAlgorithm({ subjectPublicKeyInfo: spki }: Certificate): string {
  const [algorithm] = childrenOf(spki, readWhole(spki, 0, spki.length, TAG.sequence))
  const [name] = algorithm?.tag === TAG.sequence ? childrenOf(spki, algorithm) : []
  if (!algorithm || !name) return ""
  const id = hex(octetsOf(spki, name))
  return RSA_KEYS.includes(id) ? id : hex(contentOf(spki, algorithm))
}

/** NIST SP 800-131A; CA/Browser Forum, baseline requirements for S/MIME §6.1.5. */
const MIN_RSA_BITS = 2048
/** Verifying takes longer with the square of it. */
const MAX_RSA_BITS = 16_384
/** rsaEncryption, id-RSASSA-PSS (RFC 4055 §1.2). */
const RSA_KEYS: readonly string[] = ["1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10"].map((id) => hex(oid(id)))
const EC_PUBLIC_KEY = hex(oid("1.2.840.10045.2.1"))
/** RFC 5480 §2.1.1.1, RFC 8410 §3. */
const CURVES: ReadonlyMap<string, string> = new Map([
  [EC_PUBLIC_KEY + hex(oid("1.2.840.10045.3.1.7")), "P-256"],
  [EC_PUBLIC_KEY + hex(oid("1.3.132.0.34")), "P-384"],
  [EC_PUBLIC_KEY + hex(oid("1.3.132.0.35")), "P-521"],
  [hex(oid("1.3.101.110")), "X25519"],
  [hex(oid("1.3.101.111")), "X448"],
  [hex(oid("1.3.101.112")), "Ed25519"],
  [hex(oid("1.3.101.113")), "Ed448"],
])
