/** PURE. Reading JSON that others wrote, and writing octets and dates into it. */
import { GatewayError } from "../errors.ts"

/** One JSON object being read: each function returns a member of the right type or throws REQUEST_INVALID naming where it stands. */
export interface JsonObject {
  text(name: string): string
  /** One of `words`. */
  word<T extends string>(name: string, words: readonly T[]): T
  flag(name: string): boolean
  number(name: string): number
  /** Base64 (RFC 4648 §4), canonical. */
  octets(name: string): Uint8Array
  /** RFC 3339, UTC. */
  date(name: string): Date
  object(name: string): JsonObject
  objects(name: string): readonly JsonObject[]
  texts(name: string): readonly string[]
  /** True when the member is there and not null. */
  has(name: string): boolean
  /** null where the member is absent or null. */
  optional<T>(name: string, read: (object: JsonObject, name: string) => T): T | null
}

/**
 * Reads the text of one JSON object; `where` begins the messages.
 * @throws GatewayError REQUEST_INVALID
 */
export function parseJsonObject(text: string, where: string): JsonObject {
  try {
    return objectOf(JSON.parse(text), where)
  } catch (cause) {
    if (cause instanceof GatewayError) throw cause
    throw new GatewayError("REQUEST_INVALID", `${where}: not JSON`, { cause })
  }
}

/** The text of a JSON document: octets as base64, dates as RFC 3339. */
export function formatJson(value: unknown, indent?: number): string {
  return JSON.stringify(plain(value), null, indent)
}

/** Base64 as {@link JsonObject.octets} reads it. */
export function base64(octets: Uint8Array): string {
  return Buffer.from(octets).toString("base64")
}

/** Lower-case hexadecimal. */
export function hex(octets: Uint8Array): string {
  return Buffer.from(octets).toString("hex")
}

function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return base64(value)
  if (value instanceof Date) return value.toISOString()
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]))
}

function objectOf(value: unknown, where: string): JsonObject {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(where, "an object")
  const members = new Map<string, unknown>(Object.entries(value))
  const at = (name: string): string => `${where}.${name}`
  const text = (name: string): string => {
    const member = members.get(name)
    if (typeof member !== "string") throw wrong(at(name), "a string")
    return member
  }
  const list = (name: string): readonly unknown[] => {
    const member = members.get(name)
    if (!Array.isArray(member)) throw wrong(at(name), "a list")
    return member
  }
  const object: JsonObject = {
    text,
    word: (name, words) => {
      const found = words.find((word) => word === members.get(name))
      if (found === undefined) throw wrong(at(name), `one of ${words.join(", ")}`)
      return found
    },
    flag: (name) => {
      const member = members.get(name)
      if (typeof member !== "boolean") throw wrong(at(name), "true or false")
      return member
    },
    number: (name) => {
      const member = members.get(name)
      if (typeof member !== "number") throw wrong(at(name), "a number")
      return member
    },
    octets: (name) => decodeBase64(text(name), at(name)),
    date: (name) => {
      const date = new Date(text(name))
      if (Number.isNaN(date.getTime()) || date.toISOString() !== text(name)) throw wrong(at(name), "a date")
      return date
    },
    object: (name) => objectOf(members.get(name), at(name)),
    objects: (name) => list(name).map((member, index) => objectOf(member, `${at(name)}[${index}]`)),
    texts: (name) =>
      list(name).map((member) => {
        if (typeof member !== "string") throw wrong(at(name), "a list of strings")
        return member
      }),
    has: (name) => (members.get(name) ?? null) !== null,
    optional: (name, read) => (object.has(name) ? read(object, name) : null),
  }
  return object
}

function decodeBase64(text: string, where: string): Uint8Array {
  const octets = new Uint8Array(Buffer.from(text, "base64"))
  // One form only: Buffer skips what is no base64, and would read the same octets out of many texts.
  if (base64(octets) !== text) throw wrong(where, "base64")
  return octets
}

function wrong(where: string, what: string): GatewayError {
  return new GatewayError("REQUEST_INVALID", `${where}: must be ${what}`)
}
