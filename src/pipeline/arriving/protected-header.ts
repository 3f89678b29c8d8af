import type { Address } from "../../message/address.ts"
import { type Field, headerEnd, parseFields } from "../../mime/header.ts"
import { type Entity, MAX_INTERPRETED_HEADER_OCTETS } from "../../mime/structure.ts"
import { parameter, parseEntityHeader } from "../../mime/structure-header.ts"
import { authorOf } from "../author.ts"
import type { Prepared } from "../prepared.ts"
import { isAuthor, rangeOf } from "./arrived.ts"

/**
 * Whether programs that show the signed header instead of the outer one (RFC 9788 §4; `forwarded=no` of RFC 8551 §3.1, `protected-headers` of
 * some before) would name another author.
 */
export async function namesAnother(message: Prepared, signed: Entity, author: Address): Promise<boolean> {
  const section = await rangeOf(message, [signed.headerStart, signed.bodyStart], MAX_INTERPRETED_HEADER_OCTETS)
  if (section === null) return true
  const inner = signed.content.kind === "message" ? signed.content.message : null
  if (inner === null || parameter(signed.header, "forwarded").toLowerCase() !== "no")
    return isProtected(signed.header.parameters) && differs(parseFields(section), author)
  const header = await rangeOf(message, [inner.headerStart, inner.bodyStart], MAX_INTERPRETED_HEADER_OCTETS)
  return header === null || differs(parseFields(header), author)
}

/** The same for a signed entity in one piece. */
export function entityNamesAnother(entity: Uint8Array, author: Address): boolean {
  const end = headerEnd(entity) ?? entity.length
  const fields = parseFields(entity.subarray(0, end))
  const header = parseEntityHeader(fields, "text/plain")
  const isWhole = header.type === "message" && parameter(header, "forwarded").toLowerCase() === "no"
  if (!isWhole) return isProtected(header.parameters) && differs(fields, author)
  const inner = entity.subarray(end)
  return differs(parseFields(inner.subarray(0, headerEnd(inner) ?? inner.length)), author)
}

function isProtected(parameters: Entity["header"]["parameters"]): boolean {
  return parameters.some(([name]) => PROTECTED.includes(name.toLowerCase()))
}

/** A header that says nothing of an author names no other. */
function differs(fields: readonly Field[], author: Address): boolean {
  if (!fields.some(({ name }) => name === "from")) return false
  const named = authorOf(fields)
  return named === null || !isAuthor(named, author)
}

const PROTECTED: readonly string[] = ["hp", "protected-headers"]
