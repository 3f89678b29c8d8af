import { GatewayError } from "../../errors.ts"
import { readPacketHeader } from "../openpgp/packet.ts"
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
  const head: BlockHead = { format: "openpgp", endOctets, wholeOctets: endOctets, exchanges, windows }
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
  const header = readPacketHeader(octets, at)
  if (header === null) return "more"
  if (header.length.kind !== "definite") return null
  const start = at + header.headerOctets
  return { tag, start, end: start + header.length.octets }
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
