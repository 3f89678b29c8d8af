/** What of a message a FETCH item names (RFC 9051 §6.4.5): part numbers, then which text of it. */
export interface Section {
  /** `1.2` is [1, 2]; empty for the message itself. */
  readonly part: readonly number[]
  readonly text: SectionText
  /** Field names of HEADER.FIELDS and HEADER.FIELDS.NOT, as sent. */
  readonly fields: readonly string[]
}

/** "" is the whole part or message. */
export type SectionText = "" | "HEADER" | "HEADER.FIELDS" | "HEADER.FIELDS.NOT" | "TEXT" | "MIME"

/** `<offset.count>`; in responses the count is not told (null). */
export interface Span {
  readonly offset: number
  readonly count: number | null
}

/** Parts nest as deep as MIME does; more numbers than this is nobody's section. */
const MAX_PART_NUMBERS = 64

/** Reads `1.2.HEADER` and the like, any case. @returns null when it is no section-spec. */
export function parseSectionSpec(spec: string, fields: readonly string[]): Section | null {
  const found =
    /^((?:[1-9]\d{0,9}\.)*[1-9]\d{0,9})?(?:(^|\.)(HEADER|HEADER\.FIELDS|HEADER\.FIELDS\.NOT|TEXT|MIME))?$/i.exec(spec)
  if (found === null) return null
  const part = found[1] === undefined ? [] : found[1].split(".").map(Number)
  const text = (found[3] ?? "").toUpperCase()
  if (part.length > MAX_PART_NUMBERS || (found[2] === "." && part.length === 0)) return null
  if (text === "MIME" && part.length === 0) return null
  if (text.startsWith("HEADER.FIELDS") !== fields.length > 0) return null
  return isSectionText(text) ? { part, text, fields } : null
}

/** Reads what stands between `<` and `>`. @returns null when malformed. */
export function parsePartial(text: string): Span | null {
  const found = /^(\d{1,15})(?:\.(\d{1,15}))?$/.exec(text)
  if (found === null) return null
  return { offset: Number(found[1]), count: found[2] === undefined ? null : Number(found[2]) }
}

/** The section-spec as text, in upper case: `1.2`, `TEXT`, `1.HEADER.FIELDS (A B)`. */
export function formatSection(section: Section): string {
  const spec = [...section.part.map(String), ...(section.text === "" ? [] : [section.text])].join(".")
  return section.fields.length === 0 ? spec : `${spec} (${section.fields.join(" ")})`
}

function isSectionText(text: string): text is SectionText {
  return ["", "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT", "MIME"].includes(text)
}
