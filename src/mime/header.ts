import { GatewayError } from "../errors.ts"

/** One header field as it stands in the message (RFC 5322 §2.2), folding and line end included. */
export interface Field {
  /** Lower case; empty for a line that is no field (no colon, or a blank in the name). */
  readonly name: string
  /** The whole field, continuation lines and final line end included. */
  readonly octets: Uint8Array
}

/** Longest header section that is looked at; real ones stay below 100 KB, and it is held in memory. */
export const MAX_HEADER_OCTETS = 1_048_576

/**
 * Where the header section ends: offset of the first octet of the body, after the empty line, or null when `octets` does not
 * hold that line (yet). A message that starts with an empty line has an empty header section.
 */
export function headerEnd(octets: Uint8Array): number | null {
  if (octets[0] === CR && octets[1] === LF) return 2
  if (octets[0] === LF) return 1
  const buffer = Buffer.from(octets.buffer, octets.byteOffset, octets.length)
  for (let at = buffer.indexOf(LF); at >= 0; at = buffer.indexOf(LF, at + 1)) {
    if (octets[at + 1] === LF) return at + 2
    if (octets[at + 1] === CR && octets[at + 2] === LF) return at + 3
  }
  return null
}

/** Splits a header section (the empty line excluded or included) into its fields, every octet kept. */
export function parseFields(section: Uint8Array): Field[] {
  const fields: Field[] = []
  let start = 0
  for (const end of fieldEnds(section)) {
    const octets = section.subarray(start, end)
    start = end
    if (octets[0] === LF || (octets[0] === CR && octets[1] === LF)) break
    fields.push({ name: fieldName(octets), octets })
  }
  return fields
}

/** The unfolded text of a field after its colon, trimmed; octets above 127 read as UTF-8. */
export function fieldText(field: Field): string {
  const text = new TextDecoder("utf-8").decode(field.octets)
  return text
    .slice(text.indexOf(":") + 1)
    .replace(/\r?\n(?=[ \t])/g, "")
    .trim()
}

/** The text of the first field called `name` (lower case), or null. */
export function firstField(fields: readonly Field[], name: string): string | null {
  const field = fields.find((candidate) => candidate.name === name)
  return field ? fieldText(field) : null
}

/**
 * Collects octets until the header section is complete.
 * @returns the header section with its empty line, and what was read beyond it. A message without an empty line is all header.
 * @throws GatewayError HEADER_TOO_LARGE
 */
export async function readHeader(
  source: AsyncIterator<Uint8Array>,
  limitOctets = MAX_HEADER_OCTETS,
): Promise<{ readonly header: Uint8Array; readonly rest: Uint8Array }> {
  let held = new Uint8Array(0)
  for (;;) {
    const end = headerEnd(held)
    if (end !== null) return { header: held.subarray(0, end), rest: held.subarray(end) }
    if (held.length > limitOctets)
      throw new GatewayError("HEADER_TOO_LARGE", `header: section over ${limitOctets} octets`)
    const next = await source.next()
    if (next.done) return { header: held, rest: new Uint8Array(0) }
    held = Buffer.concat([held, next.value])
  }
}

/** Offsets just behind each field: line ends that no folding white space follows. */
function* fieldEnds(section: Uint8Array): Generator<number> {
  for (let at = section.indexOf(LF); at >= 0; at = section.indexOf(LF, at + 1)) {
    const next = section[at + 1]
    if (next !== SPACE && next !== TAB) yield at + 1
  }
  if (section.length > 0 && section[section.length - 1] !== LF) yield section.length
}

function fieldName(octets: Uint8Array): string {
  const colon = octets.indexOf(COLON)
  if (colon <= 0) return ""
  // RFC 5322 §4.5: obsolete syntax allows blanks before the colon.
  const name = Buffer.from(octets.subarray(0, colon))
    .toString("latin1")
    .replace(/[ \t]+$/, "")
  return /^[\x21-\x39\x3b-\x7e]+$/.test(name) ? name.toLowerCase() : ""
}

const CR = 13
const LF = 10
const SPACE = 32
const TAB = 9
const COLON = 58
