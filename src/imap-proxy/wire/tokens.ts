import { GatewayError } from "../../errors.ts"
import { parsePartial, parseSectionSpec, type Section, type Span } from "./section.ts"

/** A piece of a command or response between line ends: text without its literal marker, or a literal. */
export type Segment =
  | { readonly kind: "text"; readonly octets: Uint8Array }
  | {
      readonly kind: "literal"
      readonly size: number
      /** `~{n}` (RFC 3516 literal8). */
      readonly binary: boolean
      /** False for `{n+}` (RFC 7888): the octets follow without a continuation request. */
      readonly synchronizing: boolean
      /** null when the owner discarded them. */
      readonly octets: Uint8Array | null
    }

/** One argument. Text is latin1 (one character per octet); `octets` are unescaped. */
export type Token =
  | { readonly kind: "atom"; readonly text: string }
  | { readonly kind: "quoted"; readonly octets: Uint8Array }
  | { readonly kind: "literal"; readonly octets: Uint8Array | null; readonly size: number; readonly binary: boolean }
  | { readonly kind: "list"; readonly items: readonly Token[] }
  /** `BODY.PEEK[1.HEADER.FIELDS (A B)]<0.100>`; `name` in upper case, without the brackets. */
  | { readonly kind: "section"; readonly name: string; readonly section: Section; readonly partial: Span | null }

/** What was parsed, and how many parentheses are still open (a literal inside `UTF8 (~{n}` is met that way). */
export interface Tokens {
  readonly tokens: readonly Token[]
  readonly open: number
}

/** Real clients nest searches below 10 deep; each level costs a stack frame. */
export const MAX_DEPTH = 64

/**
 * Arguments of a command or response, separated by SP (RFC 9051 §4).
 * @throws PROTOCOL for anything that is no token, or deeper than MAX_DEPTH.
 */
export function tokenize(segments: readonly Segment[]): Tokens {
  const cursor = new Cursor(segments)
  const tokens = readItems(cursor, 0)
  return { tokens, open: cursor.open }
}

/** The octets of a string or atom as latin1 text; null for a list, a section, or a literal that was discarded. */
export function textOf(token: Token | undefined): string | null {
  if (token?.kind === "atom") return token.text
  if (token?.kind === "quoted" || token?.kind === "literal") return token.octets === null ? null : latin1(token.octets)
  return null
}

/** Octets of a string or atom (astring); null as for textOf. */
export function octetsOf(token: Token | undefined): Uint8Array | null {
  if (token?.kind === "atom") return Buffer.from(token.text, "latin1")
  return token?.kind === "quoted" || token?.kind === "literal" ? token.octets : null
}

/** One character per octet. */
export function latin1(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString("latin1")
}

/** True when a quoted string is still open at the end of `line` (RFC 9051 §9: quoted). */
export function insideQuotes(line: Uint8Array): boolean {
  let quoted = false
  for (let at = 0; at < line.length; at += 1) {
    if (line[at] === 0x22) quoted = !quoted
    else if (quoted && line[at] === 0x5c) at += 1
  }
  return quoted
}

function readItems(cursor: Cursor, depth: number): Token[] {
  if (depth > MAX_DEPTH) throw syntax(`nested deeper than ${MAX_DEPTH}`)
  const items: Token[] = []
  for (;;) {
    const c = cursor.peek()
    if (c === "" && !cursor.atLiteral()) {
      cursor.open = depth
      return items
    }
    if (c === " ") cursor.skip()
    else if (c === ")") {
      if (depth === 0) throw syntax("unmatched )")
      cursor.skip()
      return items
    } else if (c === "(") {
      cursor.skip()
      items.push({ kind: "list", items: readItems(cursor, depth + 1) })
      if (cursor.ended) return items
    } else items.push(readOne(cursor, c))
  }
}

function readOne(cursor: Cursor, c: string): Token {
  if (c === "") return cursor.literal()
  if (c === '"') return { kind: "quoted", octets: cursor.quoted() }
  const name = cursor.atom(true)
  if (cursor.peek() === "[" && SECTION_ITEM.test(name)) {
    cursor.skip()
    return readSection(cursor, name.toUpperCase())
  }
  const text = name + cursor.atom(false)
  if (text === "") throw syntax("octet not allowed in an atom")
  return { kind: "atom", text }
}

// RFC 9051 §9: section = "[" [section-spec] "]"; "HEADER.FIELDS" SP header-list; then "<" number "." nz-number ">"
function readSection(cursor: Cursor, name: string): Token {
  const spec = cursor.until(" ]")
  const fields: string[] = []
  if (cursor.peek() === " ") {
    cursor.skip()
    cursor.expect("(")
    for (const token of readItems(cursor, 1)) {
      const field = textOf(token)
      if (field === null) throw syntax("header list holds something else than names")
      fields.push(field)
    }
  }
  cursor.expect("]")
  const section = parseSectionSpec(spec, fields)
  if (section === null) throw syntax("unknown section")
  let partial: Span | null = null
  if (cursor.peek() === "<") {
    cursor.skip()
    partial = parsePartial(cursor.until(">"))
    if (partial === null) throw syntax("malformed partial")
    cursor.expect(">")
  }
  return { kind: "section", name, section, partial }
}

/** Reads characters of the text segments; a literal stands between them and matches no character. */
class Cursor {
  readonly #segments: readonly Segment[]
  #index = 0
  #text = ""
  #at = 0
  /** Parentheses open at the end of the input. */
  open = 0

  constructor(segments: readonly Segment[]) {
    this.#segments = segments
    this.#load()
  }

  get ended(): boolean {
    return this.peek() === "" && !this.atLiteral()
  }

  /** The next character, or "" at a literal and at the end. */
  peek(): string {
    return this.#text[this.#at] ?? ""
  }

  skip(): void {
    this.#at += 1
    this.#load()
  }

  expect(c: string): void {
    if (this.peek() !== c) throw syntax(`${c} expected`)
    this.skip()
  }

  atLiteral(): boolean {
    return this.#at >= this.#text.length && this.#segments[this.#index]?.kind === "literal"
  }

  literal(): Token {
    const segment = this.#segments[this.#index]
    if (segment?.kind !== "literal") throw syntax("literal expected")
    this.#index += 1
    this.#load()
    return { kind: "literal", octets: segment.octets, size: segment.size, binary: segment.binary }
  }

  /** `stopAtBracket`: before `[`, which begins a section when the name is one of FETCH's items. */
  atom(stopAtBracket: boolean): string {
    const pattern = stopAtBracket ? ATOM_TO_BRACKET : ATOM
    pattern.lastIndex = this.#at
    return this.#take(pattern.exec(this.#text)?.[0].length ?? 0)
  }

  until(stops: string): string {
    let end = this.#at
    while (end < this.#text.length && !stops.includes(this.#text[end] ?? "")) end += 1
    if (end === this.#text.length) throw syntax("section is cut off")
    return this.#take(end - this.#at)
  }

  // RFC 9051 §9: quoted = DQUOTE *QUOTED-CHAR DQUOTE; "\" escapes DQUOTE and itself
  quoted(): Uint8Array {
    QUOTED.lastIndex = this.#at
    const found = QUOTED.exec(this.#text)
    if (found === null) throw syntax("quoted string is cut off")
    this.#take(found[0].length)
    return Buffer.from((found[1] ?? "").replaceAll(/\\(.)/gs, "$1"), "latin1")
  }

  #take(length: number): string {
    const taken = this.#text.slice(this.#at, this.#at + length)
    this.#at += length
    this.#load()
    return taken
  }

  /** Moves on to the next text segment when this one is used up and no literal is next. */
  #load(): void {
    while (this.#at >= this.#text.length) {
      const segment = this.#segments[this.#index]
      if (segment?.kind !== "text") return
      this.#text = latin1(segment.octets)
      this.#at = 0
      this.#index += 1
    }
  }
}

function syntax(what: string): GatewayError {
  return new GatewayError("PROTOCOL", `imap: ${what}`)
}

const SECTION_ITEM = /^(?:BODY|BODY\.PEEK|BINARY|BINARY\.PEEK|BINARY\.SIZE)$/i
// Wider than ATOM-CHAR: flags (`\Seen`), list wildcards, 8-bit mailbox names. No controls, no braces opening a literal.
const ATOM = /[^\x00-\x20\x7f(){"]*/y
const ATOM_TO_BRACKET = /[^\x00-\x20\x7f(){"[]*/y
const QUOTED = /"((?:[^"\\\x00\r\n]|\\[^\x00\r\n])*)"/y
