import { GatewayError } from "../../errors.ts"
import { PACKET, type Packet } from "./packet.ts"

/** Signature types (RFC 9580 §5.2.1) found in certificates. */
export const SIGNATURE = {
  subkeyBinding: 0x18,
  directKey: 0x1f,
  keyRevocation: 0x20,
  subkeyRevocation: 0x28,
} as const

/** What a signature says. That it is right has to be checked elsewhere. */
export interface Signature {
  readonly type: number
  readonly createdAt: Date
  /** Key flags (RFC 9580 §5.2.3.29), 0 when there are none. */
  readonly keyFlags: number
  /** Seconds from the key's creation; null: it does not expire. */
  readonly keyExpirationSeconds: number | null
  /** Key id of the issuer; null when only the fingerprint is named. */
  readonly issuer: Uint8Array | null
}

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
  const hashed = readSubpackets(body.subarray(start, unhashedAt))
  const unhashed = readSubpackets(body.subarray(unhashedAt + countOctets, unhashedAt + countOctets + unhashedOctets))
  const expiration = hashed.get(SUBPACKET.keyExpiration)
  return {
    type: body[1] ?? 0,
    createdAt: new Date(seconds(hashed.get(SUBPACKET.created)) * 1000),
    keyFlags: hashed.get(SUBPACKET.keyFlags)?.[0] ?? 0,
    // RFC 9580 §5.2.3.13: zero is never.
    keyExpirationSeconds: seconds(expiration) === 0 ? null : seconds(expiration),
    issuer: issuerOf(hashed) ?? issuerOf(unhashed),
  }
}

/** The first subpacket of each type, by type (RFC 9580 §5.2.3.7). */
function readSubpackets(area: Uint8Array): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>()
  for (let at = 0; at < area.length; ) {
    const first = area[at] ?? 0
    const lengthOctets = first < 192 ? 1 : first < 255 ? 2 : 5
    if (at + lengthOctets >= area.length) throw malformed()
    const rest = area.subarray(at + 1, at + lengthOctets).reduce((number, octet) => number * 256 + octet, 0)
    const length = first < 192 ? first : first < 255 ? ((first - 192) << 8) + rest + 192 : rest
    const start = at + lengthOctets
    if (length === 0 || start + length > area.length) throw malformed()
    const type = (area[start] ?? 0) & 0x7f
    if (!found.has(type)) found.set(type, area.subarray(start + 1, start + length))
    at = start + length
  }
  return found
}

function issuerOf(subpackets: Map<number, Uint8Array>): Uint8Array | null {
  const fingerprint = subpackets.get(SUBPACKET.issuerFingerprint)
  if (fingerprint?.[0] === 4 && fingerprint.length === 21) return fingerprint.subarray(13)
  if (fingerprint?.[0] === 6 && fingerprint.length === 33) return fingerprint.subarray(1, 9)
  return subpackets.get(SUBPACKET.issuer) ?? null
}

function seconds(octets: Uint8Array | undefined): number {
  return octets?.reduce((number, octet) => number * 256 + octet, 0) ?? 0
}

function malformed(): GatewayError {
  return new GatewayError("OPENPGP_MALFORMED", "signature: packet is cut off")
}

/** Signature subpacket type IDs (RFC 9580 §5.2.3.7). */
const SUBPACKET = { created: 2, keyExpiration: 9, issuer: 16, keyFlags: 27, issuerFingerprint: 33 } as const
