import { GatewayError } from "../../../errors.ts"
import { type EnvelopeFields, MAX_FIELDS_OCTETS, readFields } from "../fields.ts"
import { corrupt, type Extent, MAX_HEAD_OCTETS, readFrameEnd, readHead } from "./frame.ts"

/** Octets that can be read anywhere: a file. */
export interface Octets {
  readonly sizeOctets: number
  /** Exactly so many octets; never asked for what lies beyond the size. */
  read(offset: number, octets: number): Promise<Uint8Array>
}

/** Octets that are at hand. */
export function octetsAtHand(octets: Uint8Array): Octets {
  return {
    sizeOctets: octets.length,
    read: async (offset, count) => octets.subarray(offset, offset + count),
  }
}

/** One frame: an envelope whose payload stays where it is. */
export interface Frame {
  /** Of its first octet, and behind its last. */
  readonly position: number
  readonly end: number
  readonly header: EnvelopeFields
  /** Where the payload stands. */
  readonly payload: Extent
  readonly trailer: EnvelopeFields | null
}

/**
 * The frame that begins at `position`.
 * @returns null when the octets end before the frame does: it was being written, or is at the end
 * @throws GatewayError SEQUENCE_CORRUPT, DARE_TOO_LARGE, and what a header is refused for
 */
export async function frameAt(octets: Octets, position: number): Promise<Frame | null> {
  const extent = await frameExtent(octets, position)
  return extent && (await frameIn(octets, position, extent))
}

/**
 * The frame that ends at `end`: reading backwards, the last one first.
 * @returns null when nothing is before
 * @throws GatewayError as {@link frameAt}
 */
export async function frameBefore(octets: Octets, end: number): Promise<Frame | null> {
  if (end === 0) return null
  const position = await frameStart(octets, end)
  if (position === null) throw corrupt("frame begins before the sequence", end)
  const frame = await frameAt(octets, position)
  if (frame?.end !== end) throw corrupt("frame has two ends", end)
  return frame
}

/**
 * Where the frame that ends at `end` begins, going by its end alone.
 * @returns null when that would be before the first octet
 * @throws GatewayError SEQUENCE_CORRUPT when no frame ends there
 */
export async function frameStart(octets: Octets, end: number): Promise<number | null> {
  const from = Math.max(0, end - MAX_HEAD_OCTETS)
  const head = readFrameEnd(await octets.read(from, end - from))
  const position = head ? end - 2 * head.headOctets - head.contentOctets : -1
  return position < 0 ? null : position
}

/** A payload in pieces. */
export async function* payloadOf(octets: Octets, { payload }: Frame): AsyncGenerator<Uint8Array> {
  for (let at = payload.start; at < payload.end; at += PIECE_OCTETS)
    yield await octets.read(at, Math.min(PIECE_OCTETS, payload.end - at))
}

/** Where the records of a frame stand; null when the octets end before. */
async function frameExtent(octets: Octets, position: number): Promise<Extent | null> {
  const head = await headAt(octets, position, octets.sizeOctets)
  if (head === null) return null
  if (head.kind !== "frame") throw corrupt("record is outside a frame", position)
  const start = position + head.headOctets
  const end = start + head.contentOctets
  return end + head.headOctets > octets.sizeOctets ? null : { start, end }
}

async function frameIn(octets: Octets, position: number, { start, end }: Extent): Promise<Frame> {
  const headOctets = start - position
  const [begin, last] = await Promise.all([octets.read(position, headOctets), octets.read(end, headOctets)])
  if (Buffer.compare(begin, last.toReversed()) !== 0) throw corrupt("frame ends otherwise than it begins", position)
  const header = await recordAt(octets, start, end)
  const payload = await recordAt(octets, header.end, end)
  const trailer = payload.end < end ? await recordAt(octets, payload.end, end) : null
  if ((trailer ?? payload).end !== end) throw corrupt("frame has more than three records", position)
  return {
    position,
    end: end + headOctets,
    header: await fieldsIn(octets, header),
    payload,
    // The reference code writes an empty one now and then.
    trailer: trailer && trailer.end > trailer.start ? await fieldsIn(octets, trailer) : null,
  }
}

async function recordAt(octets: Octets, position: number, limit: number): Promise<Extent> {
  const head = await headAt(octets, position, limit)
  if (head?.kind !== "record") throw corrupt("record is missing", position)
  const start = position + head.headOctets
  const end = start + head.contentOctets
  if (end > limit) throw corrupt("record is longer than its frame", position)
  return { start, end }
}

async function headAt(octets: Octets, position: number, limit: number) {
  const begin = await octets.read(position, Math.min(MAX_HEAD_OCTETS, limit - position))
  try {
    return readHead(begin)
  } catch (cause) {
    throw corrupt("octet is no frame or record", position, cause)
  }
}

async function fieldsIn(octets: Octets, { start, end }: Extent): Promise<EnvelopeFields> {
  if (end - start > MAX_FIELDS_OCTETS)
    throw new GatewayError("DARE_TOO_LARGE", `sequence: header or trailer over ${MAX_FIELDS_OCTETS} octets`)
  try {
    return readFields(await octets.read(start, end - start))
  } catch (cause) {
    throw corrupt("header or trailer cannot be read", start, cause)
  }
}

const PIECE_OCTETS = 65_536
