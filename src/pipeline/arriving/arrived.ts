import { GatewayError } from "../../errors.ts"
import { type Address, addressKey } from "../../message/address.ts"
import { transferDecoder } from "../../mime/classify-decode.ts"
import { type Field, MAX_HEADER_OCTETS, parseFields } from "../../mime/header.ts"
import { type Entity, StructureParser } from "../../mime/structure.ts"
import type { SpoolEntry } from "../../store/spool.ts"
import { authorOf } from "../author.ts"
import { behind, type Prepared } from "../prepared.ts"
import { splitHeader } from "../protect.ts"

/** A message that has arrived, taken apart as far as what it says of keys and signatures needs. */
export interface Arrived {
  readonly message: Prepared
  /** Of its header section. */
  readonly fields: readonly Field[]
  readonly root: Entity
  /** null: there is none, or more than one, or readers may differ on it. */
  readonly author: Address | null
}

/** @throws GatewayError HEADER_TOO_LARGE */
export async function readArrived(message: Prepared): Promise<Arrived> {
  const { header, body } = await splitHeader(message, MAX_HEADER_OCTETS)
  const fields = parseFields(header)
  return { message, fields, root: await structureOf(header, body), author: authorOf(fields) }
}

/** The body is read only where it may have parts: anything else holds no signature that its header does not speak of. */
async function structureOf(header: Uint8Array, body: Prepared): Promise<Entity> {
  const parser = new StructureParser()
  parser.push(header)
  if (parser.isLeaf) return { ...parser.end(), bodyEnd: header.length + body.sizeOctets }
  for await (const octets of body.content()) parser.push(octets)
  return parser.end()
}

/** null: the message did not pass DMARC for the one author that is shown. */
export function authenticAuthor(
  { author }: Pick<Arrived, "author">,
  { authentication }: Pick<SpoolEntry, "authentication">,
): Address | null {
  const isAuthentic = author !== null && authentication?.author === author.domain && !authentication.quarantine
  return isAuthentic ? author : null
}

export function isAuthor(author: Address, other: Address): boolean {
  return addressKey(author) === addressKey(other)
}

/**
 * Octets of the message from one offset to another.
 * @returns null when there are over `limitOctets` of them
 */
export async function rangeOf(
  message: Prepared,
  [from, to]: readonly [number, number],
  limitOctets: number,
): Promise<Uint8Array | null> {
  if (to - from > limitOctets) return null
  const parts: Uint8Array[] = []
  for await (const part of piecesOf(message, from, to)) parts.push(part)
  return Buffer.concat(parts)
}

/** The same in pieces, whatever its size. */
export async function* piecesOf(message: Prepared, from: number, to: number): AsyncGenerator<Uint8Array> {
  let left = to - from
  for await (const part of behind(message, from).content()) {
    if (left <= 0) return
    yield part.subarray(0, left)
    left -= part.length
  }
}

/**
 * The body of an entity without its transfer encoding.
 * @returns null when it is over `limitOctets`, or not what its encoding says
 */
export async function bodyOf(message: Prepared, entity: Entity, limitOctets: number): Promise<Uint8Array | null> {
  const octets = await rangeOf(message, [entity.bodyStart, entity.bodyEnd], limitOctets)
  if (octets === null) return null
  try {
    const decoder = transferDecoder(entity.header.encoding)
    return Buffer.concat([decoder.push(octets), decoder.end()])
  } catch (error) {
    if (error instanceof GatewayError) return null
    throw error
  }
}
