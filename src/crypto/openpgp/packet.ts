import { GatewayError } from "../../errors.ts"

/** Packet type IDs (RFC 9580 §5) that Postern reads or writes. */
export const PACKET = {
  pkesk: 1,
  signature: 2,
  secretKey: 5,
  publicKey: 6,
  secretSubkey: 7,
  literal: 11,
  userId: 13,
  publicSubkey: 14,
  seipd: 18,
  mdc: 19,
} as const

/** A packet with its body in one piece, whatever its framing was. */
export interface Packet {
  /** Packet type ID, 0 to 63. */
  readonly tag: number
  readonly body: Uint8Array
}

/** Framing of a packet (RFC 9580 §4.2). */
export interface PacketHeader {
  readonly tag: number
  /** Octets of the header itself. */
  readonly headerOctets: number
  readonly length: BodyLength
}

/** How long the body is: known; to the end of the input (legacy format only); or known for its first part only. */
type BodyLength =
  | { readonly kind: "definite"; readonly octets: number }
  | { readonly kind: "indeterminate" }
  | { readonly kind: "partial"; readonly octets: number }

/** A certificate with a few user ids and subkeys has about 15; hostile input must not cost one object an octet. */
export const MAX_PACKETS = 10_000

/**
 * Every packet of `octets`, in OpenPGP or legacy format, partial bodies joined.
 * @throws GatewayError OPENPGP_MALFORMED when the framing does not fill `octets` exactly, or has over {@link MAX_PACKETS} packets
 */
export function readPackets(octets: Uint8Array): Packet[] {
  const packets: Packet[] = []
  for (let at = 0; at < octets.length; ) {
    if (packets.length === MAX_PACKETS) throw malformed("too many packets")
    const header = readPacketHeader(octets, at)
    if (header === null) throw malformed("header is cut off")
    const { body, end } = readBody(octets, at + header.headerOctets, header.length)
    packets.push({ tag: header.tag, body })
    at = end
  }
  return packets
}

/**
 * The packet header that starts at `offset`.
 * @returns null when `octets` end within it
 * @throws GatewayError OPENPGP_MALFORMED when no packet starts there
 */
export function readPacketHeader(octets: Uint8Array, offset = 0): PacketHeader | null {
  const first = octets[offset]
  if (first === undefined) return null
  // RFC 9580 §4.2: bit 7 is always one, bit 6 tells the OpenPGP format from the legacy one.
  if ((first & 0x80) === 0) throw malformed("no packet starts here")
  if ((first & 0x40) === 0) return readLegacyHeader(octets, offset, first)
  const read = readLength(octets, offset + 1)
  return read && { tag: first & 0x3f, headerOctets: 1 + read.lengthOctets, length: read.length }
}

/** A packet in OpenPGP format with its length in the shortest form (RFC 9580 §4.2.1). */
export function writePacket(tag: number, ...body: readonly Uint8Array[]): Uint8Array {
  const octets = body.reduce((sum, part) => sum + part.length, 0)
  return Buffer.concat([packetHeader(tag, octets), ...body])
}

/** The header of a packet in OpenPGP format whose body has `bodyOctets` octets. */
export function packetHeader(tag: number, bodyOctets: number): Uint8Array {
  // RFC 9580 §4.2.1.1 to §4.2.1.3
  if (bodyOctets < 192) return Uint8Array.of(0xc0 | tag, bodyOctets)
  if (bodyOctets < 8384) return Uint8Array.of(0xc0 | tag, ((bodyOctets - 192) >> 8) + 192, (bodyOctets - 192) & 0xff)
  if (bodyOctets > 0xffff_ffff) throw new GatewayError("LENGTH_MISMATCH", "openpgp: packet is too long for its header")
  const header = new Uint8Array(6)
  header.set([0xc0 | tag, 0xff])
  new DataView(header.buffer).setUint32(2, bodyOctets)
  return header
}

/** Length in octets of a whole packet in OpenPGP format whose body has `bodyOctets` octets. */
export function packetSize(bodyOctets: number): number {
  return (bodyOctets < 192 ? 2 : bodyOctets < 8384 ? 3 : 6) + bodyOctets
}

function readBody(octets: Uint8Array, start: number, length: BodyLength): { body: Uint8Array; end: number } {
  if (length.kind === "indeterminate") return { body: octets.subarray(start), end: octets.length }
  if (length.kind === "definite") return { body: slice(octets, start, length.octets), end: start + length.octets }
  const parts = [slice(octets, start, length.octets)]
  let at = start + length.octets
  // RFC 9580 §4.2.1.4: each part says its length; the last one says it definitely.
  for (;;) {
    const next = readLength(octets, at)
    if (next === null || next.length.kind === "indeterminate") throw malformed("partial body is cut off")
    parts.push(slice(octets, at + next.lengthOctets, next.length.octets))
    at += next.lengthOctets + next.length.octets
    if (next.length.kind === "definite") return { body: Buffer.concat(parts), end: at }
  }
}

function readLength(octets: Uint8Array, at: number): { length: BodyLength; lengthOctets: number } | null {
  const first = octets[at]
  if (first === undefined) return null
  if (first < 192) return { length: { kind: "definite", octets: first }, lengthOctets: 1 }
  if (first >= 224 && first < 255) return { length: { kind: "partial", octets: 2 ** (first & 0x1f) }, lengthOctets: 1 }
  const lengthOctets = first === 255 ? 5 : 2
  const rest = readNumber(octets, at + 1, lengthOctets - 1)
  if (rest === null) return null
  return {
    length: { kind: "definite", octets: first === 255 ? rest : ((first - 192) << 8) + rest + 192 },
    lengthOctets,
  }
}

// RFC 9580 §4.2.2
function readLegacyHeader(octets: Uint8Array, offset: number, first: number): PacketHeader | null {
  const tag = (first >> 2) & 0x0f
  if ((first & 3) === 3) return { tag, headerOctets: 1, length: { kind: "indeterminate" } }
  const lengthOctets = 2 ** (first & 3)
  const length = readNumber(octets, offset + 1, lengthOctets)
  return length === null ? null : { tag, headerOctets: 1 + lengthOctets, length: { kind: "definite", octets: length } }
}

function readNumber(octets: Uint8Array, at: number, count: number): number | null {
  if (at + count > octets.length) return null
  return octets.subarray(at, at + count).reduce((number, octet) => number * 256 + octet, 0)
}

function slice(octets: Uint8Array, start: number, count: number): Uint8Array {
  if (start + count > octets.length) throw malformed("body is cut off")
  return octets.subarray(start, start + count)
}

function malformed(what: string): GatewayError {
  return new GatewayError("OPENPGP_MALFORMED", `packet: ${what}`)
}
