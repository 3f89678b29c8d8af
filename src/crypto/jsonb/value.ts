import { GatewayError } from "../../errors.ts"
import { base64UrlDecode } from "./base64url.ts"

/** Where a value stands in the octets it was read from: what was received is digested from there, never from what we would write. */
export interface Span {
  readonly start: number
  /** Offset behind the last octet. */
  readonly end: number
}

/** A value of JSON (RFC 8259) or JSON-B (draft-hallambaker-jsonbcd-21). Members keep their order; a name stands once. */
export type JsonValue = Span &
  (
    | { readonly kind: "object"; readonly members: ReadonlyMap<string, JsonValue> }
    | { readonly kind: "array"; readonly items: readonly JsonValue[] }
    | { readonly kind: "string"; readonly text: string }
    | { readonly kind: "data"; readonly octets: Uint8Array }
    | { readonly kind: "integer"; readonly value: bigint }
    | { readonly kind: "real"; readonly value: number }
    | { readonly kind: "boolean"; readonly value: boolean }
    | { readonly kind: "null" }
  )

export type JsonObject = Extract<JsonValue, { kind: "object" }>

/** The object itself. @throws GatewayError JSONB_TYPE for any other value */
export function objectOf(value: JsonValue, what: string): JsonObject {
  if (value.kind !== "object") throw wrongType(what, "an object")
  return value
}

/** The items of an array. @throws GatewayError JSONB_TYPE for any other value */
export function itemsOf(value: JsonValue, what: string): readonly JsonValue[] {
  if (value.kind !== "array") throw wrongType(what, "an array")
  return value.items
}

/** The text of a string. @throws GatewayError JSONB_TYPE for any other value */
export function textOf(value: JsonValue, what: string): string {
  if (value.kind !== "string") throw wrongType(what, "a string")
  return value.text
}

/**
 * Binary content: data of JSON-B, or a string of JSON that holds it as base64url (line breaks and blanks within do not count).
 * @throws GatewayError JSONB_TYPE for any other value
 */
export function octetsOf(value: JsonValue, what: string): Uint8Array {
  if (value.kind === "data") return value.octets
  if (value.kind !== "string") throw wrongType(what, "binary")
  const octets = base64UrlDecode(value.text)
  if (octets === null) throw wrongType(what, "base64url")
  return octets
}

/** A count or an offset: an integer from 0 to 2^53-1. @throws GatewayError JSONB_TYPE for any other value */
export function countOf(value: JsonValue, what: string): number {
  if (value.kind !== "integer" || value.value < 0n || value.value > BigInt(Number.MAX_SAFE_INTEGER))
    throw wrongType(what, "a count")
  return Number(value.value)
}

/** A member read by `read`; null when it is absent or JSON's null. @throws GatewayError JSONB_TYPE as `read` does */
export function memberOf<T>(object: JsonObject, name: string, read: (value: JsonValue, what: string) => T): T | null {
  const value = object.members.get(name)
  return value === undefined || value.kind === "null" ? null : read(value, name)
}

function wrongType(what: string, wanted: string): GatewayError {
  return new GatewayError("JSONB_TYPE", `json: ${what} is not ${wanted}`)
}
