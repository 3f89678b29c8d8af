/** PURE. Parts that relays would change, in a transfer encoding that they leave alone. */
import { Base64LineEncoder, base64LinesSize } from "../mime/base64-lines.ts"
import { isIdentity } from "../mime/classify-header.ts"
import { ascii } from "../mime/compose.ts"
import { parseFields } from "../mime/header.ts"
import { type Entity, StructureParser } from "../mime/structure.ts"
import { TransferSafety } from "../mime/transfer-safe.ts"
import type { Prepared } from "./prepared.ts"

/** Octets of the header sections of all parts together; real ones have a few hundred each. */
export const MAX_PART_HEADERS_OCTETS = 262_144

/**
 * The entity with every part that is not safe in transfer ({@link TransferSafety}) in base64 (RFC 3156 §5, RFC 2045 §6.8): what a reader decodes is what was written, blanks of
 * format=flowed and `From ` included. Everything else stays octet for octet. Not touched are other messages within it, parts that somebody has signed or encrypted, and what is
 * encoded already.
 * @returns null when no part is to be encoded, or one cannot be; what stands between the parts may be unsafe still
 */
export async function transferEncoded(entity: Prepared): Promise<Prepared | null> {
  const parser = new StructureParser()
  for await (const octets of entity.content()) parser.push(octets)
  const leaves = await unsafeLeaves(entity, leavesIn(parser.end()))
  return leaves === null || leaves.length === 0 ? null : encoded(entity, leaves)
}

/** A part that is to be encoded. */
interface Leaf extends Place {
  /** Its header section with the encoding, and the empty line. */
  readonly header: Uint8Array
}

type Place = Pick<Entity, "headerStart" | "bodyStart" | "bodyEnd">

/** Depth is bounded by MAX_MIME_DEPTH. */
function leavesIn(entity: Entity): readonly Place[] {
  const { header, content } = entity
  if (!isIdentity(header.encoding)) return []
  if (content.kind === "multipart") return SEALED.has(header.subtype) ? [] : content.parts.flatMap(leavesIn)
  // RFC 2046 §5.2.1: a message is in no encoding; nor is a multipart that could not be taken apart.
  const isPart = content.kind === "leaf" && header.type !== "message" && header.type !== "multipart"
  return isPart ? [entity] : []
}

async function unsafeLeaves(entity: Prepared, places: readonly Place[]): Promise<readonly Leaf[] | null> {
  const read = places.map((place) => ({ ...place, head: [] as Uint8Array[], safety: new TransferSafety() }))
  let headersOctets = 0
  for await (const { leaf, isBody, octets } of pieces(entity, read)) {
    if (leaf === null) continue
    if (isBody) leaf.safety.push(octets)
    else {
      headersOctets += octets.length
      if (headersOctets > MAX_PART_HEADERS_OCTETS) return null
      leaf.head.push(octets)
    }
  }
  const leaves = read
    .filter(({ bodyStart, bodyEnd, safety }) => bodyEnd > bodyStart && !safety.end())
    .map(({ head, ...place }) => ({ ...place, header: encodingHeader(Buffer.concat(head)) }))
  return leaves.every((leaf): leaf is typeof leaf & Leaf => leaf.header !== null) ? leaves : null
}

/** @returns null when its readers may differ on how it is encoded */
function encodingHeader(header: Uint8Array): Uint8Array | null {
  const fields = parseFields(header)
  const [stated, ...more] = fields.filter(({ name }) => name === "content-transfer-encoding")
  if (more.length > 0) return null
  if (stated === undefined) return Buffer.concat([BASE64, header])
  const after = fields.reduce((sum, { octets }) => sum + octets.length, 0)
  return Buffer.concat([...fields.map((field) => (field === stated ? BASE64 : field.octets)), header.subarray(after)])
}

function encoded(entity: Prepared, leaves: readonly Leaf[]): Prepared {
  const sizes = leaves.map(
    ({ header, headerStart, bodyStart, bodyEnd }) =>
      header.length + base64LinesSize(bodyEnd - bodyStart) - (bodyEnd - headerStart),
  )
  return {
    sizeOctets: sizes.reduce((sum, more) => sum + more, entity.sizeOctets),
    async *content() {
      let within: Leaf | null = null
      const encoder = new Base64LineEncoder()
      for await (const { leaf, isBody, octets } of pieces(entity, leaves)) {
        if (within !== leaf) {
          if (within !== null) yield encoder.end()
          if (leaf !== null) yield leaf.header
          within = leaf
        }
        if (leaf === null) yield octets
        else if (isBody) yield encoder.push(octets)
      }
      if (within !== null) yield encoder.end()
    },
  }
}

/** The octets of an entity in pieces, each within one of the leaves (header section or body) or between them. */
async function* pieces<T extends Place>(
  entity: Prepared,
  leaves: readonly T[],
): AsyncGenerator<{ readonly leaf: T | null; readonly isBody: boolean; readonly octets: Uint8Array }> {
  const cuts = leaves.flatMap(({ headerStart, bodyStart, bodyEnd }) => [headerStart, bodyStart, bodyEnd])
  let [at, passed] = [0, 0]
  for await (const octets of entity.content()) {
    for (let rest = octets; rest.length > 0; ) {
      while ((cuts[passed] ?? Number.POSITIVE_INFINITY) <= at) passed += 1
      const piece = rest.subarray(0, (cuts[passed] ?? Number.POSITIVE_INFINITY) - at)
      const leaf = passed % 3 === 0 ? null : (leaves[Math.floor(passed / 3)] ?? null)
      yield { leaf, isBody: passed % 3 === 2, octets: piece }
      at += piece.length
      rest = rest.subarray(piece.length)
    }
  }
}

/** What stands in these is somebody's, octet for octet (RFC 1847). */
const SEALED: ReadonlySet<string> = new Set(["signed", "encrypted"])
const BASE64 = ascii("Content-Transfer-Encoding: base64\r\n")
