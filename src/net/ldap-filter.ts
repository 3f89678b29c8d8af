/** PURE. Search filters of LDAP: as text (RFC 4515) and as octets (RFC 4511 §4.5.1.7). */
import { TAG, tagged } from "../crypto/cms/der.ts"
import type { GatewayError } from "../errors.ts"
import { ldapString, malformed, type Piece, piecesOf, readOctets, readText } from "./ldap-message.ts"

export type Filter =
  | { readonly kind: "and" | "or"; readonly filters: readonly Filter[] }
  | { readonly kind: "not"; readonly filter: Filter }
  | { readonly kind: "equal"; readonly attribute: string; readonly value: Uint8Array }
  | Substrings
  | { readonly kind: "present"; readonly attribute: string }
  /** >=, <=, ~= and matching rules by name: nothing here asks by them; as octets. */
  | { readonly kind: "other"; readonly octets: Uint8Array }

/** `attribute=initial*any*any*final`; null: not stated. */
interface Substrings {
  readonly kind: "substrings"
  readonly attribute: string
  readonly initial: Uint8Array | null
  readonly any: readonly Uint8Array[]
  readonly final: Uint8Array | null
}

/**
 * Reads a filter as people write it: `(|(mail=a@b.example)(cn=A*))`, octets of values also as `\2a`.
 * @throws GatewayError PROTOCOL
 */
export function parseFilter(text: string): Filter {
  const { filter, end } = parseAt(text, 0, 0)
  if (end !== text.length) throw malformed(`filter: something behind its end, at ${end}`)
  return filter
}

/** The filter with each value made anew, so that what is put into it can never be part of its syntax. */
export function mapValues(filter: Filter, change: (value: Uint8Array) => Uint8Array): Filter {
  const maybe = (value: Uint8Array | null): Uint8Array | null => value && change(value)
  switch (filter.kind) {
    case "and":
    case "or":
      return { ...filter, filters: filter.filters.map((one) => mapValues(one, change)) }
    case "not":
      return { ...filter, filter: mapValues(filter.filter, change) }
    case "equal":
      return { ...filter, value: change(filter.value) }
    case "substrings":
      return { ...filter, initial: maybe(filter.initial), any: filter.any.map(change), final: maybe(filter.final) }
    case "present":
    case "other":
      return filter
  }
}

export function writeFilter(filter: Filter): Uint8Array {
  switch (filter.kind) {
    case "and":
    case "or":
      return tagged(CHOICE[filter.kind], ...filter.filters.map(writeFilter))
    case "not":
      return tagged(CHOICE.not, writeFilter(filter.filter))
    case "equal":
      return tagged(CHOICE.equal, ldapString(filter.attribute), tagged(TAG.octetString, filter.value))
    case "substrings":
      return tagged(CHOICE.substrings, ldapString(filter.attribute), tagged(TAG.sequence, ...substringsOf(filter)))
    case "present":
      return tagged(CHOICE.present, new TextEncoder().encode(filter.attribute))
    case "other":
      return filter.octets
  }
}

/** Throws GatewayError DER_SYNTAX, PROTOCOL, also for what nests deeper than {@link MAX_FILTER_DEPTH}. */
export function readFilter(piece: Piece | undefined, depth = 0): Filter {
  if (piece === undefined) throw malformed("no filter")
  if (depth > MAX_FILTER_DEPTH) throw tooDeep()
  const { tag, content } = piece
  switch (tag) {
    case CHOICE.and:
    case CHOICE.or: {
      const filters = piecesOf(content).map((one) => readFilter(one, depth + 1))
      return { kind: tag === CHOICE.and ? "and" : "or", filters }
    }
    case CHOICE.not: {
      const [inner, ...more] = piecesOf(content)
      if (more.length > 0) throw malformed("filter: two filters in one not")
      return { kind: "not", filter: readFilter(inner, depth + 1) }
    }
    case CHOICE.equal: {
      const [attribute, value] = piecesOf(content)
      return { kind: "equal", attribute: readText(attribute), value: readOctets(value) }
    }
    case CHOICE.substrings:
      return readSubstrings(content)
    case CHOICE.present:
      return { kind: "present", attribute: Buffer.from(content).toString("utf8") }
    default:
      if (!OTHERS.includes(tag)) throw malformed("filter: of no known kind")
      return { kind: "other", octets: tagged(tag, content) }
  }
}

function parseAt(text: string, start: number, depth: number): { readonly filter: Filter; readonly end: number } {
  if (depth > MAX_FILTER_DEPTH) throw tooDeep()
  if (text[start] !== "(") throw malformed(`filter: no "(" at ${start}`)
  const sign = text[start + 1]
  if (sign === "&" || sign === "|" || sign === "!") {
    const { filters, end } = parseList(text, start + 2, depth + 1)
    const [first, second] = filters
    if (sign !== "!") return { filter: { kind: sign === "&" ? "and" : "or", filters }, end: end + 1 }
    if (first === undefined || second !== undefined) throw malformed(`filter: "!" is for one filter, at ${start}`)
    return { filter: { kind: "not", filter: first }, end: end + 1 }
  }
  const end = text.indexOf(")", start)
  if (end < 0) throw malformed(`filter: no ")" for ${start}`)
  return { filter: parseItem(text.slice(start + 1, end)), end: end + 1 }
}

function parseList(text: string, start: number, depth: number): { readonly filters: Filter[]; readonly end: number } {
  const filters: Filter[] = []
  let at = start
  while (text[at] === "(") {
    const { filter, end } = parseAt(text, at, depth)
    filters.push(filter)
    at = end
  }
  if (text[at] !== ")") throw malformed(`filter: no ")" at ${at}`)
  return { filters, end: at }
}

// RFC 4515 §3: item = attr "=" assertionvalue / attr "=*" / attr "=" [initial] *( "*" any ) "*" [final]
function parseItem(item: string): Filter {
  const [, attribute, written] = /^([A-Za-z0-9.;-]+)=([^()]*)$/s.exec(item) ?? []
  if (attribute === undefined || written === undefined) throw malformed(`filter: "${item}" is none`)
  const parts = written.split("*").map(unescaped)
  const [initial, ...rest] = parts
  const final = rest.pop()
  if (initial === undefined || final === undefined) return { kind: "equal", attribute, value: unescaped(written) }
  if (written === "*") return { kind: "present", attribute }
  const stated = (value: Uint8Array): Uint8Array | null => (value.length > 0 ? value : null)
  if (rest.some((any) => any.length === 0)) throw malformed(`filter: nothing between two "*" of "${item}"`)
  return { kind: "substrings", attribute, initial: stated(initial), any: rest, final: stated(final) }
}

/** RFC 4515 §3: a backslash and two hexadecimal digits are an octet. */
function unescaped(written: string): Uint8Array {
  if (/\\(?![0-9A-Fa-f]{2})/.test(written)) throw malformed(`filter: a backslash in "${written}" is no octet`)
  const latin1 = Buffer.from(written, "utf8")
    .toString("latin1")
    .replace(/\\([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return new Uint8Array(Buffer.from(latin1, "latin1"))
}

function substringsOf({ initial, any, final }: Substrings): readonly Uint8Array[] {
  return [
    ...(initial ? [tagged(PLACE.initial, initial)] : []),
    ...any.map((part) => tagged(PLACE.any, part)),
    ...(final ? [tagged(PLACE.final, final)] : []),
  ]
}

function readSubstrings(content: Uint8Array): Filter {
  const [attribute, list] = piecesOf(content)
  if (list?.tag !== TAG.sequence) throw malformed("filter: no substrings")
  const parts = piecesOf(list.content)
  const first = parts[0]?.tag === PLACE.initial ? parts.shift() : undefined
  const last = parts.at(-1)?.tag === PLACE.final ? parts.pop() : undefined
  if (parts.some(({ tag }) => tag !== PLACE.any) || (!first && !last && parts.length === 0))
    throw malformed("filter: substrings out of order")
  return {
    kind: "substrings",
    attribute: readText(attribute),
    initial: first?.content ?? null,
    any: parts.map((part) => part.content),
    final: last?.content ?? null,
  }
}

function tooDeep(): GatewayError {
  return malformed(`filter: over ${MAX_FILTER_DEPTH} levels`)
}

const CHOICE = { and: 0xa0, or: 0xa1, not: 0xa2, equal: 0xa3, substrings: 0xa4, present: 0x87 } as const
/** greaterOrEqual, lessOrEqual, approxMatch, extensibleMatch. */
const OTHERS: readonly number[] = [0xa5, 0xa6, 0xa8, 0xa9]
const PLACE = { initial: 0x80, any: 0x81, final: 0x82 } as const
/** Those of clients nest two or three deep; each level costs a stack frame. */
export const MAX_FILTER_DEPTH = 16
