import { GatewayError } from "../../errors.ts"
import { sha256 } from "../primitives/hash.ts"
import { p256PublicPoint, p256Spki } from "../primitives/p256.ts"
import { signP256 } from "../primitives/sign.ts"
import type { Certificate } from "./certificate.ts"
import { bitString, explicit, integer, oid, sequence, setOf, time, utf8String } from "./der.ts"
import {
  authorityKeyIdentifier,
  basicConstraints,
  extendedKeyUsage,
  type GeneralName,
  keyUsage,
  nameConstraints,
  subjectAltName,
  subjectKeyIdentifier,
} from "./extensions.ts"

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

/** A certification authority of one person: name, address, and the scalar of the authority's own key. */
export interface AuthorityOptions extends Terms {
  readonly address: string
  readonly name: string
  readonly scalar: Uint8Array
}

/** What an end entity's key may do (RFC 5280 §4.2.1.3): agree on keys, sign, or both. */
export type KeyPurpose = "encrypt" | "sign" | "both"

/** An account's or device's certificate. */
export interface EndEntityOptions extends Terms {
  readonly issuer: Issuer
  readonly address: string
  readonly name: string
  /** Uncompressed P-256 point. */
  readonly point: Uint8Array
  readonly usage: KeyPurpose
}

/** The certificate that a device shows where it logs in by TLS. */
export interface LoginOptions extends Terms {
  /** The personal root: what it issues through the intermediate is for e-mail only. */
  readonly issuer: Issuer
  readonly address: string
  readonly device: string
  /** Uncompressed P-256 point. */
  readonly point: Uint8Array
}

/** The authority that signs this gateway's own TLS certificates. */
export interface ServerAuthorityOptions extends Terms {
  readonly name: string
  /** Names at and below them may be certified, and localhost with its addresses; nothing else. */
  readonly domains: readonly string[]
  readonly scalar: Uint8Array
}

/** A TLS server's certificate. */
export interface ServerOptions extends Terms {
  readonly authority: Issuer
  /** dNSNames in A-labels; the first one is the subject too. */
  readonly names: readonly string[]
  /** IPv4 or IPv6 addresses. */
  readonly addresses: readonly string[]
  readonly point: Uint8Array
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

/**
 * A person's self-signed root, which can vouch for this one address only (RFC 5280 §4.2.1.10).
 * @throws GatewayError CERTIFICATE_INVALID, CERTIFICATE_UNSUPPORTED (address that is not ASCII), SCALAR_INVALID
 */
export function issueRoot(options: AuthorityOptions): Uint8Array {
  const subject = nameOf(`${shortened(options.name)} Personal Root`)
  const point = p256PublicPoint(options.scalar)
  return signed(options, { name: subject, scalar: options.scalar }, subject, point, [
    basicConstraints({ pathLength: 1 }),
    keyUsage("keyCertSign", "cRLSign"),
    personalConstraints(options.address),
    subjectKeyIdentifier(keyIdentifier(point)),
    authorityKeyIdentifier(keyIdentifier(point)),
  ])
}

/**
 * The intermediate that signs all certificates of an account and its devices, for e-mail only and for this address only.
 * @throws GatewayError as {@link issueRoot}
 */
export function issueIntermediate(options: AuthorityOptions & { readonly issuer: Issuer }): Uint8Array {
  const subject = nameOf(`${shortened(options.name)} Personal Intermediate`)
  const point = p256PublicPoint(options.scalar)
  return signed(options, namedIssuer(options.issuer), subject, point, [
    basicConstraints({ pathLength: 0 }),
    keyUsage("keyCertSign", "cRLSign"),
    extendedKeyUsage("emailProtection"),
    personalConstraints(options.address),
    subjectKeyIdentifier(keyIdentifier(point)),
    authorityKeyIdentifier(issuerKeyIdentifier(options.issuer)),
  ])
}

/**
 * The certificate of an account, or of one of its devices: they differ in key, serial number and what follows from the key.
 * @throws GatewayError as {@link issueRoot}
 */
export function issueEndEntity(options: EndEntityOptions): Uint8Array {
  const subject = nameOf(personName(shortened(options.name), options.address))
  return signed(options, namedIssuer(options.issuer), subject, options.point, [
    basicConstraints(null),
    keyUsage(...PURPOSES[options.usage]),
    extendedKeyUsage("emailProtection"),
    subjectAltName([mailbox(options.address)]),
    subjectKeyIdentifier(keyIdentifier(options.point)),
    authorityKeyIdentifier(issuerKeyIdentifier(options.issuer)),
  ])
}

/**
 * A device's certificate for TLS client authentication and nothing else: neither key agreement nor e-mail protection, so no mail
 * client encrypts to it or signs with it.
 * @throws GatewayError as {@link issueRoot}
 */
export function issueLogin(options: LoginOptions): Uint8Array {
  const { address } = options
  const subject = nameOf(`${shortened(options.device)} (${address})`.slice(0, MAX_COMMON_NAME_CHARACTERS))
  return signed(options, namedIssuer(options.issuer), subject, options.point, [
    basicConstraints(null),
    keyUsage("digitalSignature"),
    extendedKeyUsage("clientAuth"),
    subjectAltName([mailbox(address)]),
    subjectKeyIdentifier(keyIdentifier(options.point)),
    authorityKeyIdentifier(issuerKeyIdentifier(options.issuer)),
  ])
}

/**
 * The self-signed authority of this gateway's TLS certificates: whoever trusts it, trusts it for these domains and this machine only.
 * @throws GatewayError CERTIFICATE_INVALID, SCALAR_INVALID
 */
export function issueServerAuthority(options: ServerAuthorityOptions): Uint8Array {
  const subject = nameOf(shortened(options.name))
  const point = p256PublicPoint(options.scalar)
  const domains: GeneralName[] = [...options.domains, "localhost"].map((name) => ({ kind: "dns", name }))
  const loopback: GeneralName[] = [
    { kind: "network", address: "127.0.0.1", prefixBits: 32 },
    { kind: "network", address: "::1", prefixBits: 128 },
  ]
  return signed(options, { name: subject, scalar: options.scalar }, subject, point, [
    basicConstraints({ pathLength: 0 }),
    keyUsage("keyCertSign", "cRLSign"),
    extendedKeyUsage("serverAuth"),
    nameConstraints([...domains, ...loopback], []),
    subjectKeyIdentifier(keyIdentifier(point)),
    authorityKeyIdentifier(keyIdentifier(point)),
  ])
}

/**
 * A TLS server's certificate (RFC 9525): its names stand in subjectAltName.
 * @throws GatewayError CERTIFICATE_INVALID (no name at all, an address that is none)
 */
export function issueServer(options: ServerOptions): Uint8Array {
  const names: GeneralName[] = [
    ...options.names.map((name): GeneralName => ({ kind: "dns", name })),
    ...options.addresses.map((address): GeneralName => ({ kind: "ip", address })),
  ]
  if (names.length === 0) throw invalid("server without name and address")
  // An address as common name would be held against the permitted dNSNames.
  const first = options.names[0] ?? `server at ${options.addresses[0]}`
  return signed(options, namedIssuer(options.authority), nameOf(shortened(first)), options.point, [
    basicConstraints(null),
    keyUsage("digitalSignature"),
    extendedKeyUsage("serverAuth"),
    subjectAltName(names),
    subjectKeyIdentifier(keyIdentifier(options.point)),
    authorityKeyIdentifier(issuerKeyIdentifier(options.authority)),
  ])
}

/** Name and key that sign. */
interface Signer {
  readonly name: Uint8Array
  readonly scalar: Uint8Array
}

// RFC 5280 §4.1
function signed(
  terms: Terms,
  signer: Signer,
  subject: Uint8Array,
  point: Uint8Array,
  extensions: readonly Uint8Array[],
): Uint8Array {
  checkTerms(terms)
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
  return sequence(tbs, ECDSA_WITH_SHA256, bitString(signP256(signer.scalar, tbs, "der")))
}

function checkTerms(terms: Terms): void {
  const first = terms.serial[0] ?? 0
  if (terms.serial.length !== SERIAL_OCTETS || first === 0 || first >= 0x80)
    throw invalid("serial number is not 16 octets with the first from 01 to 7f")
  if (!(terms.notBefore < terms.notAfter)) throw invalid("validity ends before it begins")
}

function namedIssuer(issuer: Issuer): Signer {
  return { name: issuer.certificate.subject, scalar: issuer.scalar }
}

function issuerKeyIdentifier(issuer: Issuer): Uint8Array {
  const { subjectKeyIdentifier: identifier } = issuer.certificate.identity
  if (identifier === null) throw invalid("issuer has no subjectKeyIdentifier")
  return identifier
}

/** RFC 7093 §2, method 1: the first 160 bits of SHA-256 of the public key. Always 20 octets: recryption patches it in place. */
function keyIdentifier(point: Uint8Array): Uint8Array {
  return sha256(point).subarray(0, 20)
}

/** Only this mailbox; and no server name or address at all, for permitting one kind of name does not forbid the others (RFC 5280 §4.2.1.10). */
function personalConstraints(address: string): Uint8Array {
  return nameConstraints(
    [mailbox(address)],
    [
      { kind: "dns", name: "" },
      { kind: "network", address: "0.0.0.0", prefixBits: 0 },
      { kind: "network", address: "::", prefixBits: 0 },
    ],
  )
}

function mailbox(address: string): GeneralName {
  // RFC 9598 has a form for others, which no client tested reads.
  if (!/^[\x21-\x7e]+@[\x21-\x7e]+$/.test(address))
    throw new GatewayError("CERTIFICATE_UNSUPPORTED", "issue: address is not ASCII, so it is no rfc822Name")
  return { kind: "mailbox", address }
}

/** OpenSSL takes a common name like "john.doe" for a dNSName, and those are all excluded: see {@link personalConstraints}. */
function personName(name: string, address: string): string {
  const hostLike = name === "" || /^[\w-]*\.[\w.-]*$/.test(name)
  return hostLike ? `${name} <${address}>`.trim().slice(0, MAX_COMMON_NAME_CHARACTERS) : name
}

function nameOf(commonName: string): Uint8Array {
  return sequence(setOf(sequence(COMMON_NAME, utf8String(commonName))))
}

/** Room for " Personal Intermediate" is kept. Cut between characters, never inside one. */
function shortened(name: string): string {
  const characters = [...name]
  return characters.length <= MAX_NAME_CHARACTERS ? name : characters.slice(0, MAX_NAME_CHARACTERS).join("")
}

function invalid(what: string): GatewayError {
  return new GatewayError("CERTIFICATE_INVALID", `issue: ${what}`)
}

/** X.520 ub-common-name. */
const MAX_COMMON_NAME_CHARACTERS = 64
const MAX_NAME_CHARACTERS = MAX_COMMON_NAME_CHARACTERS - " Personal Intermediate".length
const PURPOSES = {
  encrypt: ["keyAgreement"],
  sign: ["digitalSignature"],
  both: ["digitalSignature", "keyAgreement"],
} as const
const COMMON_NAME = oid("2.5.4.3")
/** ecdsa-with-SHA256, without parameters (RFC 5758 §3.2). */
const ECDSA_WITH_SHA256 = sequence(oid("1.2.840.10045.4.3.2"))
