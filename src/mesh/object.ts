/** PURE */
import { readJson } from "../crypto/jsonb/read.ts"
import { type JsonObject, type JsonValue, memberOf, objectOf, textOf } from "../crypto/jsonb/value.ts"
import { GatewayError } from "../errors.ts"

/**
 * An object of the Mesh (draft-hallambaker-mesh-schema), `{ "<type>": { … } }`, in JSON or JSON-B. Members that a reader does not know stay where they are:
 * what is digested, kept and forwarded are the octets that came.
 */
export interface MeshObject<T extends string = string> {
  readonly type: T
  readonly members: JsonObject
  /** As received; offsets of members are into these. */
  readonly octets: Uint8Array
}

/** Of one object, the envelope around it included: a contact with its profile has 5 KB, a message 32 KiB at most. */
export const MAX_OBJECT_OCTETS = 65_536

/**
 * Reads an object that must be of one of these types.
 * @throws GatewayError MESH_OBJECT_INVALID; JSONB_SYNTAX, JSONB_TOO_LARGE, JSONB_TYPE
 */
export function readObject<T extends string>(
  octets: Uint8Array,
  types: readonly T[],
  maxOctets = MAX_OBJECT_OCTETS,
): MeshObject<T> {
  const object = readAnyObject(octets, maxOctets)
  return { ...object, type: typeAmong(object, types) }
}

/** The same of an object of any type, which is the name that it has in its octets. */
export function readAnyObject(octets: Uint8Array, maxOctets = MAX_OBJECT_OCTETS): MeshObject {
  if (octets.length > maxOctets) throw invalid(`object has over ${maxOctets} octets`)
  const [first, ...more] = objectOf(readJson(octets), "object").members
  if (first === undefined || more.length > 0) throw invalid("there is not one object")
  const [type, members] = first
  return { type, members: objectOf(members, type), octets }
}

/** Which of these types an object has. @throws GatewayError MESH_OBJECT_INVALID when none */
export function typeAmong<T extends string>({ type }: MeshObject, types: readonly T[]): T {
  const found = types.find((name) => name === type)
  if (found === undefined) throw invalid(`object is no ${types.join(" or ")}`)
  return found
}

/** A member that has to be there, read by `read`. @throws GatewayError MESH_OBJECT_INVALID without it; JSONB_TYPE as `read` does */
export function requiredMember<T>(object: JsonObject, name: string, read: (value: JsonValue, what: string) => T): T {
  const value = memberOf(object, name, read)
  if (value === null) throw invalid(`${name} is missing`)
  return value
}

/** A point in time as it is written, RFC 3339 in whole seconds of UTC. */
export function writeTime(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`
}

/** Reverses {@link writeTime}; fractions of a second are taken, other zones are not. @throws GatewayError JSONB_TYPE, MESH_OBJECT_INVALID */
export function timeOf(value: JsonValue, what: string): Date {
  const text = textOf(value, what)
  const time = TIME.test(text) ? new Date(text) : null
  if (time === null || Number.isNaN(time.getTime())) throw invalid(`${what} is no time`)
  return time
}

/** @throws GatewayError MESH_OBJECT_INVALID for what is neither true nor false */
export function flagOf(value: JsonValue, what: string): boolean {
  if (value.kind !== "boolean") throw invalid(`${what} is neither true nor false`)
  return value.value
}

/** @returns GatewayError MESH_OBJECT_INVALID */
export function invalid(what: string): GatewayError {
  return new GatewayError("MESH_OBJECT_INVALID", `mesh: ${what}`)
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z$/
