import { parseSequenceSet, type SequenceRange } from "../../imap-proxy/wire/sequence-set.ts"
import { octetsOf, type Token } from "../../imap-proxy/wire/tokens.ts"
import { astring, atom, bad, day } from "./arguments.ts"

/** A search criterion (RFC 3501 §6.4.4). Texts are lower case. */
export type SearchKey =
  | { readonly kind: "all" }
  | { readonly kind: "not"; readonly key: SearchKey }
  | { readonly kind: "and" | "or"; readonly keys: readonly SearchKey[] }
  | { readonly kind: "set"; readonly byUid: boolean; readonly set: readonly SequenceRange[] }
  | { readonly kind: "flag"; readonly flag: string }
  | { readonly kind: "recent" }
  | { readonly kind: "size"; readonly larger: boolean; readonly octets: number }
  /** [from, before) in milliseconds; of INTERNALDATE or of the Date field. */
  | { readonly kind: "date"; readonly sent: boolean; readonly from: number; readonly before: number }
  | { readonly kind: "header"; readonly field: string; readonly text: string }
  /** In the stored octets; `withHeader` for TEXT. */
  | { readonly kind: "body"; readonly withHeader: boolean; readonly octets: Uint8Array }

/** More criteria than this are nobody's search. */
const MAX_KEYS = 1000

/** Reads the arguments of SEARCH. @returns null for a charset that is neither US-ASCII nor UTF-8. @throws PROTOCOL */
export function parseSearch(tokens: readonly Token[]): SearchKey | null {
  let rest = tokens
  if (rest[0]?.kind === "atom" && rest[0].text.toUpperCase() === "CHARSET") {
    if (!/^(?:us-ascii|utf-8)$/i.test(astring(rest[1]))) return null
    rest = rest.slice(2)
  }
  return new Keys(rest).all()
}

/** Takes keys from the front of the arguments. */
class Keys {
  readonly #tokens: readonly Token[]
  #at = 0

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens
    if (tokens.length > MAX_KEYS) throw bad("too many search keys")
  }

  all(): SearchKey {
    const keys: SearchKey[] = []
    while (this.#at < this.#tokens.length) keys.push(this.#key(0))
    if (keys.length === 0) throw bad("search keys expected")
    return { kind: "and", keys }
  }

  #next(): Token | undefined {
    return this.#tokens[this.#at++]
  }

  #key(depth: number): SearchKey {
    if (depth > MAX_NESTING) throw bad("search nested too deep")
    const token = this.#next()
    if (token?.kind === "list") return new Keys(token.items).all()
    const name = atom(token).toUpperCase()
    if (name === "NOT") return { kind: "not", key: this.#key(depth + 1) }
    if (name === "OR") return { kind: "or", keys: [this.#key(depth + 1), this.#key(depth + 1)] }
    return this.#flagKey(name) ?? this.#textKey(name) ?? this.#valueKey(name)
  }

  #flagKey(name: string): SearchKey | null {
    if (name === "ALL") return { kind: "all" }
    if (name === "RECENT") return { kind: "recent" }
    if (name === "OLD") return { kind: "not", key: { kind: "recent" } }
    if (name === "NEW")
      return { kind: "and", keys: [{ kind: "recent" }, { kind: "not", key: { kind: "flag", flag: "\\Seen" } }] }
    if (name === "KEYWORD") return { kind: "flag", flag: atom(this.#next()) }
    if (name === "UNKEYWORD") return { kind: "not", key: { kind: "flag", flag: atom(this.#next()) } }
    if (FLAGS.includes(name)) return { kind: "flag", flag: `\\${name}` }
    if (FLAGS.includes(name.replace(/^UN/, "")))
      return { kind: "not", key: { kind: "flag", flag: `\\${name.slice(2)}` } }
    return null
  }

  #textKey(name: string): SearchKey | null {
    if (["BCC", "CC", "FROM", "SUBJECT", "TO"].includes(name))
      return { kind: "header", field: name.toLowerCase(), text: this.#text() }
    if (name === "HEADER") return { kind: "header", field: astring(this.#next()).toLowerCase(), text: this.#text() }
    if (name === "BODY" || name === "TEXT") {
      return { kind: "body", withHeader: name === "TEXT", octets: Buffer.from(this.#text(), "utf8") }
    }
    return null
  }

  #valueKey(name: string): SearchKey {
    if (name === "UID") return this.#set(atom(this.#next()), true)
    if (name === "LARGER" || name === "SMALLER")
      return { kind: "size", larger: name === "LARGER", octets: this.#number() }
    const sent = name.startsWith("SENT")
    const kind = sent ? name.slice(4) : name
    if (["BEFORE", "ON", "SINCE"].includes(kind)) {
      const start = day(astring(this.#next()))
      const from = kind === "BEFORE" ? Number.NEGATIVE_INFINITY : start
      const before = kind === "BEFORE" ? start : kind === "ON" ? start + DAY_MS : Number.POSITIVE_INFINITY
      return { kind: "date", sent, from, before }
    }
    return this.#set(name, false)
  }

  #set(text: string, byUid: boolean): SearchKey {
    const set = parseSequenceSet(text)
    if (set === null || set === "$") throw bad("unknown search key")
    return { kind: "set", byUid, set }
  }

  #number(): number {
    const text = atom(this.#next())
    if (!/^\d{1,15}$/.test(text)) throw bad("number expected")
    return Number(text)
  }

  #text(): string {
    const octets = octetsOf(this.#next())
    if (octets === null) throw bad("string expected")
    return new TextDecoder().decode(octets).toLowerCase()
  }
}

const FLAGS = ["ANSWERED", "DELETED", "DRAFT", "FLAGGED", "SEEN"]
const DAY_MS = 86_400_000
/** NOT NOT NOT …: each costs a stack frame. */
const MAX_NESTING = 100
