import { GatewayError } from "../../errors.ts"
import { joined } from "../primitives/joined.ts"
import { base64UrlEncode } from "./base64url.ts"
import { FIRST_TAG, LENGTH_OCTETS } from "./tag.ts"

/** What is written. A member that is undefined is left out. */
export type Writable =
  | Verbatim
  | string
  | number
  | bigint
  | boolean
  | null
  | Uint8Array
  | readonly Writable[]
  | { readonly [name: string]: Writable | undefined }

/** An object or an array that is there already, and has to stay as it is since somebody has signed it. JSON takes JSON only, JSON-B takes both. */
export interface Verbatim {
  readonly [VERBATIM]: Uint8Array
}

export function verbatim(octets: Uint8Array): Verbatim {
  return { [VERBATIM]: octets }
}

/** JSON (RFC 8259) in UTF-8, without white space; binary is base64url. Numbers that are not finite are null. */
export function writeJson(value: Writable): Uint8Array {
  return new TextEncoder().encode(jsonText(value))
}

/** JSON-B (draft-hallambaker-jsonbcd-21): strings, numbers and binary under their tags, each in one piece. */
export function writeJsonB(value: Writable): Uint8Array {
  const pieces: Piece[] = []
  binary(value, pieces)
  return joined(pieces)
}

/** What stands before so many octets of data: a piece, or the last one. */
export function dataHead(sizeOctets: number, last: boolean): Uint8Array {
  return head(last ? FIRST_TAG.lastData : FIRST_TAG.data, sizeOctets)
}

function jsonText(value: Writable): string {
  if (value instanceof Uint8Array) return JSON.stringify(base64UrlEncode(value))
  if (typeof value === "bigint") return value.toString()
  if (value === null || typeof value !== "object") return JSON.stringify(value)
  if (isVerbatim(value)) return UTF8.decode(value[VERBATIM])
  if (isList(value)) return `[${value.map(jsonText).join(",")}]`
  return `{${membersOf(value)
    .map(([name, member]) => `${JSON.stringify(name)}:${jsonText(member)}`)
    .join(",")}}`
}

/** Octets, or text that is written where it belongs at once. */
type Piece = Uint8Array | string

function binary(value: Writable, into: Piece[]): void {
  if (value instanceof Uint8Array) into.push(dataHead(value.length, true), value)
  else if (typeof value === "string") text(value, into)
  else if (typeof value === "bigint") into.push(integer(value))
  else if (typeof value === "number") into.push(Number.isSafeInteger(value) ? integer(BigInt(value)) : real(value))
  else if (value === null) into.push(Uint8Array.of(0xb2))
  else if (typeof value === "boolean") into.push(Uint8Array.of(value ? 0xb0 : 0xb1))
  else if (isVerbatim(value)) into.push(value[VERBATIM])
  else if (isList(value)) list(value, into)
  else object(value, into)
}

/** Behind a value of JSON-B no comma stands, behind an object or array one does. */
function list(items: readonly Writable[], into: Piece[]): void {
  into.push(Uint8Array.of(0x5b))
  items.forEach((item, index) => {
    if (index > 0 && isNested(items[index - 1])) into.push(COMMA)
    binary(item, into)
  })
  into.push(Uint8Array.of(0x5d))
}

function object(value: { readonly [name: string]: Writable | undefined }, into: Piece[]): void {
  into.push(Uint8Array.of(0x7b))
  const members = membersOf(value)
  members.forEach(([name, member], index) => {
    if (index > 0 && isNested(members[index - 1]?.[1])) into.push(COMMA)
    text(name, into)
    binary(member, into)
  })
  into.push(Uint8Array.of(0x7d))
}

function text(value: string, into: Piece[]): void {
  into.push(head(FIRST_TAG.lastString, Buffer.byteLength(value)), value)
}

function integer(value: bigint): Uint8Array {
  const magnitude = value < 0n ? -value : value
  const digits = magnitude.toString(16)
  const octets = Buffer.from(digits.padStart(digits.length + (digits.length % 2), "0"), "hex")
  const size = LENGTH_OCTETS.findIndex((width) => octets.length <= width)
  const sign = value < 0n ? 8 : 0
  if (octets.length > 0xffff) throw new GatewayError("JSONB_TOO_LARGE", "json: integer has over 65535 octets")
  if (size < 0) return Buffer.concat([Uint8Array.of(0xa7 | sign, octets.length >> 8, octets.length & 255), octets])
  const padding = new Uint8Array((LENGTH_OCTETS[size] ?? 0) - octets.length)
  return Buffer.concat([Uint8Array.of((0xa0 + size) | sign), padding, octets])
}

function real(value: number): Uint8Array {
  const octets = new DataView(new ArrayBuffer(9))
  octets.setUint8(0, 0x92)
  octets.setFloat64(1, value)
  return new Uint8Array(octets.buffer)
}

function head(tag: number, sizeOctets: number): Uint8Array {
  const size = LENGTH_OCTETS.findIndex((width) => sizeOctets < 2 ** (8 * width))
  const octets = new Uint8Array(1 + (LENGTH_OCTETS[size] ?? 8))
  octets[0] = tag + size
  for (let at = octets.length - 1, rest = sizeOctets; at > 0; at--, rest = Math.floor(rest / 256))
    octets[at] = rest % 256
  return octets
}

function membersOf(value: { readonly [name: string]: Writable | undefined }): [string, Writable][] {
  return Object.entries(value).flatMap(([name, member]) => (member === undefined ? [] : [[name, member]]))
}

function isList(value: Writable): value is readonly Writable[] {
  return Array.isArray(value)
}

function isVerbatim(value: object): value is Verbatim {
  return VERBATIM in value
}

function isNested(value: Writable | undefined): boolean {
  return typeof value === "object" && value !== null && !(value instanceof Uint8Array)
}

const VERBATIM: unique symbol = Symbol("verbatim")
/** JSON-B is no UTF-8, and throws: what would come out is not what was signed. */
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const COMMA = Uint8Array.of(0x2c)
