import { p256PublicPoint, p256Spki } from "../primitives/p256.ts"
import { signP256 } from "../primitives/sign.ts"
import { bitString, explicit, integer, oid, sequence, setOf } from "./der.ts"
import { subjectAltName } from "./extensions.ts"

/**
 * CertificationRequest (PKCS #10, RFC 2986 §4.2) of a TLS server: dNSNames (A-labels) in subjectAltName, no subject (RFC 8555 §7.4).
 * @returns DER
 * @throws GatewayError SCALAR_INVALID
 */
export function certificationRequest(names: readonly string[], scalar: Uint8Array): Uint8Array {
  const alternatives = subjectAltName(names.map((name) => ({ kind: "dns", name })))
  // RFC 2985 §5.4.2
  const extensionRequest = sequence(oid("1.2.840.113549.1.9.14"), setOf(sequence(alternatives)))
  // CertificationRequestInfo ::= SEQUENCE { version INTEGER { v1(0) }, subject, subjectPKInfo, attributes [0] }
  const asked = sequence(integer(0), sequence(), p256Spki(p256PublicPoint(scalar)), explicit(0, extensionRequest))
  return sequence(asked, ECDSA_WITH_SHA256, bitString(signP256(scalar, asked, "der")))
}

const ECDSA_WITH_SHA256 = sequence(oid("1.2.840.10045.4.3.2"))
