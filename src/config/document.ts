/** PURE. The document that postern.toml is, as it is read. */
import { GatewayError } from "../errors.ts"
import type { Endpoint } from "./config.ts"
import { nearest } from "./nearest.ts"
import { readEndpoint } from "./values.ts"

/** One thing wrong in postern.toml. */
export interface Mistake {
  /** From 1; null: the key is missing, so it has no line. */
  readonly line: number | null
  /** Dotted, as in `listen.mx`. */
  readonly key: string
  readonly message: string
}

/** The tables of the document: remembers which keys somebody asked for, and everything that was wrong. */
export class Document {
  readonly warnings: string[] = []
  readonly #raw: unknown
  readonly #lineOf: (key: string) => number | null
  readonly #mistakes: Mistake[] = []
  readonly #known = new Set<string>()

  constructor(raw: unknown, lineOf: (key: string) => number | null) {
    this.#raw = raw
    this.#lineOf = lineOf
  }

  /** The value at `key`, `fallback` where it is absent or wrong. */
  optional<T>(key: string, read: (value: unknown) => T, fallback: T): T {
    this.#known.add(key)
    const value = this.#valueOf(key)
    return value === undefined ? fallback : (this.#attempt(key, value, read) ?? fallback)
  }

  /** The value at `key`, null where it is absent or wrong. */
  required<T>(key: string, read: (value: unknown) => T): T | null {
    this.#known.add(key)
    const value = this.#valueOf(key)
    if (value !== undefined) return this.#attempt(key, value, read)
    this.mistake(key, "is missing")
    return null
  }

  /** True when something stands at `key`. */
  has(key: string): boolean {
    return this.#valueOf(key) !== undefined
  }

  /** The names in a table that has whatever names somebody gives. [] where it is absent or none. */
  keys(table: string): readonly string[] {
    const value = this.#valueOf(table)
    if (value === undefined) return []
    if (isTable(value)) return Object.keys(value)
    this.#known.add(table)
    this.mistake(table, "must be a table")
    return []
  }

  /** The keys of the tables in an array of tables: `key[0]` and so on. [] where it is absent or wrong. */
  tables(key: string): readonly string[] {
    this.#known.add(key)
    const value = this.#valueOf(key)
    if (value === undefined) return []
    if (Array.isArray(value) && value.every(isTable)) return value.map((_, index) => `${key}[${index}]`)
    this.mistake(key, `must be tables, each under [[${key}]]`)
    return []
  }

  /** A URL of another server; warns when what goes there may go in clear. */
  endpoint(key: string, url: string, schemes: Parameters<typeof readEndpoint>[1]): Endpoint {
    const endpoint = readEndpoint(url, schemes)
    if (endpoint.kind === "unix" || endpoint.security === "plain")
      this.warnings.push(`${key}: ${url} is spoken in clear (allowed on this machine only)`)
    return endpoint
  }

  mistake(key: string, message: string): void {
    // What is missing in one of several tables is looked for where that table begins.
    const line = this.#lineOf(key) ?? this.#lineOf(/^.*\[\d+\](?=\.)/.exec(key)?.[0] ?? key)
    this.#mistakes.push({ line, key, message })
  }

  /** All mistakes, unknown keys among them, in the order of their lines. */
  finish(): readonly Mistake[] {
    for (const key of leaves(this.#raw, "")) {
      if (this.#known.has(key)) continue
      const table = [...this.#known].some((known) => known.startsWith(`${key}.`))
      this.mistake(key, table ? "must be a table" : `is no key of postern.toml${this.#meant(key)}`)
    }
    return this.#mistakes.sort((a, b) => (a.line ?? 0) - (b.line ?? 0))
  }

  #meant(key: string): string {
    const word = nearest(key, this.#known)
    return word === null ? "" : ` (did you mean ${word}?)`
  }

  #attempt<T>(key: string, value: unknown, read: (value: unknown) => T): T | null {
    try {
      return read(value)
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      this.mistake(key, error.message)
      return null
    }
  }

  #valueOf(key: string): unknown {
    return key.split(/\.|\[|\]\.?/).reduce<unknown>((at, part) => {
      if (Array.isArray(at) && part !== "") return at[Number(part)]
      return part === "" ? at : isTable(at) ? at[part] : undefined
    }, this.#raw)
  }
}

function leaves(value: unknown, key: string): readonly string[] {
  if (TABLE_ARRAYS.includes(key) && Array.isArray(value) && value.every(isTable))
    return value.flatMap((inner, index) => leaves(inner, `${key}[${index}]`))
  if (!isTable(value)) return [key]
  const entries = Object.entries(value)
  if (entries.length === 0 && key !== "") return TABLES.includes(key) ? [] : [key]
  return entries.flatMap(([name, inner]) => leaves(inner, key === "" ? name : `${key}.${name}`))
}

function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date)
}

const TABLES: readonly string[] = [
  "listen",
  "clients",
  "tls",
  "store",
  "queue",
  "mailboxes",
  "relay",
  "policy",
  "policy.groups",
  "keys",
  "dns",
  "scan",
  "mesh",
  "limits",
]
const TABLE_ARRAYS: readonly string[] = ["tls.names", "relay.domains", "policy.rules", "keys.directories"]
