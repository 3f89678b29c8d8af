import { ARMOR_HEADER, type Encoding } from "./candidate.ts"

/** Where a block may begin. */
export interface Found {
  readonly at: number
  readonly encoding: Encoding
}

/**
 * Looks for places where an encrypted block may begin: the first line of a body (at the beginning of the feed, or behind an empty
 * line), and armor at the beginning of a line. Knows what came before, so octets may come in any pieces.
 */
export class BodySearch {
  #before: Before = "body"

  /** @returns the first place that has not been passed yet, or null: then all octets count as passed */
  find(octets: Uint8Array): Found | null {
    const found = this.#atSeam(octets) ?? within(Buffer.from(octets.buffer, octets.byteOffset, octets.length))
    if (found === null) this.pass(octets)
    return found
  }

  /** Takes note of octets that were given out, and will not be searched again. */
  pass(octets: Uint8Array): void {
    // Four octets tell: an empty line's LF, CR and LF, and what stands before them.
    const start = Math.max(0, octets.length - 4)
    let before = start === 0 ? this.#before : "text"
    for (let at = start; at < octets.length; at++) before = follow(before, octets[at] ?? 0)
    this.#before = before
  }

  /** The first octets, whose context is in the octets before. */
  #atSeam(octets: Uint8Array): Found | null {
    let before = this.#before
    for (let at = 0; at < octets.length && before !== "text"; at++) {
      const encoding = before === "return" ? null : beginning(octets, at, before === "body")
      if (encoding !== null) return { at, encoding }
      before = follow(before, octets[at] ?? 0)
    }
    return null
  }
}

/** What stands before an octet: the beginning of a body, of a line, a CR at the beginning of a line, or anything else. */
type Before = "body" | "line" | "return" | "text"

function follow(before: Before, octet: number): Before {
  if (octet === LF) return before === "text" ? "line" : "body"
  if (octet === CR && (before === "line" || before === "body")) return "return"
  return "text"
}

function within(buffer: Buffer): Found | null {
  let armor = nextArmor(buffer, 0)
  let crlf = buffer.indexOf(EMPTY_CRLF)
  let lf = buffer.indexOf(EMPTY_LF)
  for (;;) {
    const bodies = [crlf < 0 ? -1 : crlf + 3, lf < 0 ? -1 : lf + 2].filter((at) => at >= 0)
    const body = Math.min(...bodies)
    if (armor !== null && armor <= body) return { at: armor, encoding: "armor" }
    if (bodies.length === 0) return partialArmor(buffer)
    const encoding = body < buffer.length ? beginning(buffer, body, true) : null
    if (encoding !== null) return { at: body, encoding }
    if (crlf >= 0 && crlf + 3 === body) crlf = buffer.indexOf(EMPTY_CRLF, crlf + 1)
    else lf = buffer.indexOf(EMPTY_LF, lf + 1)
    if (armor !== null && armor < body) armor = nextArmor(buffer, body)
  }
}

/** An armor header line that the end of the octets cuts in two. */
function partialArmor(buffer: Buffer): Found | null {
  const at = buffer.lastIndexOf(LF) + 1
  if (at === 0 || at === buffer.length || buffer.length - at >= ARMOR_HEADER.length) return null
  return beginning(buffer, at, false) === null ? null : { at, encoding: "armor" }
}

/** The encoding that a block beginning at `at` has, or null when none can begin there. */
function beginning(octets: Uint8Array, at: number, body: boolean): Encoding | null {
  const octet = octets[at] ?? 0
  if (octet === DASH) return isArmorHeader(octets, at) ? "armor" : null
  if (!body) return null
  if (octet === DER_SEQUENCE || OPENPGP_PACKETS.has(octet)) return "binary"
  return BASE64_BEGINNINGS.has(octet) ? "base64" : null
}

/** As far as there are octets. */
function isArmorHeader(octets: Uint8Array, at: number): boolean {
  for (let index = 0; index < ARMOR_HEADER.length && at + index < octets.length; index++)
    if (octets[at + index] !== ARMOR_HEADER[index]) return false
  return true
}

function nextArmor(buffer: Buffer, from: number): number | null {
  for (let at = buffer.indexOf(ARMOR_HEADER, from); at >= 0; at = buffer.indexOf(ARMOR_HEADER, at + 1))
    if (buffer[at - 1] === LF) return at
  return null
}

const LF = 10
const CR = 13
const DASH = 45
const EMPTY_CRLF = Buffer.from("\n\r\n")
const EMPTY_LF = Buffer.from("\n\n")
/** SEQUENCE: ContentInfo in DER or BER. */
const DER_SEQUENCE = 0x30
/** PKESK and SKESK, new and old format (RFC 9580 §4.2). */
const OPENPGP_PACKETS = new Set([0xc1, 0xc3, 0x84, 0x85, 0x86, 0x8c, 0x8d, 0x8e])
/** Base64 of these: M of a SEQUENCE with a long or indefinite length, w, h and j of the packets. */
const BASE64_BEGINNINGS = new Set(Buffer.from("Mwhj"))
