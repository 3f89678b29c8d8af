import { formatSection, type Section, type Span } from "../../imap-proxy/wire/section.ts"
import type { Token } from "../../imap-proxy/wire/tokens.ts"
import { string } from "../../mime/bodystructure.ts"
import { bad } from "./arguments.ts"

/** One message data item (RFC 3501 §6.4.5). */
export type FetchItem =
  | { readonly kind: "FLAGS" | "UID" | "INTERNALDATE" | "RFC822.SIZE" | "ENVELOPE" | "BODY" | "BODYSTRUCTURE" }
  | {
      readonly kind: "section"
      /** As the response names it: `BODY[1.2]<0>`, `RFC822.TEXT`. */
      readonly label: string
      readonly section: Section
      readonly partial: { readonly offset: number; readonly count: number } | null
      /** False: \Seen is set. */
      readonly peek: boolean
    }

/** Reads `ALL`, `BODY[]` or `(UID FLAGS …)`. @throws PROTOCOL */
export function parseFetchItems(tokens: readonly Token[]): FetchItem[] {
  const [first] = tokens
  if (tokens.length !== 1 || first === undefined) throw bad("fetch items expected")
  if (first.kind !== "list") return macro(first) ?? [item(first)]
  if (first.items.length === 0) throw bad("fetch items expected")
  return first.items.map(item)
}

function macro(token: Token): FetchItem[] | null {
  const names = token.kind === "atom" ? MACROS[token.text.toUpperCase()] : undefined
  return names === undefined ? null : names.map((kind) => ({ kind }))
}

function item(token: Token): FetchItem {
  if (token.kind === "section") return sectionItem(token.name, token.section, token.partial)
  const name = token.kind === "atom" ? token.text.toUpperCase() : ""
  const simple = SIMPLE.find((kind) => kind === name)
  if (simple) return { kind: simple }
  const text = RFC822[name]
  if (text === undefined) throw bad("unknown fetch item")
  const section: Section = { part: [], text, fields: [] }
  return { kind: "section", label: name, section, partial: null, peek: name === "RFC822.HEADER" }
}

function sectionItem(name: string, section: Section, span: Span | null): FetchItem {
  if (name !== "BODY" && name !== "BODY.PEEK") throw bad("unknown fetch item")
  if (span !== null && !span.count) throw bad("malformed partial")
  const partial = span?.count ? { offset: span.offset, count: span.count } : null
  const spec = formatSection({ ...section, fields: section.fields.map(headerName) })
  const label = `BODY[${spec}]${partial === null ? "" : `<${partial.offset}>`}`
  return { kind: "section", label, section, partial, peek: name === "BODY.PEEK" }
}

/** header-fld-name = astring: what is no atom goes back in quotes. */
function headerName(name: string): string {
  return /^[!#$&'+,\-./0-9:;<=>?@A-Z[^_`a-z|}~]+$/.test(name) ? name : string(name)
}

type Simple = Exclude<FetchItem["kind"], "section">

const SIMPLE: readonly Simple[] = ["FLAGS", "UID", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY", "BODYSTRUCTURE"]
const RFC822: Readonly<Record<string, "" | "HEADER" | "TEXT">> = {
  RFC822: "",
  "RFC822.HEADER": "HEADER",
  "RFC822.TEXT": "TEXT",
}
const FAST: readonly Simple[] = ["FLAGS", "INTERNALDATE", "RFC822.SIZE"]
const MACROS: Readonly<Record<string, readonly Simple[]>> = {
  FAST,
  ALL: [...FAST, "ENVELOPE"],
  FULL: [...FAST, "ENVELOPE", "BODY"],
}
