import { GatewayError } from "../../errors.ts"
import { sha256 } from "../primitives/hash.ts"
import { p256Spki } from "../primitives/p256.ts"
import { signP256 } from "../primitives/sign.ts"
import type { Certificate } from "./certificate.ts"
import { bitString, explicit, integer, oid, sequence, setOf, time, utf8String } from "./der.ts"
import type { GeneralName } from "./extensions.ts"

/** What every certificate states. Root certificates are made for ten years, all others for two. */
export interface Terms {
  /** 16 octets, see {@link serialNumber}. */
  readonly serial: Uint8Array
  readonly notBefore: Date
  readonly notAfter: Date
}

/** Who signs: a certificate and the scalar of its key. */
export interface Issuer {
  readonly certificate: Certificate
  readonly scalar: Uint8Array
}

/** Octets of every serial number made here: recryption patches one for another in place, so all are of one length. */
export const SERIAL_OCTETS = 16

/** A serial number from 16 random octets: top bit clear and first octet not zero, so that its DER has 16 octets too. 2^126 of them remain. */
export function serialNumber(random: Uint8Array): Uint8Array {
  if (random.length !== SERIAL_OCTETS) throw invalid("serial number is not made of 16 octets")
  const serial = new Uint8Array(random)
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40
  return serial
}

/** Name and key that sign: the scalar of a P-256 key, or what makes an Ecdsa-Sig-Value with it. */
export interface Signer {
  readonly name: Uint8Array
  readonly scalar: Uint8Array
  readonly sign?: (scalar: Uint8Array, octets: Uint8Array) => Uint8Array
}

/**
 * A certificate (RFC 5280 §4.1) for the P-256 key with this uncompressed point.
 * @throws GatewayError CERTIFICATE_INVALID, SCALAR_INVALID
 */
export function signed(
  terms: Terms,
  signer: Signer,
  subject: Uint8Array,
  point: Uint8Array,
  extensions: readonly Uint8Array[],
): Uint8Array {
  checkTerms(terms)
  const { sign = (scalar, octets) => signP256(scalar, octets, "der") } = signer
  const tbs = sequence(
    explicit(0, integer(2)),
    integer(terms.serial),
    ECDSA_WITH_SHA256,
    signer.name,
    sequence(time(terms.notBefore), time(terms.notAfter)),
    subject,
    p256Spki(point),
    explicit(3, sequence(...extensions)),
  )
  return sequence(tbs, ECDSA_WITH_SHA256, bitString(sign(signer.scalar, tbs)))
}

function checkTerms(terms: Terms): void {
  const first = terms.serial[0] ?? 0
  if (terms.serial.length !== SERIAL_OCTETS || first === 0 || first >= 0x80)
    throw invalid("serial number is not 16 octets with the first from 01 to 7f")
  if (!(terms.notBefore < terms.notAfter)) throw invalid("validity ends before it begins")
}

/** The issuer as one that signs. */
export function namedIssuer(issuer: Issuer): Signer {
  return { name: issuer.certificate.subject, scalar: issuer.scalar }
}

/** For authorityKeyIdentifier. Throws GatewayError CERTIFICATE_INVALID. */
export function issuerKeyIdentifier({ certificate }: Pick<Issuer, "certificate">): Uint8Array {
  const { subjectKeyIdentifier: identifier } = certificate.identity
  if (identifier === null) throw invalid("issuer has no subjectKeyIdentifier")
  return identifier
}

/** RFC 7093 §2, method 1: the first 160 bits of SHA-256 of the public key. Always 20 octets: recryption patches it in place. */
export function keyIdentifier(point: Uint8Array): Uint8Array {
  return sha256(point).subarray(0, 20)
}

/** An rfc822Name. Throws GatewayError CERTIFICATE_UNSUPPORTED for an address that is not ASCII. */
export function mailbox(address: string): GeneralName {
  // RFC 9598 has a form for others, which no client tested reads.
  if (!/^[\x21-\x7e]+@[\x21-\x7e]+$/.test(address))
    throw new GatewayError("CERTIFICATE_UNSUPPORTED", "issue: address is not ASCII, so it is no rfc822Name")
  return { kind: "mailbox", address }
}

/** No server name or address at all, for permitting or excluding one kind of name says nothing of the others (RFC 5280 §4.2.1.10). */
export const NO_SERVERS: readonly GeneralName[] = [
  { kind: "dns", name: "" },
  { kind: "network", address: "0.0.0.0", prefixBits: 0 },
  { kind: "network", address: "::", prefixBits: 0 },
]

/** X.520 ub-common-name. */
export const MAX_COMMON_NAME_CHARACTERS = 64

/** A Name of a common name alone. */
export function nameOf(commonName: string): Uint8Array {
  return sequence(setOf(sequence(COMMON_NAME, utf8String(commonName))))
}

export function invalid(what: string): GatewayError {
  return new GatewayError("CERTIFICATE_INVALID", `issue: ${what}`)
}

export const COMMON_NAME = oid("2.5.4.3")
/** ecdsa-with-SHA256, without parameters (RFC 5758 §3.2). */
const ECDSA_WITH_SHA256 = sequence(oid("1.2.840.10045.4.3.2"))
