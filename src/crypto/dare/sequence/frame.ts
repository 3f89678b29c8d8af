import { GatewayError } from "../../../errors.ts"

/*
 * Frames of a DARE sequence (draft-hallambaker-jsonbcd-21 §7). Lengths are big-endian, in 1, 2, 4 or 8 octets, and count what follows them.
 *
 *   frame   F4-F7 length { record header, record payload, record trailer (or none) } length and tag once more, backwards
 *   record  F0-F3 length octets
 */

/** Octets of the longest head of a frame or record. */
export const MAX_HEAD_OCTETS = 9

/** Where the content of a frame or record begins and ends; offsets as those of the octets it was read from. */
export interface Extent {
  readonly start: number
  readonly end: number
}

/** What stands before the content of a frame or of a record. */
export interface Head {
  readonly kind: "frame" | "record"
  readonly headOctets: number
  readonly contentOctets: number
}

/**
 * Reads the head that stands at the beginning of `octets`.
 * @returns null when the octets end before it does
 * @throws GatewayError SEQUENCE_CORRUPT when they are no head
 */
export function readHead(octets: Uint8Array): Head | null {
  const [tag] = octets
  if (tag === undefined) return null
  if (tag < 0xf0 || tag > 0xf7) throw corrupt("octet is no frame or record")
  const lengthOctets = LENGTH_OCTETS[tag & 3] ?? 1
  if (octets.length < 1 + lengthOctets) return null
  const contentOctets = bigEndian(octets.subarray(1, 1 + lengthOctets))
  return { kind: tag < 0xf4 ? "record" : "frame", headOctets: 1 + lengthOctets, contentOctets }
}

/**
 * Reads the end of a frame, which is its head backwards: `octets` end with it.
 * @returns null when they begin behind its beginning
 * @throws GatewayError SEQUENCE_CORRUPT when they do not end with one
 */
export function readFrameEnd(octets: Uint8Array): Head | null {
  const head = readHead(octets.subarray(-MAX_HEAD_OCTETS).toReversed())
  if (head?.kind === "record") throw corrupt("octets do not end as a frame")
  return head
}

/** Octets of a whole frame with so many octets of content. */
export function frameOctets(contentOctets: number): number {
  return contentOctets + 2 * headOf("frame", contentOctets).length
}

/** What stands before the content: the shortest head that can say its length. */
export function headOf(kind: Head["kind"], contentOctets: number): Uint8Array {
  const size = LENGTH_OCTETS.findIndex((width) => contentOctets < 2 ** (8 * width))
  const octets = new Uint8Array(1 + (LENGTH_OCTETS[size] ?? 8))
  octets[0] = (kind === "record" ? 0xf0 : 0xf4) + size
  for (let at = octets.length - 1, rest = contentOctets; at > 0; at--, rest = Math.floor(rest / 256))
    octets[at] = rest % 256
  return octets
}

/** What stands behind the content of a frame. */
export function frameEnd(contentOctets: number): Uint8Array {
  return headOf("frame", contentOctets).toReversed()
}

export function corrupt(what: string, at?: number, cause?: unknown): GatewayError {
  const place = at === undefined ? "" : `, at ${at}`
  return new GatewayError("SEQUENCE_CORRUPT", `sequence: ${what}${place}`, { cause })
}

function bigEndian(octets: Uint8Array): number {
  return octets.reduce((sum, octet) => sum * 256 + octet, 0)
}

const LENGTH_OCTETS = [1, 2, 4, 8] as const
