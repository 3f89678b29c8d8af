import { p256PublicPoint } from "../primitives/p256.ts"
import {
  type Issuer,
  invalid,
  issuerKeyIdentifier,
  keyIdentifier,
  MAX_COMMON_NAME_CHARACTERS,
  mailbox,
  NO_SERVERS,
  namedIssuer,
  nameOf,
  signed,
  type Terms,
} from "./certificate-writer.ts"
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

/** Only this mailbox, and no servers. */
function personalConstraints(address: string): Uint8Array {
  return nameConstraints([mailbox(address)], NO_SERVERS)
}

/** OpenSSL takes a common name like "john.doe" for a dNSName, and those are all excluded: see {@link personalConstraints}. */
function personName(name: string, address: string): string {
  const hostLike = name === "" || /^[\w-]*\.[\w.-]*$/.test(name)
  return hostLike ? `${name} <${address}>`.trim().slice(0, MAX_COMMON_NAME_CHARACTERS) : name
}

/** Room for " Personal Intermediate" is kept. Cut between characters, never inside one. */
function shortened(name: string): string {
  const characters = [...name]
  return characters.length <= MAX_NAME_CHARACTERS ? name : characters.slice(0, MAX_NAME_CHARACTERS).join("")
}

const MAX_NAME_CHARACTERS = MAX_COMMON_NAME_CHARACTERS - " Personal Intermediate".length
const PURPOSES = {
  encrypt: ["keyAgreement"],
  sign: ["digitalSignature"],
  both: ["digitalSignature", "keyAgreement"],
} as const
