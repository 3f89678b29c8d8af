/**
 * PURE. Stand-ins: certificates of the gateway's for people who have none, for mail clients that insist on one. Everything about one follows from a secret
 * of the gateway's, the account that writes and the recipient: nothing is stored, and every process makes the same octets.
 */
import { hkdfSha256, hmacSha256, sha256 } from "../primitives/hash.ts"
import { p256PublicPoint, p256ScalarFromSeed, p256Spki } from "../primitives/p256.ts"
import { signP256Alike } from "../primitives/sign-alike.ts"
import type { Certificate } from "./certificate.ts"
import {
  COMMON_NAME,
  issuerKeyIdentifier,
  keyIdentifier,
  MAX_COMMON_NAME_CHARACTERS,
  mailbox,
  NO_SERVERS,
  nameOf,
  SERIAL_OCTETS,
  signed,
  type Terms,
} from "./certificate-writer.ts"
import { oid, sequence, setOf, utf8String } from "./der.ts"
import {
  authorityKeyIdentifier,
  basicConstraints,
  extendedKeyUsage,
  keyUsage,
  nameConstraints,
  noRevocation,
  smimeCapabilities,
  subjectAltName,
  subjectKeyIdentifier,
} from "./extensions.ts"
import type { OpeningKey } from "./recipient-infos.ts"

/** Whose mail to whom: a stand-in is for this pair, and opens nothing else. */
export interface StandInPair {
  /** Account, and what tells it from an earlier one of the same address. */
  readonly account: string
  /** As `addressKey` writes it. */
  readonly recipient: string
}

/** Octets of an authority's secret, and of what its serial numbers are known by. */
export const STAND_IN_SECRET_OCTETS = 32
/** Clients keep a certificate until it ends, and look for another then: so long one is used after a real one was published. */
export const STAND_IN_PERIOD_MS = 28 * 86_400_000

/** What a message is to the stand-ins of one pair. */
export type FoundStandIn =
  /** It is encrypted to none of ours, or only to those of others among its recipients. */
  | { readonly kind: "none" }
  | { readonly kind: "key"; readonly key: OpeningKey }
  /** It is encrypted to one, and is not opened. `because`: one clause for people. */
  | { readonly kind: "refused"; readonly because: string }

/** The name of an authority: hexadecimal, 16 characters. */
export function standInAuthorityId(secret: Uint8Array): string {
  const key = sha256(p256Spki(p256PublicPoint(authorityScalar(secret))))
  return Buffer.from(key).toString("hex").slice(0, 16)
}

/** Whether a Name is one that authorities of stand-ins have, of this gateway or another. */
export function isStandInAuthority(name: Uint8Array): boolean {
  return Buffer.from(name).includes(MARK)
}

/** A certificate for the authority of a secret, which certifies mailboxes and nothing else, and none in these domains. Throws GatewayError CERTIFICATE_INVALID. */
export function issueStandInAuthority(
  options: Terms & { readonly secret: Uint8Array; readonly name: string; readonly excluded: readonly string[] },
): Uint8Array {
  const scalar = authorityScalar(options.secret)
  const point = p256PublicPoint(scalar)
  const id = standInAuthorityId(options.secret)
  // Issuers are told apart by their names.
  const common = `${cut(options.name, MAX_COMMON_NAME_CHARACTERS - id.length - 1)} ${id}`
  const name = sequence(MARK, setOf(sequence(COMMON_NAME, utf8String(common))))
  // RFC 5280 §4.2.1.10: a host is every mailbox on it, with a period in front every mailbox on hosts below.
  const own = options.excluded.flatMap((domain) => [domain, `.${domain}`])
  return signed(options, { name, scalar }, name, point, [
    basicConstraints({ pathLength: 0 }),
    keyUsage("keyCertSign", "cRLSign"),
    extendedKeyUsage("emailProtection"),
    nameConstraints([], [...own.map((address) => ({ kind: "mailbox", address }) as const), ...NO_SERVERS]),
    subjectKeyIdentifier(keyIdentifier(point)),
    authorityKeyIdentifier(keyIdentifier(point)),
  ])
}

/**
 * The stand-in of a pair that is given out at a time: the same octets all through a {@link STAND_IN_PERIOD_MS period}, good for two.
 * @throws GatewayError CERTIFICATE_UNSUPPORTED for an address that is not ASCII
 */
export function issueStandIn(
  authority: { readonly certificate: Certificate; readonly secret: Uint8Array },
  pair: StandInPair,
  at: Date,
): Uint8Array {
  const { certificate, secret } = authority
  const period = Math.floor(at.getTime() / STAND_IN_PERIOD_MS)
  const begin = period * STAND_IN_PERIOD_MS
  const end = Math.min(begin + 2 * STAND_IN_PERIOD_MS, certificate.notAfter.getTime())
  const terms = {
    serial: standInSerial(standInTagKey(secret), pair, period),
    // Clocks of clients are behind at times; ours agree on the period, or give out one that is good as well.
    notBefore: new Date(begin - CLOCK_MARGIN_MS),
    notAfter: new Date(end),
  }
  const point = p256PublicPoint(standInScalar(secret, pair))
  const signer = { name: certificate.subject, scalar: authorityScalar(secret), sign: signP256Alike }
  return signed(terms, signer, nameOf(standInName(pair.recipient)), point, [
    basicConstraints(null),
    keyUsage("keyAgreement"),
    extendedKeyUsage("emailProtection"),
    subjectAltName([mailbox(pair.recipient)]),
    subjectKeyIdentifier(keyIdentifier(point)),
    authorityKeyIdentifier(issuerKeyIdentifier({ certificate })),
    noRevocation(),
    smimeCapabilities("aes-256-gcm", "aes-256-cbc", "aes-128-cbc"),
  ])
}

/** What clients show the certificate as. */
export function standInName(recipient: string): string {
  return `${cut(recipient, MAX_COMMON_NAME_CHARACTERS - VIA.length)}${VIA}`
}

/** The scalar of a pair's key: of all periods. */
export function standInScalar(secret: Uint8Array, pair: StandInPair): Uint8Array {
  return p256ScalarFromSeed(derived(secret, `key ${written(pair)}`, 48))
}

/** Its subjectKeyIdentifier. */
export function standInKeyIdentifier(secret: Uint8Array, pair: StandInPair): Uint8Array {
  return keyIdentifier(p256PublicPoint(standInScalar(secret, pair)))
}

/** What serial numbers are made and known with. It opens nothing, so that it may stay when the secret is destroyed. */
export function standInTagKey(secret: Uint8Array): Uint8Array {
  return derived(secret, "serial numbers", STAND_IN_SECRET_OCTETS)
}

/**
 * Whose a serial number of an authority is: of this pair, in whatever period; of another pair of the same account; or of somebody else's.
 */
export function standInOwner(tagKey: Uint8Array, serial: Uint8Array, pair: StandInPair): "pair" | "account" | "others" {
  if (serial.length !== SERIAL_OCTETS) return "others"
  const period = ((serial[1] ?? 0) << 8) | (serial[2] ?? 0)
  const own = standInSerial(tagKey, pair, period)
  if (Buffer.compare(own, serial) === 0) return "pair"
  const isAccounts = Buffer.compare(own.subarray(0, PAIR_AT), serial.subarray(0, PAIR_AT)) === 0
  return isAccounts ? "account" : "others"
}

// 1 octet that makes it positive, 2 of the period, 6 that tell the account, 7 that tell the pair.
function standInSerial(tagKey: Uint8Array, pair: StandInPair, period: number): Uint8Array {
  const head = Uint8Array.of(SERIAL_FORM, (period >> 8) & 0xff, period & 0xff)
  const account = tag(tagKey, `account ${JSON.stringify(pair.account)}`)
  const both = tag(tagKey, `pair ${period} ${written(pair)}`)
  return Buffer.concat([head, account.subarray(0, PAIR_AT - head.length), both.subarray(0, SERIAL_OCTETS - PAIR_AT)])
}

function authorityScalar(secret: Uint8Array): Uint8Array {
  return p256ScalarFromSeed(derived(secret, "authority", 48))
}

function derived(secret: Uint8Array, what: string, octets: number): Uint8Array {
  return hkdfSha256(secret, NO_SALT, sha256(Buffer.from(`postern/stand-in/1 ${what}`)), octets)
}

function tag(key: Uint8Array, what: string): Uint8Array {
  return hmacSha256(key).update(Buffer.from(what)).digest()
}

/** Two pairs are never written alike. */
function written({ account, recipient }: StandInPair): string {
  return JSON.stringify([account, recipient])
}

function cut(text: string, characters: number): string {
  return [...text].slice(0, characters).join("")
}

/** organizationalUnitName of every authority. */
const MARK = Buffer.from(setOf(sequence(oid("2.5.4.11"), utf8String("Postern stand-ins"))))
const VIA = " via gateway"
const NO_SALT = new Uint8Array(0)
const CLOCK_MARGIN_MS = 2 * 86_400_000
const SERIAL_FORM = 0x53
const PAIR_AT = 9
