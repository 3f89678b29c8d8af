import { GatewayError } from "../../errors.ts"
import { sha256 } from "../primitives/hash.ts"
import { isP256Point, p256Decompress } from "../primitives/p256.ts"
import { childrenOf, contentOf, hex, octetsOf, oid, readWhole, sequence, TAG, type WholeElement } from "./der.ts"

/** What a CMS RecipientIdentifier names (RFC 5652 §10.2.4, §6.2.2). */
export interface CertificateIdentity {
  /** DER of the issuer's Name. */
  readonly issuer: Uint8Array
  /** Content octets of the serial number's INTEGER. */
  readonly serial: Uint8Array
  /** Null when the certificate has no such extension. */
  readonly subjectKeyIdentifier: Uint8Array | null
}

/** What Postern reads from an X.509 certificate (RFC 5280 §4.1). */
export interface Certificate {
  readonly identity: CertificateIdentity
  /** DER of the subject's Name. */
  readonly subject: Uint8Array
  /** DER of SubjectPublicKeyInfo. */
  readonly subjectPublicKeyInfo: Uint8Array
  /** The uncompressed point (65 octets) of a P-256 key that is on the curve; null for every other kind of key. */
  readonly point: Uint8Array | null
  readonly notBefore: Date
  readonly notAfter: Date
  /** rfc822Name and SmtpUTF8Mailbox of subjectAltName; the subject's emailAddress only when there is no such name. */
  readonly emailAddresses: readonly string[]
  /** False when keyUsage (RFC 5280 §4.2.1.3) allows neither key agreement nor key encipherment. */
  readonly mayEncrypt: boolean
  /** By hexadecimal DER of their OBJECT IDENTIFIER. */
  readonly extensions: ReadonlyMap<string, Extension>
  readonly der: Uint8Array
}

/** RFC 5280 §4.1 Extension. */
export interface Extension {
  readonly isCritical: boolean
  /** DER that stands in extnValue. */
  readonly value: Uint8Array
}

/** Longest certificate that is read; real ones stay below 10 KB, with post-quantum keys below 30. */
export const MAX_CERTIFICATE_OCTETS = 65_536

/**
 * Reads one certificate. Its signature is not checked, nor are its dates.
 * @throws GatewayError DER_SYNTAX, CERTIFICATE_INVALID (no certificate, a date that is none, a P-256 point that is not on the curve)
 */
export function readCertificate(der: Uint8Array): Certificate {
  if (der.length > MAX_CERTIFICATE_OCTETS) throw invalid(`over ${MAX_CERTIFICATE_OCTETS} octets`)
  const whole = readWhole(der, 0, der.length, TAG.sequence)
  if (whole.end !== der.length) throw invalid("octets behind its end")
  const fields = tbsFields(der, whole)
  const extensions = fields.extensions ? readExtensions(der, fields.extensions) : new Map<string, Extension>()
  const subjectPublicKeyInfo = octetsOf(der, fields.subjectPublicKeyInfo)
  const subject = octetsOf(der, fields.subject)
  const named = alternativeEmails(extensions.get(SUBJECT_ALT_NAME)?.value)
  return {
    identity: {
      issuer: octetsOf(der, fields.issuer),
      serial: contentOf(der, fields.serial),
      subjectKeyIdentifier: keyIdentifier(extensions.get(SUBJECT_KEY_IDENTIFIER)?.value),
    },
    subject,
    subjectPublicKeyInfo,
    point: p256Point(subjectPublicKeyInfo),
    ...validity(der, fields.validity),
    emailAddresses: named.length > 0 ? named : subjectEmails(subject),
    mayEncrypt: mayEncrypt(extensions.get(KEY_USAGE)?.value),
    extensions,
    der,
  }
}

/** Those of the first `most` that can be read: a broken one beside the others says nothing. */
export function readableCertificates(certificates: readonly Uint8Array[], most: number): Certificate[] {
  return certificates.slice(0, most).flatMap((der) => {
    try {
      return [readCertificate(der)]
    } catch (error) {
      if (error instanceof GatewayError) return []
      throw error
    }
  })
}

/** True when both name the same certificate by issuer and serial number. */
export function sameIdentity(a: CertificateIdentity, b: CertificateIdentity): boolean {
  return equal(a.issuer, b.issuer) && equal(a.serial, b.serial)
}

/** SHA-256 of SubjectPublicKeyInfo (as RFC 7469 §2.4 pins keys): stays when the certificate is renewed. */
export function publicKeyFingerprint({ subjectPublicKeyInfo }: Certificate): Uint8Array {
  return sha256(subjectPublicKeyInfo)
}

interface TbsFields {
  readonly serial: WholeElement
  readonly issuer: WholeElement
  readonly validity: WholeElement
  readonly subject: WholeElement
  readonly subjectPublicKeyInfo: WholeElement
  readonly extensions: WholeElement | null
}

// RFC 5280 §4.1: Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }
function tbsFields(der: Uint8Array, whole: WholeElement): TbsFields {
  const [tbs, algorithm, signature, ...more] = childrenOf(der, whole)
  if (
    tbs?.tag !== TAG.sequence ||
    algorithm?.tag !== TAG.sequence ||
    signature?.tag !== TAG.bitString ||
    more.length > 0
  )
    throw invalid("not tbsCertificate, algorithm and signature")
  const fields = childrenOf(der, tbs)
  if (fields[0]?.tag === VERSION) fields.shift()
  const [serial, inner, issuer, dates, subject, key] = fields
  if (
    serial?.tag !== TAG.integer ||
    serial.contentStart === serial.end ||
    inner?.tag !== TAG.sequence ||
    issuer?.tag !== TAG.sequence ||
    dates?.tag !== TAG.sequence ||
    subject?.tag !== TAG.sequence ||
    key?.tag !== TAG.sequence
  )
    throw invalid("fields of tbsCertificate")
  const extensions = fields.slice(6).find((field) => field.tag === EXTENSIONS) ?? null
  return { serial, issuer, validity: dates, subject, subjectPublicKeyInfo: key, extensions }
}

/**
 * Extensions (RFC 5280 §4.1) in `outer`, the element with the explicit tag around them, by hexadecimal DER of their OBJECT IDENTIFIER.
 * @throws GatewayError DER_SYNTAX, CERTIFICATE_INVALID
 */
export function readExtensions(der: Uint8Array, outer: WholeElement): ReadonlyMap<string, Extension> {
  const list = readWhole(der, outer.contentStart, outer.end, TAG.sequence)
  if (list.end !== outer.end) throw invalid("octets behind the extensions")
  const extensions = new Map<string, Extension>()
  for (const extension of childrenOf(der, list)) {
    if (extension.tag !== TAG.sequence) throw invalid("extension is no SEQUENCE")
    const [name, ...rest] = childrenOf(der, extension)
    const flag = rest.length === 2 ? rest.shift() : undefined
    const [value, ...more] = rest
    if (name?.tag !== TAG.oid || value?.tag !== TAG.octetString || more.length > 0)
      throw invalid("extension without name or value")
    if (flag && flag.tag !== TAG.boolean) throw invalid("extension whose criticality is no BOOLEAN")
    const key = hex(octetsOf(der, name))
    // RFC 5280 §4.2: no extension twice.
    if (extensions.has(key)) throw invalid("the same extension twice")
    extensions.set(key, {
      isCritical: flag !== undefined && der[flag.contentStart] !== 0,
      value: contentOf(der, value),
    })
  }
  return extensions
}

function validity(der: Uint8Array, found: WholeElement): { readonly notBefore: Date; readonly notAfter: Date } {
  const [from, to] = childrenOf(der, found)
  if (!from || !to) throw invalid("validity without two dates")
  return { notBefore: readTime(der, from), notAfter: readTime(der, to) }
}

/** Time (RFC 5280 §4.1.2.5): YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ. @throws GatewayError CERTIFICATE_INVALID */
export function readTime(der: Uint8Array, found: WholeElement): Date {
  const text = latin1(contentOf(der, found))
  const parts = (found.tag === TAG.utcTime ? UTC_TIME : GENERALIZED_TIME).exec(text)
  if (!parts || (found.tag !== TAG.utcTime && found.tag !== TAG.generalizedTime)) throw invalid("date in no known form")
  const [, yearText = "", month, day, hour, minute, second] = parts
  // RFC 5280 §4.1.2.5.1: two digits from 50 on are of the last century.
  const year = found.tag === TAG.utcTime ? `${Number(yearText) >= 50 ? "19" : "20"}${yearText}` : yearText
  const date = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
  if (Number.isNaN(date.getTime())) throw invalid("date that is none")
  return date
}

// RFC 5480 §2: SEQUENCE { SEQUENCE { id-ecPublicKey, namedCurve }, BIT STRING }
function p256Point(spki: Uint8Array): Uint8Array | null {
  const [algorithm, key] = childrenOf(spki, readWhole(spki, 0, spki.length, TAG.sequence))
  if (!algorithm || key?.tag !== TAG.bitString) throw invalid("subjectPublicKeyInfo")
  if (!equal(octetsOf(spki, algorithm), P256_ALGORITHM)) return null
  const bits = contentOf(spki, key)
  const point = bits.subarray(1)
  if (bits[0] !== 0 || !isP256Point(point)) throw invalid("P-256 point is not on the curve")
  return p256Decompress(point)
}

function keyIdentifier(value: Uint8Array | undefined): Uint8Array | null {
  return value ? contentOf(value, readWhole(value, 0, value.length, TAG.octetString)) : null
}

// RFC 5280 §4.2.1.3: bit 2 keyEncipherment, bit 4 keyAgreement.
function mayEncrypt(value: Uint8Array | undefined): boolean {
  if (!value) return true
  const bits = contentOf(value, readWhole(value, 0, value.length, TAG.bitString))
  return ((bits[1] ?? 0) & 0x28) !== 0
}

// RFC 5280 §4.2.1.6 GeneralName: [1] rfc822Name; [0] otherName, of which RFC 9598 §3 SmtpUTF8Mailbox.
function alternativeEmails(value: Uint8Array | undefined): string[] {
  if (!value) return []
  const names = childrenOf(value, readWhole(value, 0, value.length, TAG.sequence))
  return names.flatMap((name) => {
    if (name.tag === RFC822_NAME) return [latin1(contentOf(value, name))]
    return name.tag === OTHER_NAME ? smtpUtf8Mailbox(value, name) : []
  })
}

function smtpUtf8Mailbox(value: Uint8Array, name: WholeElement): string[] {
  const [kind, wrapped] = childrenOf(value, name)
  if (!kind || wrapped?.tag !== 0xa0 || !equal(octetsOf(value, kind), SMTP_UTF8_MAILBOX)) return []
  const text = readWhole(value, wrapped.contentStart, wrapped.end, TAG.utf8String)
  return [new TextDecoder("utf-8").decode(contentOf(value, text))]
}

// RFC 5280 Appendix A.1: Name ::= SEQUENCE OF SET OF SEQUENCE { type, value }
function subjectEmails(subject: Uint8Array): string[] {
  const sets = childrenOf(subject, readWhole(subject, 0, subject.length, TAG.sequence))
  return sets.flatMap((set) =>
    childrenOf(subject, set).flatMap((attribute) => {
      const [type, value] = childrenOf(subject, attribute)
      return type && value && equal(octetsOf(subject, type), EMAIL_ADDRESS) ? [latin1(contentOf(subject, value))] : []
    }),
  )
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

function latin1(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString("latin1")
}

function invalid(what: string): GatewayError {
  return new GatewayError("CERTIFICATE_INVALID", `certificate: ${what}`)
}

const VERSION = 0xa0
const EXTENSIONS = 0xa3
const RFC822_NAME = 0x81
const OTHER_NAME = 0xa0
const UTC_TIME = /^(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/
const GENERALIZED_TIME = /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/
const SUBJECT_KEY_IDENTIFIER = hex(oid("2.5.29.14"))
const KEY_USAGE = hex(oid("2.5.29.15"))
const SUBJECT_ALT_NAME = hex(oid("2.5.29.17"))
const EMAIL_ADDRESS = oid("1.2.840.113549.1.9.1")
const SMTP_UTF8_MAILBOX = oid("1.3.6.1.5.5.7.8.9")
/** id-ecPublicKey with prime256v1 (RFC 5480 §2.1.1). */
const P256_ALGORITHM = sequence(oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7"))
