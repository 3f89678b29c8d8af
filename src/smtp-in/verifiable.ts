import { type Field, fieldText, parseFields } from "../mime/header.ts"
import { isAmbiguous } from "./author.ts"

/** What mailauth gets to see of a header section. */
export interface Verifiable {
  readonly octets: Uint8Array
  /** There is a signature to verify. */
  readonly signed: boolean
  /** Why no signature is looked at, or null. */
  readonly unverified: string | null
  /** A From field may name another than mailauth reads in it. */
  readonly ambiguous: boolean
}

/**
 * The header section as far as it is given to mailauth, whose work grows with the square of what a sender may put into it: lines, fields, and
 * names in a signature. Of more signatures than are looked at the topmost are kept, which are the last ones made.
 */
export function verifiable(section: Uint8Array): Verifiable {
  const fields = parseFields(section)
  const all = fields.filter(isAuthor)
  // One that is not read in full has no domain to ask: the last of its authors may be of another.
  const authors = all.some(({ octets }) => octets.length > MAX_AUTHOR_OCTETS) ? [] : all.slice(0, 2)
  const ambiguous = authors.some((field) => isAmbiguous(fieldText(field)))
  const unverified = excessOf(section, fields)
  if (unverified !== null) {
    const octets = Buffer.concat([...authors.flatMap((field) => ended(field.octets)), CRLF])
    return { octets, signed: false, unverified, ambiguous }
  }
  let signatures = 0
  const kept = fields.filter((field) => {
    if (SIGNATURES.includes(field.name) && field.octets.length > MAX_SIGNATURE_OCTETS) return false
    return field.name !== "dkim-signature" || signatures++ < MAX_SIGNATURES
  })
  const signed = signatures > 0 || fields.some((field) => field.name === "arc-message-signature")
  const octets = kept.length === fields.length ? section : Buffer.concat([...kept.map((field) => field.octets), CRLF])
  return { octets, signed, unverified: null, ambiguous }
}

function excessOf(section: Uint8Array, fields: readonly Field[]): string | null {
  if (section.length > MAX_VERIFIED_OCTETS) return "header section is too large to be verified"
  if (fields.length > MAX_FIELDS) return "too many header fields to be verified"
  if (fields.some((field) => isAuthor(field) && field.octets.length > MAX_AUTHOR_OCTETS)) return "From is too long"
  let lines = 0
  for (let at = section.indexOf(LF); at >= 0; at = section.indexOf(LF, at + 1)) lines++
  return lines > MAX_LINES ? "too many header lines to be verified" : null
}

function isAuthor({ name, octets }: Field): boolean {
  return name === "from" || (name === "" && FOLDED_FROM.test(Buffer.from(octets).toString("latin1")))
}

function ended(octets: Uint8Array): Uint8Array[] {
  return octets.at(-1) === LF ? [octets] : [octets, CRLF]
}

const SIGNATURES: readonly string[] = ["dkim-signature", "arc-message-signature", "arc-seal"]
const CRLF = Buffer.from("\r\n")
const LF = 10
/** Real mail carries one to four. Each costs a key from DNS, 0.1 ms, and perhaps a pass over the body (one for each `l=` and method). */
const MAX_SIGNATURES = 8
/** Real ones stay below 2 KB; longer ones have thousands of names in `h=`, each of which is looked for among all fields. */
const MAX_SIGNATURE_OCTETS = 4_096
/** Real header sections stay below 100 KB and 200 fields. */
const MAX_VERIFIED_OCTETS = 262_144
const MAX_FIELDS = 1_000
const MAX_LINES = 4_000
/** Some 300 authors. */
const MAX_AUTHOR_OCTETS = 16_384
/** A line end before its colon: mailauth reads that as From, as some mail programs do. */
const FOLDED_FROM = /^from[ \t\r\n]*:/i
