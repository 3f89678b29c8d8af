import { ascii, outerFields, type SubjectPolicy } from "./compose.ts"
import { type Field, parseFields } from "./header.ts"
import { type EntityHeader, parameter, parseEntityHeader } from "./structure-header.ts"

/**
 * Header confidentiality policy of RFC 9788 §3.2: `hidden` is hcp_baseline (Subject obscured, Comments and Keywords removed), `shown` is
 * hcp_no_confidentiality (nothing hidden, all of it protected). `off`: no header protection; for programs that stumble over it.
 */
export type HeaderPolicy = "hidden" | "shown" | "off"

/** What the protected form of a header section is made of. */
export interface ProtectedHeader {
  /** Fields that stand outside, MIME's own excepted, in order. */
  readonly outside: readonly Uint8Array[]
  /** Header section of the cryptographic payload, with its empty line where there was one. */
  readonly payload: Uint8Array
  /** False where the fields inside could not be marked as RFC 9788 has it, or were not to be. */
  readonly isProtected: boolean
  /** Its author's program has signed it. */
  readonly isSigned: boolean
}

/**
 * Splits the header section of a message that leaves into what stands outside and what its cryptographic payload begins with (RFC 9788 §5.2):
 * all its fields octet for octet, `hp` in Content-Type, and, where it is to be encrypted, HP-Outer for each field outside. Bcc is in neither
 * (RFC 5322 §3.6.3). There are no legacy display elements (§2.1.2): they would be written into the author's text.
 *
 * Nothing is added to what the author's own program signed, and its subject stays outside: inside a signature there is no room for it. A header
 * section that is not well-formed is left as it is inside; `hidden` then hides outside all the same.
 */
export function protectHeader(header: Uint8Array, policy: HeaderPolicy, mode: "cipher" | "clear"): ProtectedHeader {
  const own = withoutFields(header, (name) => DROPPED.has(name))
  if (isSignedByAuthor(own))
    return { outside: outerFields(own, "clear"), payload: own, isProtected: false, isSigned: true }
  const hides = policy === "hidden" && mode === "cipher"
  const outside = hides ? obscured(own) : outerFields(own, "clear")
  const marked = policy === "off" || own.length === 0 ? null : withParameter(own, mode)
  if (marked === null) return { outside, payload: own, isProtected: false, isSigned: false }
  const described = mode === "cipher" ? outside.map(hpOuter) : []
  return { outside, payload: Buffer.concat([...described, marked]), isProtected: true, isSigned: false }
}

/** The header section without Bcc, for what is not protected by us. */
export function withoutBcc(header: Uint8Array): Uint8Array {
  return withoutFields(header, (name) => BCC.has(name))
}

/** Whether a header section is that of a message which whoever wrote it has signed. */
export function isSignedByAuthor(header: Uint8Array): boolean {
  return isSigned(parseEntityHeader(parseFields(header), "text/plain"))
}

/** What is signed already by whoever wrote it: clear (RFC 1847) or opaque (RFC 8551 §3.5.2). */
function isSigned({ type, subtype, parameters }: EntityHeader): boolean {
  if (type === "multipart") return subtype === "signed"
  if (type !== "application" || !/^(?:x-)?pkcs7-mime$/.test(subtype)) return false
  return parameters.some(
    ([name, value]) => name.toLowerCase() === "smime-type" && value.toLowerCase() === "signed-data",
  )
}

// RFC 9788 §3.2.1: hcp_baseline
function obscured(header: Uint8Array): Uint8Array[] {
  const policy: SubjectPolicy = "hidden"
  return outerFields(
    withoutFields(header, (name) => name === "comments" || name === "keywords"),
    policy,
  )
}

/** `HP-Outer: Name: value` (RFC 9788 §2.2.1), on a line of its own where it would grow too long. */
function hpOuter(field: Uint8Array): Uint8Array {
  const lineOctets = field.indexOf(LF) + 1 || field.length
  return Buffer.concat([ascii(lineOctets > FOLD_ABOVE_OCTETS ? "HP-Outer:\r\n " : "HP-Outer: "), field])
}

/**
 * The header section with the marks of protection in its Content-Type, which is made up where there is none.
 * @returns null when the section is not well-formed, says already that it is protected, or would no longer mean the same
 */
function withParameter(header: Uint8Array, mode: "cipher" | "clear"): Uint8Array | null {
  const fields = parseFields(header)
  const types = fields.filter(({ name }) => name === "content-type")
  if (fields.some(({ name }) => name === "") || types.length > 1) return null
  const [type] = types
  // RFC 2045 §5.2, without the charset that nobody stated.
  if (type === undefined) return Buffer.concat([ascii(`Content-Type: text/plain;\r\n ${marks(mode)}\r\n`), header])
  const written = appended(type.octets, mode)
  const before = parseEntityHeader([type], "text/plain")
  const after = parseEntityHeader([{ name: type.name, octets: written }], "text/plain")
  if (
    parameter(before, "hp") !== "" ||
    parameter(before, "protected-headers") !== "" ||
    !isSameBut(before, after, mode)
  )
    return null
  const parts = fields.map((field) => (field === type ? written : field.octets))
  return Buffer.concat([...parts, header.subarray(lengthOf(fields))])
}

function appended(field: Uint8Array, mode: "cipher" | "clear"): Uint8Array {
  const text = Buffer.from(field).toString("latin1")
  const lineEnd = /\r?\n$/.exec(text)?.[0] ?? ""
  const value = text.slice(0, text.length - lineEnd.length)
  const separator = value.trimEnd().endsWith(";") ? "" : ";"
  return ascii(`${value}${separator}\r\n ${marks(mode)}${lineEnd}`)
}

/** RFC 9788 §2.1, and for Thunderbird (153: OpenPGP only) and K-9 its forerunner, which they know instead. */
function marks(mode: "cipher" | "clear"): string {
  return `hp="${mode}"; protected-headers="v1"`
}

/** A quoted string or comment that does not end would have swallowed what was appended. */
function isSameBut(before: EntityHeader, after: EntityHeader, mode: "cipher" | "clear"): boolean {
  const others = after.parameters.filter(([name]) => !/^(?:hp|protected-headers)$/i.test(name))
  return (
    parameter(after, "hp") === mode &&
    before.type === after.type &&
    before.subtype === after.subtype &&
    JSON.stringify(others) === JSON.stringify(before.parameters)
  )
}

/** The header section without the fields of these names, everything else octet for octet. */
function withoutFields(header: Uint8Array, isDropped: (name: string) => boolean): Uint8Array {
  const fields = parseFields(header)
  if (!fields.some(({ name }) => isDropped(name))) return header
  const kept = fields.filter(({ name }) => !isDropped(name)).map(({ octets }) => octets)
  return Buffer.concat([...kept, header.subarray(lengthOf(fields))])
}

function lengthOf(fields: readonly Field[]): number {
  return fields.reduce((sum, { octets }) => sum + octets.length, 0)
}

const LF = 10
/** RFC 5322 §2.1.1: lines of 78 characters, with `HP-Outer: ` before them. */
const FOLD_ABOVE_OCTETS = 70
const BCC: ReadonlySet<string> = new Set(["bcc", "resent-bcc"])
/** HP-Outer would speak of another outside; the marker is for stored mail. */
const DROPPED: ReadonlySet<string> = new Set([...BCC, "hp-outer", "postern-encrypted"])
