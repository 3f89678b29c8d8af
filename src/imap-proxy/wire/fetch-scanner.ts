import { parseSectionSpec } from "./section.ts"

/** An item's value that stands in the text itself; offsets count in the text piece it was found in. */
export type FetchValue =
  | { readonly item: string; readonly kind: "quoted" | "list"; readonly start: number; readonly end: number }
  | { readonly item: string; readonly kind: "atom"; readonly text: string }

/** Message data of which section, from which origin (null: from the beginning, whole). */
export interface MessageData {
  /** As in a FETCH command: "" is the whole message, `TEXT`, `1.2`, `1.TEXT`. */
  readonly section: string
  readonly origin: number | null
}

/**
 * Follows `(item value item value …)` of one FETCH response through its text pieces and literals (RFC 9051 §7.5.2), so that
 * each value is known by its item name, in whatever order the server sends them.
 */
export class FetchScanner {
  #depth = 0
  #item = ""
  /** Where in an item: its name, within the name's brackets, before its value, or within a list that is its value. */
  #place: "name" | "section" | "value" | "list" = "name"
  #listStart = -1

  /** Values complete in `text` (one character per octet, up to a literal or the line end), in order; what stands before `from` is passed over. */
  text(text: string, from = 0): FetchValue[] {
    const found: FetchValue[] = []
    this.#listStart = -1
    let at = from
    while (at < text.length) at = this.#step(text, at, found)
    return found
  }

  /** A literal follows. @returns the item whose value it is; null when it is part of something else. */
  literal(): string | null {
    if (this.#place !== "value" || this.#depth !== 1) return null
    this.#place = "name"
    const item = this.#item.toUpperCase()
    this.#item = ""
    return item
  }

  #step(text: string, at: number, found: FetchValue[]): number {
    switch (this.#place) {
      case "name":
        return this.#name(text, at)
      case "section":
        return this.#section(text, at)
      case "value":
        return this.#value(text, at, found)
      case "list":
        return this.#list(text, at, found)
    }
  }

  #name(text: string, at: number): number {
    const c = text[at]
    if (c === "(" || c === ")") {
      this.#depth += c === "(" ? 1 : -1
      return at + 1
    }
    if (c === " ") {
      if (this.#item !== "") this.#place = "value"
      return at + 1
    }
    const end = skip(NAME, text, at)
    if (text[end - 1] === "[") this.#place = "section"
    this.#item += text.slice(at, end)
    return end
  }

  #section(text: string, at: number): number {
    const end = text[at] === '"' ? quotedEnd(text, at) : skip(SECTION, text, at)
    if (text[at] === "]") this.#place = "name"
    this.#item += text.slice(at, end)
    return end
  }

  #value(text: string, at: number, found: FetchValue[]): number {
    if (text[at] === " ") return at + 1
    const item = this.#item.toUpperCase()
    if (text[at] === "(") {
      this.#place = "list"
      this.#depth += 1
      this.#listStart = at
      return at + 1
    }
    const quoted = text[at] === '"'
    const end = quoted ? quotedEnd(text, at) : atomEnd(text, at)
    if (quoted) found.push({ item, kind: "quoted", start: at, end })
    else found.push({ item, kind: "atom", text: text.slice(at, end) })
    this.#place = "name"
    this.#item = ""
    return Math.max(end, at + 1)
  }

  #list(text: string, at: number, found: FetchValue[]): number {
    const c = text[at]
    if (c === '"') return quotedEnd(text, at)
    if (c !== "(" && c !== ")") return skip(LIST, text, at)
    this.#depth += c === "(" ? 1 : -1
    if (this.#depth > 1) return at + 1
    if (this.#listStart >= 0) {
      found.push({ item: this.#item.toUpperCase(), kind: "list", start: this.#listStart, end: at + 1 })
    }
    this.#place = "name"
    this.#item = ""
    return at + 1
  }
}

/**
 * Which message data an item of a FETCH response carries.
 * @returns null for header sections, MIME headers and everything else, which hold no encrypted block.
 */
export function messageDataOf(item: string): MessageData | null {
  if (item === "RFC822") return { section: "", origin: null }
  if (item === "RFC822.TEXT") return { section: "TEXT", origin: null }
  const found = /^BODY\[([^\] ]*)\](?:<(\d{1,15})(?:\.\d+)?>)?$/i.exec(item)
  const spec = found?.[1]
  if (spec === undefined) return null
  const section = parseSectionSpec(spec, [])
  if (section === null || (section.text !== "" && section.text !== "TEXT")) return null
  return { section: spec.toUpperCase(), origin: found?.[2] === undefined ? null : Number(found[2]) }
}

/** The rest of an item's name, up to and with the bracket that opens its section. */
const NAME = /[^() []+\[?|\[/y
/** What stands in a section, up to quotes or its end, or the end itself. */
const SECTION = /[^\]"]+|\]/y
/** What stands in a list between quotes and parentheses. */
const LIST = /[^"()]+/y

/** @returns the offset behind what `pattern` matches at `at`, at least one on */
function skip(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at
  return at + (pattern.exec(text)?.[0].length ?? 1)
}

/** Cheap look whether a FETCH response's text may hold message data at all. */
export function mayHoldMessageData(text: string): boolean {
  return /BODY\[|RFC822(?:\.TEXT)?(?=[ ()]|$)/i.test(text)
}

function quotedEnd(text: string, start: number): number {
  let at = start + 1
  while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1
  return Math.min(at + 1, text.length)
}

function atomEnd(text: string, start: number): number {
  let at = start
  while (at < text.length && text[at] !== " " && text[at] !== ")" && text[at] !== "(") at += 1
  return at
}
