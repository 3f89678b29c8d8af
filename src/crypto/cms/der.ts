import { GatewayError } from "../../errors.ts"

/** Identifier octets (X.690 §8.1.2) of the types used here, constructed bit included. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  nil: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  bmpString: 0x1e,
  sequence: 0x30,
  set: 0x31,
} as const

/** Where one element stands (X.690 §8.1). Offsets count from the first octet of what was read. */
export interface Element {
  /** The identifier octet; high tag numbers are refused, nothing in CMS or X.509 has them. */
  readonly tag: number
  readonly start: number
  readonly headerLength: number
  readonly contentStart: number
  /** Offset behind the content; null for the indefinite form (X.690 §8.1.3.6), whose end is marked by {@link isEndOfContents}. */
  readonly end: number | null
}

/** An element of definite length that stands wholly in the octets it was read from. */
export interface WholeElement extends Element {
  readonly end: number
}

/**
 * Reads the header of the element at `offset`: BER, so non-minimal and indefinite lengths are taken. The content need not be there yet.
 * @returns null when the octets end before the header does
 * @throws GatewayError DER_SYNTAX for a high tag number, a length over 2^40, or an indefinite length on a primitive element
 */
export function readElement(octets: Uint8Array, offset: number): Element | null {
  const tag = octets[offset]
  const first = octets[offset + 1]
  if (tag === undefined) return null
  if ((tag & 0x1f) === 0x1f) throw syntax("high tag number", offset)
  if (first === undefined) return null
  if (first < 0x80) return element(tag, offset, 2, first)
  if (first === 0x80) {
    if ((tag & 0x20) === 0) throw syntax("indefinite length on a primitive element", offset)
    return { tag, start: offset, headerLength: 2, contentStart: offset + 2, end: null }
  }
  const lengthOctets = first & 0x7f
  if (lengthOctets > MAX_LENGTH_OCTETS) throw syntax("length has too many octets", offset)
  if (offset + 2 + lengthOctets > octets.length) return null
  let length = 0
  for (let at = 0; at < lengthOctets; at++) length = length * 256 + (octets[offset + 2 + at] ?? 0)
  return element(tag, offset, 2 + lengthOctets, length)
}

/** True when the two zero octets that end an indefinite length stand at `offset` (X.690 §8.1.5). */
export function isEndOfContents(octets: Uint8Array, offset: number): boolean {
  return octets[offset] === 0 && octets[offset + 1] === 0
}

/**
 * Reads an element that must be definite, end at or before `limit`, and have the tag when one is given.
 * @throws GatewayError DER_SYNTAX
 */
export function readWhole(octets: Uint8Array, offset: number, limit: number, tag?: number): WholeElement {
  const found = offset < limit ? readElement(octets, offset) : null
  if (found === null) throw syntax("element is missing", offset)
  const { end } = found
  if (end === null) throw syntax("indefinite length", offset)
  if (end > limit || end > octets.length) throw syntax("element is cut off", offset)
  if (tag !== undefined && found.tag !== tag) throw syntax(`tag ${found.tag}, not ${tag}`, offset)
  return { ...found, end }
}

/**
 * The elements inside a constructed element, one level deep.
 * @throws GatewayError DER_SYNTAX when they do not fill it exactly
 */
export function childrenOf(octets: Uint8Array, parent: WholeElement): WholeElement[] {
  const children: WholeElement[] = []
  for (let at = parent.contentStart; at < parent.end; ) {
    const child = readWhole(octets, at, parent.end)
    children.push(child)
    at = child.end
  }
  return children
}

/** The content octets of an element; a view, no copy. */
export function contentOf(octets: Uint8Array, found: WholeElement): Uint8Array {
  return octets.subarray(found.contentStart, found.end)
}

/** The element with its header; a view, no copy. */
export function octetsOf(octets: Uint8Array, found: WholeElement): Uint8Array {
  return octets.subarray(found.start, found.end)
}

/** Such as the name of an algorithm, to be compared. */
export function hex(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString("hex")
}

/** Octets of header and content of a DER element with `contentOctets` octets of content. */
export function elementSize(contentOctets: number): number {
  return headerSize(contentOctets) + contentOctets
}

/** Octets of the DER header before `contentOctets` octets of content. */
export function headerSize(contentOctets: number): number {
  let size = 2
  if (contentOctets >= 0x80) for (let rest = contentOctets; rest > 0; rest = Math.floor(rest / 256)) size++
  return size
}

/** Identifier and definite, minimal length (X.690 §10.1) for content that follows by other means. */
export function header(tag: number, contentOctets: number): Uint8Array {
  const size = headerSize(contentOctets)
  const octets = new Uint8Array(size)
  octets[0] = tag
  octets[1] = size === 2 ? contentOctets : 0x80 | (size - 2)
  for (let at = size - 1, rest = contentOctets; at >= 2; at--, rest = Math.floor(rest / 256)) octets[at] = rest % 256
  return octets
}

/** One element around parts that are written already. */
export function tagged(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0
  for (const part of parts) length += part.length
  return Buffer.concat([header(tag, length), ...parts])
}

export function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return tagged(TAG.sequence, ...parts)
}

/** SET OF, its elements in ascending order of their encodings (X.690 §11.6). */
export function setOf(...parts: readonly Uint8Array[]): Uint8Array {
  return tagged(TAG.set, ...parts.toSorted((a, b) => Buffer.compare(a, b)))
}

/** `[number]` EXPLICIT, or any constructed context-specific element. */
export function explicit(number: number, ...parts: readonly Uint8Array[]): Uint8Array {
  return tagged(0xa0 | number, ...parts)
}

/** `[number]` IMPLICIT of a primitive type. */
export function implicit(number: number, content: Uint8Array): Uint8Array {
  return tagged(0x80 | number, content)
}

/** INTEGER of a number from 0 to 2^53-1, or of the big-endian octets of an unsigned one (leading zeros are taken off). */
export function integer(value: number | Uint8Array): Uint8Array {
  let octets = typeof value === "number" ? bigEndian(value) : value
  while (octets.length > 1 && octets[0] === 0) octets = octets.subarray(1)
  // X.690 §8.3: two's complement, so an unsigned number with its top bit set needs an octet before it.
  const negative = octets.length === 0 || (octets[0] ?? 0) >= 0x80
  return negative ? tagged(TAG.integer, ZERO_OCTET, octets) : tagged(TAG.integer, octets)
}

/** OBJECT IDENTIFIER from its dotted form, such as "1.2.840.113549.1.7.3". */
export function oid(dotted: string): Uint8Array {
  const arcs = dotted.split(".").map(Number)
  const [first = 0, second = 0, ...rest] = arcs
  const octets = [first * 40 + second, ...rest].flatMap(base128)
  return tagged(TAG.oid, Uint8Array.from(octets))
}

export function octetString(content: Uint8Array): Uint8Array {
  return tagged(TAG.octetString, content)
}

/** BIT STRING of whole octets. */
export function bitString(content: Uint8Array): Uint8Array {
  return tagged(TAG.bitString, ZERO_OCTET, content)
}

/** BIT STRING of named bits (X.690 §11.2.2: no trailing zero bits); `bits` are bit numbers from 0, the most significant of the first octet. */
export function namedBits(bits: readonly number[]): Uint8Array {
  const last = Math.max(...bits)
  const octets = new Uint8Array(Math.floor(last / 8) + 2)
  octets[0] = 7 - (last % 8)
  for (const bit of bits) {
    const at = Math.floor(bit / 8) + 1
    octets[at] = (octets[at] ?? 0) | (0x80 >> (bit % 8))
  }
  return tagged(TAG.bitString, octets)
}

/** BOOLEAN TRUE; FALSE is the default wherever we write one, and is left out. */
export function booleanTrue(): Uint8Array {
  return Uint8Array.of(TAG.boolean, 1, 0xff)
}

export function nil(): Uint8Array {
  return Uint8Array.of(TAG.nil, 0)
}

export function utf8String(text: string): Uint8Array {
  return tagged(TAG.utf8String, new TextEncoder().encode(text))
}

/** BMPString (UTF-16, big-endian, no terminating zero). */
export function bmpString(text: string): Uint8Array {
  return tagged(TAG.bmpString, Buffer.from(text, "utf16le").swap16())
}

/** UTCTime up to 2049, GeneralizedTime from 2050 on (RFC 5280 §4.1.2.5); fractions of a second are dropped. */
export function time(date: Date): Uint8Array {
  const digits = date
    .toISOString()
    .replace(/\.\d+Z$/, "Z")
    .replace(/[-:T]/g, "")
  const year = date.getUTCFullYear()
  const utc = year >= 1950 && year < 2050
  return utc
    ? tagged(TAG.utcTime, Buffer.from(digits.slice(2), "latin1"))
    : tagged(TAG.generalizedTime, Buffer.from(digits, "latin1"))
}

function element(tag: number, start: number, headerLength: number, length: number): Element {
  const contentStart = start + headerLength
  return { tag, start, headerLength, contentStart, end: contentStart + length }
}

function bigEndian(number: number): Uint8Array {
  const hex = number.toString(16)
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex")
}

/** X.690 §8.19.2: seven bits an octet, the top bit set on all but the last. */
function base128(arc: number): number[] {
  const octets = [arc % 128]
  for (let rest = Math.floor(arc / 128); rest > 0; rest = Math.floor(rest / 128)) octets.unshift(0x80 | (rest % 128))
  return octets
}

function syntax(what: string, offset: number): GatewayError {
  return new GatewayError("DER_SYNTAX", `der: ${what} at octet ${offset}`)
}

/** Lengths up to 2^40: more than any message, and exact in a number. */
const MAX_LENGTH_OCTETS = 5
const ZERO_OCTET = Uint8Array.of(0)
