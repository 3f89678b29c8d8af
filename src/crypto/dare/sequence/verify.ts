import { digestOf, equalConstantTime } from "../../primitives/hash.ts"
import type { EnvelopeFields } from "../fields.ts"
import { corrupt } from "./frame.ts"
import {
  type Link,
  type Links,
  linkOf,
  linksAfter,
  noLinks,
  SEQUENCE_TYPES,
  type SequenceType,
  treePredecessor,
  unlinkedApexes,
  unlinkedChain,
} from "./linkage.ts"
import { type Frame, frameAt, frameStart, type Octets, payloadOf } from "./read.ts"

/** What a frame proves of itself and of those before it. */
export interface VerifiedFrame {
  readonly frame: Frame
  readonly index: number
  /** SHA-512 of the payload, computed. */
  readonly payloadDigest: Uint8Array
  /**
   * "linked": chain or apex digest binds all frames before. "unlinked": it is stated in the form of published files, which binds none.
   * "none": the type of the sequence has no such digest.
   */
  readonly link: "linked" | "unlinked" | "none"
}

/** A sequence that has been read through, and what the next frame needs. */
export interface Sequence {
  readonly type: SequenceType
  /** Of each frame, by its index. */
  readonly positions: readonly number[]
  /** Behind the last whole frame; the next one is written there. */
  readonly end: number
  /** Octets of a frame that was not written to its end: they are to be cut off. */
  readonly truncatedOctets: number
  readonly links: Links
}

/**
 * Reads a sequence from its beginning, each payload once, and verifies what its frames state: index, positions, digests. Given out frame by
 * frame; returned is what appending needs. A last frame that was not written to its end is left out and counted.
 * @throws GatewayError SEQUENCE_CORRUPT, naming the place
 */
export async function* verifySequence(octets: Octets): AsyncGenerator<VerifiedFrame, Sequence> {
  const positions: number[] = []
  let links = noLinks()
  let type: SequenceType | null = null
  let end = 0
  for (;;) {
    const frame = await wholeFrameAt(octets, end)
    if (frame === null) break
    type ??= typeOf(frame)
    const payloadDigest = await digestOfPayload(octets, frame)
    const link = linkOf(links, payloadDigest)
    checkPlace(frame, type, links.index, positions)
    yield {
      frame,
      index: links.index,
      payloadDigest,
      link: checkDigests(frame, type, links.index, payloadDigest, link),
    }
    links = linksAfter(links, link, frame.position)
    positions.push(frame.position)
    end = frame.end
  }
  if (type === null) throw corrupt("first frame is missing", 0)
  return { type, positions, end, truncatedOctets: octets.sizeOctets - end, links }
}

/** Reads a sequence through for its index. @throws GatewayError SEQUENCE_CORRUPT */
export async function openSequence(octets: Octets): Promise<Sequence> {
  const frames = verifySequence(octets)
  for (;;) {
    const next = await frames.next()
    if (next.done) return next.value
  }
}

/** The frame at `position`, or null when it was not written to its end. One whose length alone is wrong looks like that as well. */
async function wholeFrameAt(octets: Octets, position: number): Promise<Frame | null> {
  if (position === octets.sizeOctets) return null
  const frame = await frameAt(octets, position)
  if (frame === null && (await endsAsFrame(octets, position))) throw corrupt("length of the frame is wrong", position)
  return frame
}

/** Whether the octets end as this frame does, or as another behind it. */
async function endsAsFrame(octets: Octets, position: number): Promise<boolean> {
  try {
    const last = await frameStart(octets, octets.sizeOctets)
    if (last === position) return true
    return last !== null && last > position && (await frameAt(octets, last)) !== null
  } catch {
    // What cannot be read backwards was not written to its end.
    return false
  }
}

function typeOf({ header, position }: Frame): SequenceType {
  const { type, dataEncoding } = header.sequence ?? {}
  if (!isSequenceType(type)) throw corrupt("type of the sequence is unknown", position)
  if (dataEncoding && dataEncoding !== "JSON") throw corrupt("headers are not JSON", position)
  return type
}

function isSequenceType(type: string | null | undefined): type is SequenceType {
  return typeof type === "string" && SEQUENCE_TYPES.includes(type)
}

async function digestOfPayload(octets: Octets, frame: Frame): Promise<Uint8Array> {
  const digest = digestOf("sha512")
  for await (const piece of payloadOf(octets, frame)) digest.update(piece)
  return digest.digest()
}

function checkPlace(
  { header, position }: Frame,
  type: SequenceType,
  index: number,
  positions: readonly number[],
): void {
  if (header.sequence?.index !== index) throw corrupt(`frame is not number ${index}`, position)
  if (type !== "Tree" && type !== "Merkle") return
  const predecessor = treePredecessor(index)
  const stated = header.sequence.treePosition
  if (predecessor !== null && stated !== positions[predecessor])
    throw corrupt("frame does not refer to the one before it in the tree", position)
}

function checkDigests(
  frame: Frame,
  type: SequenceType,
  index: number,
  payloadDigest: Uint8Array,
  link: Link,
): VerifiedFrame["link"] {
  const { position } = frame
  const digest = statedIn(frame, "payloadDigest")
  if (digest === null && type === "Digest") throw corrupt("digest is missing", position)
  if (digest && !equalConstantTime(digest, payloadDigest)) throw corrupt("payload has another digest", position)
  if (type !== "Chain" && type !== "Merkle") return "none"
  const found = statedIn(frame, type === "Chain" ? "chainDigest" : "apexDigest")
  if (found === null) throw corrupt("digest of the frames before is missing", position)
  if (equalConstantTime(found, type === "Chain" ? link.chain : link.apex)) return "linked"
  const published = type === "Chain" ? [unlinkedChain(payloadDigest)] : unlinkedApexes(index, payloadDigest)
  if (published.some((own) => equalConstantTime(found, own))) return "unlinked"
  throw corrupt("frames before this one are others", position)
}

function statedIn({ header, trailer }: Frame, name: keyof EnvelopeFields & `${string}Digest`): Uint8Array | null {
  return header[name] ?? trailer?.[name] ?? null
}
