import type { Section } from "../../imap-proxy/wire/section.ts"
import { parseFields } from "../../mime/header.ts"
import type { Entity } from "../../mime/structure.ts"

/** Octets of a message, as offsets. */
export interface Range {
  readonly start: number
  readonly end: number
}

/** Where a section stands in a message (RFC 3501 §6.4.5); of HEADER.FIELDS the whole header section. @returns null: no such part */
export function locate(root: Entity, section: Section): Range | null {
  if (section.part.length === 0) return messageText(root, section)
  let part: Entity | null = root
  for (const [index, number] of section.part.entries()) part = part && child(part, number, index === 0)
  if (part === null) return null
  if (section.text === "") return { start: part.bodyStart, end: part.bodyEnd }
  if (section.text === "MIME") return { start: part.headerStart, end: part.bodyStart }
  return part.content.kind === "message" ? messageText(part.content.message, section) : null
}

/** The fields of a header section that HEADER.FIELDS or HEADER.FIELDS.NOT names, and the empty line. */
export function selectFields(header: Uint8Array, section: Section): Uint8Array {
  const names = new Set(section.fields.map((name) => name.toLowerCase()))
  const not = section.text === "HEADER.FIELDS.NOT"
  const kept = parseFields(header).filter(({ name }) => names.has(name) !== not)
  return Buffer.concat([...kept.map(({ octets }) => octets), EMPTY_LINE])
}

function messageText(message: Entity, { text }: Section): Range | null {
  if (text === "") return { start: message.headerStart, end: message.bodyEnd }
  if (text === "TEXT") return { start: message.bodyStart, end: message.bodyEnd }
  return text === "MIME" ? null : { start: message.headerStart, end: message.bodyStart }
}

/** Part `number` of a multipart, or of the message in a message/rfc822; a message without parts has itself as part 1. */
function child(part: Entity, number: number, isRoot: boolean): Entity | null {
  if (part.content.kind === "multipart") return part.content.parts[number - 1] ?? null
  if (isRoot) return number === 1 ? part : null
  if (part.content.kind === "leaf") return null
  const { message } = part.content
  if (message.content.kind === "multipart") return message.content.parts[number - 1] ?? null
  return number === 1 ? message : null
}

const EMPTY_LINE = Buffer.from("\r\n")
