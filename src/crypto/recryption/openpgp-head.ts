import { GatewayError } from "../../errors.ts"
import type { BlockHead, Exchange, HeadReading } from "./recryptor.ts"

/** As many octets of a message are held back at most; a PKESK takes about 100. */
const MAX_HEAD_OCTETS = 262_144
/** Longest session key packet that is read: post-quantum ones stay below 4 KiB. */
const MAX_PACKET_OCTETS = 16_384

/**
 * Reads an encrypted message (RFC 9580 §10.3) up to the end of its session key packets.
 * @throws GatewayError OPENPGP_MALFORMED when it begins with a session key packet and goes on with no packets
 */
export function readOpenPgpHead(octets: Uint8Array): HeadReading {
  const exchanges: Exchange[] = []
  let at = 0
  for (;;) {
    const packet = packetAt(octets, at)
    if (packet === "more") return { kind: "more", octets: octets.length + 1 }
    if (packet === null || !(packet.tag in VERSIONS)) return headAt(at, packet === null, exchanges)
    const version = octets[packet.start]
    if (version === undefined) return { kind: "more", octets: packet.start + 1 }
    if (!VERSIONS[packet.tag]?.includes(version) || packet.end - packet.start > MAX_PACKET_OCTETS)
      return headAt(at, true, exchanges)
    if (packet.end > MAX_HEAD_OCTETS) throw malformed(`session key packets take over ${MAX_HEAD_OCTETS} octets`)
    if (packet.end > octets.length) return { kind: "more", octets: packet.end }
    if (packet.tag === PKESK && version === 3) exchanges.push(...exchangeOf(octets, packet))
    at = packet.end
  }
}

function headAt(endOctets: number, broken: boolean, exchanges: readonly Exchange[]): HeadReading {
  if (endOctets === 0) return { kind: "none" }
  if (broken) throw malformed(`no packet at octet ${endOctets}`)
  const windows = exchanges.flatMap(({ point }) => point ?? [])
  const head: BlockHead = { format: "openpgp", endOctets, exchanges, windows }
  return { kind: "head", head }
}

interface Packet {
  readonly tag: number
  readonly start: number
  readonly end: number
}

/** @returns null for what is no packet header; for types other than session keys start and end are not read, they need not be definite. */
function packetAt(octets: Uint8Array, at: number): Packet | "more" | null {
  const first = octets[at]
  if (first === undefined) return "more"
  // RFC 9580 §4.2: bit 7 is always one; bit 6 tells the format.
  if (first < 0x80) return null
  const tag = (first & 0x40) !== 0 ? first & 0x3f : (first & 0x3f) >> 2
  if (!(tag in VERSIONS)) return { tag, start: at, end: at }
  const length = (first & 0x40) !== 0 ? newLength(octets, at + 1) : oldLength(octets, at + 1, first & 3)
  if (length === null || length === "more") return length
  return { tag, start: length.start, end: length.start + length.octets }
}

type Length = { readonly start: number; readonly octets: number } | "more" | null

// RFC 9580 §4.2.1; a session key packet has no partial length.
function newLength(octets: Uint8Array, at: number): Length {
  const [a, b, c, d, e] = octets.subarray(at, at + 5)
  if (a === undefined) return "more"
  if (a < 192) return { start: at + 1, octets: a }
  if (a < 224) return b === undefined ? "more" : { start: at + 2, octets: (a - 192) * 256 + b + 192 }
  if (a < 255) return null
  if (b === undefined || c === undefined || d === undefined || e === undefined) return "more"
  return { start: at + 5, octets: b * 16_777_216 + c * 65_536 + d * 256 + e }
}

// RFC 9580 §4.2.2: one, two or four octets, or indeterminate.
function oldLength(octets: Uint8Array, at: number, type: number): Length {
  if (type === 3) return null
  const size = 1 << type
  if (at + size > octets.length) return "more"
  let length = 0
  for (let index = 0; index < size; index++) length = length * 256 + (octets[at + index] ?? 0)
  return { start: at + size, octets: length }
}

/**
 * RFC 9580 §5.1.1 and §11.5: version 3, key id (8), algorithm 18, MPI of the ephemeral point, length and wrapped session key.
 * Curve25519Legacy writes its point as 263 bits: 40 and the 32 octets.
 */
function exchangeOf(octets: Uint8Array, packet: Packet): Exchange[] {
  const keyId = { start: packet.start + 1, end: packet.start + 9 }
  const point = packet.start + 13
  if (packet.end < point || octets[keyId.end] !== ECDH) return []
  const prefixed = octets[keyId.end + 1] === 1 && octets[keyId.end + 2] === 7 && octets[keyId.end + 3] === 0x40
  // One octet of length and, at the least, one wrapped block follow.
  const fits = prefixed && point + 32 < packet.end
  return [{ point: fits ? { start: point, end: point + 32 } : null, identifiers: [keyId] }]
}

function malformed(what: string): GatewayError {
  return new GatewayError("OPENPGP_MALFORMED", `openpgp: ${what}`)
}

const PKESK = 1
const ECDH = 18
/** Versions of the packets that may stand before the encrypted data: PKESK and SKESK (RFC 9580 §5.1, §5.3). */
const VERSIONS: Readonly<Record<number, readonly number[]>> = { 1: [3, 6], 3: [4, 5, 6] }
