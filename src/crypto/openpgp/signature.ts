import { GatewayError } from "../../errors.ts"
import { PACKET, type Packet } from "./packet.ts"

/** Signature types (RFC 9580 §5.2.1) found in certificates. */
export const SIGNATURE = {
  subkeyBinding: 0x18,
  primaryKeyBinding: 0x19,
  directKey: 0x1f,
  keyRevocation: 0x20,
  subkeyRevocation: 0x28,
  certificationRevocation: 0x30,
} as const

/** Generic, persona, casual and positive certification (RFC 9580 §5.2.1.4 to §5.2.1.7). */
export const CERTIFICATIONS: readonly number[] = [0x10, 0x11, 0x12, 0x13]

/** What a signature says. That it is right has to be checked elsewhere. */
export interface Signature {
  readonly version: 4 | 6
  readonly type: number
  readonly createdAt: Date
  /** Key flags (RFC 9580 §5.2.3.29), 0 when there are none. */
  readonly keyFlags: number
  /** Seconds from the key's creation; null: it does not expire. */
  readonly keyExpirationSeconds: number | null
  /** Seconds from its own creation; null: it does not expire. */
  readonly expirationSeconds: number | null
  /** Key id of the issuer; null when none is named. */
  readonly issuer: Uint8Array | null
  readonly isPrimaryUserId: boolean
  /** First octet of the features (RFC 9580 §5.2.3.32), 0 when there are none. */
  readonly features: number
  /** Code of the reason for revocation (RFC 9580 §5.2.3.31); null when none is given. */
  readonly revocationReason: number | null
  /** It binds a subkey with which a gateway signs for the account: it has our notation. */
  readonly isOfGateway: boolean
  /** It has a critical subpacket or notation that is not known here, and so does not count (RFC 9580 §5.2.3.7). */
  readonly hasUnknownCritical: boolean
  readonly keyAlgorithm: number
  readonly hashAlgorithm: number
  /** The packet's body up to the end of the hashed subpackets. */
  readonly hashed: Uint8Array
  /** Version 6; empty in version 4. */
  readonly salt: Uint8Array
  /** Algorithm-specific fields. */
  readonly material: Uint8Array
}

/** Beginning of the name of our notation; behind it stands the account's domain, whose name it is (RFC 9580 §5.2.3.24). */
export const GATEWAY_NOTATION = "gateway@"
/** Key flags: encrypts communications or storage. */
export const ENCRYPTS = 0x0c

/**
 * Reads a signature packet of version 4 or 6.
 * @returns null for other packets and versions
 * @throws GatewayError OPENPGP_MALFORMED
 */
export function readSignature({ tag, body }: Packet): Signature | null {
  const version = body[0]
  if (tag !== PACKET.signature || (version !== 4 && version !== 6)) return null
  const view = new DataView(body.buffer, body.byteOffset, body.length)
  const countOctets = version === 4 ? 2 : 4
  if (body.length < 4 + countOctets) throw malformed()
  const hashedOctets = version === 4 ? view.getUint16(4) : view.getUint32(4)
  const start = 4 + countOctets
  const unhashedAt = start + hashedOctets
  if (unhashedAt + countOctets > body.length) throw malformed()
  const unhashedOctets = version === 4 ? view.getUint16(unhashedAt) : view.getUint32(unhashedAt)
  const area = readSubpackets(body.subarray(start, unhashedAt))
  const { found, hasUnknownCritical } = area
  const unhashedEnd = unhashedAt + countOctets + unhashedOctets
  const unhashed = readSubpackets(body.subarray(unhashedAt + countOctets, unhashedEnd)).found
  const salted = version === 6 ? (body[unhashedEnd + 2] ?? 0) + 1 : 0
  return {
    version,
    type: body[1] ?? 0,
    createdAt: new Date(seconds(found.get(SUBPACKET.created)) * 1000),
    keyFlags: found.get(SUBPACKET.keyFlags)?.[0] ?? 0,
    // RFC 9580 §5.2.3.13, §5.2.3.18: zero is never.
    keyExpirationSeconds: seconds(found.get(SUBPACKET.keyExpiration)) || null,
    expirationSeconds: seconds(found.get(SUBPACKET.expiration)) || null,
    issuer: issuerOf(found) ?? issuerOf(unhashed),
    isPrimaryUserId: (found.get(SUBPACKET.primaryUserId)?.[0] ?? 0) !== 0,
    features: found.get(SUBPACKET.features)?.[0] ?? 0,
    revocationReason: found.get(SUBPACKET.revocationReason)?.[0] ?? null,
    isOfGateway: notationName(found.get(SUBPACKET.notation)).startsWith(GATEWAY_NOTATION),
    hasUnknownCritical,
    keyAlgorithm: body[2] ?? 0,
    hashAlgorithm: body[3] ?? 0,
    hashed: body.subarray(0, unhashedAt),
    // Behind the subpackets: two octets of the digest, in version 6 the salt's length and the salt.
    salt: body.subarray(unhashedEnd + 3, unhashedEnd + 2 + salted),
    material: body.subarray(unhashedEnd + 2 + salted),
  }
}

interface Subpackets {
  /** By type; of two of a type the later one counts (RFC 9580 §5.2.3.9). */
  readonly found: ReadonlyMap<number, Uint8Array>
  readonly hasUnknownCritical: boolean
}

// RFC 9580 §5.2.3.7
function readSubpackets(area: Uint8Array): Subpackets {
  const found = new Map<number, Uint8Array>()
  let hasUnknownCritical = false
  for (let at = 0; at < area.length; ) {
    const first = area[at] ?? 0
    const lengthOctets = first < 192 ? 1 : first < 255 ? 2 : 5
    if (at + lengthOctets >= area.length) throw malformed()
    const rest = area.subarray(at + 1, at + lengthOctets).reduce((number, octet) => number * 256 + octet, 0)
    const length = first < 192 ? first : first < 255 ? ((first - 192) << 8) + rest + 192 : rest
    const start = at + lengthOctets
    if (length === 0 || start + length > area.length) throw malformed()
    const octet = area[start] ?? 0
    const type = octet & 0x7f
    found.set(type, area.subarray(start + 1, start + length))
    // No notation is known here: a critical one is unknown.
    if (octet >= 0x80 && !KNOWN.includes(type)) hasUnknownCritical = true
    at = start + length
  }
  return { found, hasUnknownCritical }
}

function issuerOf(subpackets: ReadonlyMap<number, Uint8Array>): Uint8Array | null {
  const fingerprint = subpackets.get(SUBPACKET.issuerFingerprint)
  if (fingerprint?.[0] === 4 && fingerprint.length === 21) return fingerprint.subarray(13)
  if (fingerprint?.[0] === 6 && fingerprint.length === 33) return fingerprint.subarray(1, 9)
  return subpackets.get(SUBPACKET.issuer) ?? null
}

// RFC 9580 §5.2.3.24: flags, lengths of name and value, both.
function notationName(octets: Uint8Array = new Uint8Array(0)): string {
  const end = 8 + ((octets[4] ?? 0) << 8) + (octets[5] ?? 0)
  return Buffer.from(octets.subarray(8, end)).toString("latin1")
}

/** RFC 9580 §3.5: four octets; a longer number would be no date at all, which is neither past nor future. */
function seconds(octets: Uint8Array | undefined): number {
  if (octets === undefined) return 0
  if (octets.length !== 4) throw malformed("a time is not of four octets")
  return octets.reduce((number, octet) => number * 256 + octet, 0)
}

function malformed(what = "packet is cut off"): GatewayError {
  return new GatewayError("OPENPGP_MALFORMED", `signature: ${what}`)
}

/** Signature subpacket type IDs (RFC 9580 §5.2.3.7). */
const SUBPACKET = {
  created: 2,
  expiration: 3,
  keyExpiration: 9,
  issuer: 16,
  notation: 20,
  primaryUserId: 25,
  keyFlags: 27,
  revocationReason: 29,
  features: 30,
  issuerFingerprint: 33,
} as const
/**
 * Those that may be critical: what is read here, and what does not change what a self-signature says (exportable, trust, regular expression, revocable,
 * preferences, key server, policy, signer's user id, target, embedded signature, intended recipient).
 */
const KNOWN: readonly number[] = [
  ...Object.values(SUBPACKET).filter((type) => type !== SUBPACKET.notation),
  ...[4, 5, 6, 7, 11, 12, 21, 22, 23, 24, 26, 28, 31, 32, 34, 35, 39],
]
