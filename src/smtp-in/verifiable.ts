import { type Field, fieldText, parseFields } from "../mime/header.ts"
import { isAmbiguous } from "./author.ts"

/** What mailauth gets to see of a header section. */
export interface Verifiable {
  readonly octets: Uint8Array
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
  const authors = fields.filter(isAuthor)
  const unverified = excessOf(section, fields)
  if (unverified !== null) return { ...withoutSignatures(authors), unverified }
  let signatures = 0
  const kept = fields.filter((field) => {
    if (SIGNATURES.includes(field.name) && field.octets.length > MAX_SIGNATURE_OCTETS) return false
    return field.name !== "dkim-signature" || signatures++ < MAX_SIGNATURES
  })
  const octets = kept.length === fields.length ? section : Buffer.concat([...kept.map((field) => field.octets), CRLF])
  return { octets, unverified: null, ambiguous: authors.some(isUnclear) }
}

/** From alone. One that is not read in full, or that others may not take for one, leaves no author: nobody is asked for a policy then. */
function withoutSignatures(authors: readonly Field[]) {
  const isRead = authors.every(({ name, octets }) => name === "from" && octets.length <= MAX_AUTHOR_OCTETS)
  const read = isRead ? authors.slice(0, 2) : []
  const octets = Buffer.concat([...read.flatMap((field) => ended(field.octets)), CRLF])
  return { octets, ambiguous: read.some(isUnclear) }
}

function excessOf(section: Uint8Array, fields: readonly Field[]): string | null {
  if (section.length > MAX_VERIFIED_OCTETS) return "header section is too large to be verified"
  if (fields.length > MAX_FIELDS) return "too many header fields to be verified"
  if (fields.some((field) => isAuthor(field) && field.octets.length > MAX_AUTHOR_OCTETS)) return "From is too long"
  const odd = fields.filter(({ name }) => name === "")
  if (odd.length > MAX_ODD || odd.some(({ octets }) => octets.length > MAX_SIGNATURE_OCTETS))
    return "too much in the header that is no field"
  let lines = 0
  for (let at = section.indexOf(LF); at >= 0; at = section.indexOf(LF, at + 1)) lines++
  return lines > MAX_LINES ? "too many header lines to be verified" : null
}

/** Of what is no field, mailauth takes for From what has a line end before its colon, as some mail programs do. */
function isAuthor({ name, octets }: Field): boolean {
  return name === "from" || (name === "" && ODD_FROM.test(Buffer.from(octets).toString("latin1")))
}

function isUnclear(field: Field): boolean {
  return isAmbiguous(fieldText(field))
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
/** Lines that are no fields: mailauth makes signatures of some, and adds the others to the field before. Real mail has an mbox line at most. */
const MAX_ODD = 8
const ODD_FROM = /^[ \t\r\n]*from[ \t]*(?:\r?\n|:)/i
