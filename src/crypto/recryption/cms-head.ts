import { GatewayError } from "../../errors.ts"
import { type Element, oid, readElement, TAG } from "../cms/der.ts"
import { type BerElement, berChildren, readBer } from "./ber.ts"
import { type Span, standsAt } from "./patch.ts"
import type { BlockHead, Exchange, HeadReading } from "./recryptor.ts"

/** A thousand recipients take about 200 KiB; so much of a block is held back at most. */
export const MAX_HEAD_OCTETS = 262_144

/**
 * Reads EnvelopedData (RFC 5652 §6.1) or AuthEnvelopedData (RFC 5083 §2.1) up to the end of its RecipientInfos, DER or BER.
 *
 *     ContentInfo { contentType, [0] { SEQUENCE { version, [0] originatorInfo OPTIONAL, SET OF RecipientInfo, ...
 *
 * @throws GatewayError DER_SYNTAX, CMS_MALFORMED: it says it is enveloped data, and is not
 */
export function readCmsHead(octets: Uint8Array): HeadReading {
  const type = contentTypeAt(octets)
  if (type === "none" || type === "more") return type === "none" ? NONE : more(octets.length + 1)
  const explicit = readElement(octets, type.end)
  const enveloped = explicit && expect(explicit, 0xa0) && readElement(octets, explicit.contentStart)
  const version = enveloped && expect(enveloped, TAG.sequence) && readElement(octets, enveloped.contentStart)
  if (!version) return more(octets.length + 1)
  expect(version, TAG.integer)
  return readRecipients(octets, version.end ?? version.contentStart)
}

/** Where the content type ends, when it is one of the two; a cheap answer for what only looks like CMS. */
function contentTypeAt(octets: Uint8Array): "none" | "more" | { readonly end: number } {
  const first = octets[1]
  if (octets[0] !== TAG.sequence) return octets.length === 0 ? "more" : "none"
  if (first === undefined) return "more"
  if (first < 0x80 || first > 0x85) return "none"
  const at = 2 + (first & 0x7f)
  for (const type of CONTENT_TYPES) {
    if (standsAt(octets, at, type)) return { end: at + type.length }
    if (octets.length < at + type.length && standsAt(type, 0, octets.subarray(at))) return "more"
  }
  return "none"
}

function readRecipients(octets: Uint8Array, offset: number): HeadReading {
  let found = readElement(octets, offset)
  if (found?.tag === ORIGINATOR_INFO) {
    const originatorInfo = wholeOrMore(octets, found)
    if (typeof originatorInfo === "number") return more(originatorInfo)
    found = readElement(octets, originatorInfo.end)
  }
  if (found === null) return more(octets.length + 1)
  expect(found, TAG.set)
  const set = wholeOrMore(octets, found)
  return typeof set === "number" ? more(set) : { kind: "head", head: headOf(octets, set) }
}

/** The whole element, or how many octets there must be before it is worth reading again. */
function wholeOrMore(octets: Uint8Array, found: Element): BerElement | number {
  const needed = found.end ?? octets.length + 1
  if (needed > MAX_HEAD_OCTETS)
    throw new GatewayError("CMS_MALFORMED", `cms: recipients take over ${MAX_HEAD_OCTETS} octets`)
  return readBer(octets, found.start, Math.min(octets.length, MAX_HEAD_OCTETS)) ?? needed
}

function headOf(octets: Uint8Array, set: BerElement): BlockHead {
  const exchanges: Exchange[] = []
  const windows: Span[] = []
  for (const info of berChildren(octets, set)) {
    const exchange = exchangeOf(octets, info)
    if (exchange === null) continue
    exchanges.push(exchange)
    if (exchange.point !== null) windows.push(exchange.point, ...exchange.identifiers)
  }
  // Of indefinite length: not told.
  const wholeOctets = readElement(octets, 0)?.end ?? set.end
  return { format: "cms", endOctets: set.end, wholeOctets, exchanges, windows }
}

// RFC 5652 §6.2.2: [1] { version, [0] originator, [1] ukm OPTIONAL, keyEncryptionAlgorithm, recipientEncryptedKeys }
function exchangeOf(octets: Uint8Array, info: BerElement): Exchange | null {
  if (info.tag !== KEY_AGREEMENT) return null
  const fields = berChildren(octets, info)
  const originator = fields[1]
  const keys = fields[fields.length - 1]
  if (fields.length < 3 || originator?.tag !== 0xa0 || keys?.tag !== TAG.sequence) return null
  const identifiers: Span[] = []
  for (const key of berChildren(octets, keys)) {
    const identifier = key.tag === TAG.sequence ? berChildren(octets, key)[0] : undefined
    if (identifier) identifiers.push(identifier)
  }
  return { point: originatorPoint(octets, originator), identifiers }
}

// RFC 5753 §3.1.1: originatorKey [1] { AlgorithmIdentifier id-ecPublicKey, BIT STRING }
function originatorPoint(octets: Uint8Array, originator: BerElement): Span | null {
  const [choice] = berChildren(octets, originator)
  if (choice?.tag !== ORIGINATOR_KEY) return null
  const [algorithm, key] = berChildren(octets, choice)
  if (algorithm?.tag !== TAG.sequence || key?.tag !== TAG.bitString || octets[key.contentStart] !== 0) return null
  if (!isP256(octets, algorithm)) return null
  const length = key.contentEnd - key.contentStart - 1
  return length === 65 || length === 33 ? { start: key.contentStart + 1, end: key.contentEnd } : null
}

/** Parameters may be absent, NULL, or name the curve; all three occur. */
function isP256(octets: Uint8Array, algorithm: BerElement): boolean {
  const [name, parameters] = berChildren(octets, algorithm)
  if (!name || !standsAt(octets, name.start, EC_PUBLIC_KEY)) return false
  return !parameters || parameters.tag === TAG.nil || standsAt(octets, parameters.start, P256)
}

function expect(found: Element, tag: number): true {
  if (found.tag !== tag)
    throw new GatewayError("CMS_MALFORMED", `cms: tag ${found.tag}, not ${tag} at octet ${found.start}`)
  return true
}

function more(octets: number): HeadReading {
  return { kind: "more", octets }
}

const NONE: HeadReading = { kind: "none" }
/** Enveloped and authenticated enveloped data. */
const CONTENT_TYPES = [oid("1.2.840.113549.1.7.3"), oid("1.2.840.113549.1.9.16.1.23")]
const EC_PUBLIC_KEY = oid("1.2.840.10045.2.1")
const P256 = oid("1.2.840.10045.3.1.7")
const ORIGINATOR_INFO = 0xa0
const KEY_AGREEMENT = 0xa1
const ORIGINATOR_KEY = 0xa1
