import { hasCode } from "../../errors.ts"
import { Base64Text, textEnd, textPatches, textRuns } from "./base64-text.ts"
import { readCmsHead } from "./cms-head.ts"
import { readOpenPgpHead } from "./openpgp-head.ts"
import { applyPatches, inOrder, type Patch, type Span } from "./patch.ts"
import type { BlockHead, BlockPatching, HeadReading } from "./recryptor.ts"

/** How a block is written into the message. */
export type Encoding = "binary" | "base64" | "armor"

/** What a candidate turned out to be. Offsets count from its first octet. */
export type Verdict =
  /** Not decided: more octets are needed. */
  | { readonly kind: "more" }
  /** No encrypted block, or one that cannot be read; in so many octets no other is looked for. */
  | { readonly kind: "none" | "malformed"; readonly passedOctets: number }
  | {
      readonly kind: "block"
      /** As counted: ours, for somebody else, or ours and not to be recrypted. Only the first has patches. */
      readonly outcome: "patched" | "foreign" | "malformed"
      readonly patches: readonly Patch[]
      readonly windows: readonly Span[]
      /** Octets of the candidate that the head takes. */
      readonly endOctets: number
      /** At least so many behind the head belong to the block. */
      readonly restOctets: number
      /** OpenPGP in text may have a CRC, which must learn the decoded head, old xor new; null: there can be none. */
      readonly delta: Uint8Array | null
    }

/** Octets that are held back at most: the largest head in base64, with room for line ends and blanks. {@link FIRST_OCTETS}, doubled. */
export const MAX_HELD_OCTETS = 524_288
/** Armor header fields are few and short. */
const MAX_ARMOR_HEADER_OCTETS = 8_192

/**
 * What may be the beginning of an encrypted block, held until that is known. It is judged when certain numbers of octets are there, or
 * the feed has ended: so the verdict is the same whatever pieces they come in.
 */
export class Candidate {
  readonly encoding: Encoding
  readonly #patching: BlockPatching
  readonly #text = new Base64Text()
  #held: Uint8Array = EMPTY
  #length = 0
  /** Where the base64 text begins; null while an armor's header is not complete. */
  #textStart: number | null
  #neededOctets = 0
  #wantedOctets = FIRST_OCTETS

  constructor(encoding: Encoding, patching: BlockPatching) {
    this.encoding = encoding
    this.#patching = patching
    this.#textStart = encoding === "armor" ? null : 0
  }

  /** All octets pushed so far. */
  get held(): Uint8Array {
    return this.#held.subarray(0, this.#length)
  }

  /** So many octets are waited for before the next judgement. */
  get missingOctets(): number {
    return this.#wantedOctets - this.#length
  }

  /** `octets`: no more than are missing; `ended`: nothing follows. */
  push(octets: Uint8Array, ended: boolean): Verdict {
    const from = this.#length
    this.#append(octets)
    const verdict = this.#read(from, ended)
    if (verdict.kind !== "more") return verdict
    if (ended || this.#length === MAX_HELD_OCTETS) return this.#broken()
    // Most candidates are none, and show it at once; the head of a block is short.
    if (this.missingOctets === 0) this.#wantedOctets *= 2
    return verdict
  }

  #read(from: number, ended: boolean): Verdict {
    let start = from
    if (this.#textStart === null) {
      const armorBody = armorBodyStart(this.held)
      if (armorBody === "more") return MORE
      if (armorBody === "none") return NONE
      this.#textStart = start = armorBody
    }
    if (this.encoding !== "binary") this.#text.push(this.#held.subarray(start, this.#length))
    const decoded = this.#decoded()
    const complete = ended || (this.encoding !== "binary" && this.#text.ended)
    if (!complete && (decoded.length < this.#neededOctets || this.missingOctets > 0)) return MORE
    return this.#judge(decoded, complete)
  }

  #judge(decoded: Uint8Array, complete: boolean): Verdict {
    const reading = this.#readHead(decoded)
    if (reading.kind === "none") return NONE
    if (reading.kind === "broken") return this.#broken()
    if (reading.kind === "head") return this.#block(decoded, reading.head)
    // An indefinite length gives no hint: then it is read again when there is an eighth more, so that the work stays linear.
    this.#neededOctets = Math.max(reading.octets, decoded.length + (decoded.length >> 3))
    return complete ? this.#broken() : MORE
  }

  #readHead(decoded: Uint8Array): HeadReading | { readonly kind: "broken" } {
    const first = decoded[0]
    if (first === undefined) return { kind: "more", octets: 1 }
    try {
      if (first === DER_SEQUENCE && this.encoding !== "armor") return readCmsHead(decoded)
      return first >= 0x80 ? readOpenPgpHead(decoded) : { kind: "none" }
    } catch (error) {
      if (!isMalformed(error)) throw error
      return { kind: "broken" }
    }
  }

  #block(decoded: Uint8Array, head: BlockHead): Verdict {
    const octets = decoded.subarray(0, head.endOctets)
    const { outcome, patches } = this.#changesOf(octets, head)
    const patched = applyPatches(patches, 0, octets)
    const { endOctets, wholeOctets, windows } = head
    if (this.encoding === "binary")
      return { kind: "block", outcome, patches, windows, endOctets, restOctets: wholeOctets - endOctets, delta: null }
    const from = this.#textStart ?? 0
    const end = textEnd(this.held, from, endOctets)
    const text = this.held.subarray(0, end)
    const changed = patches.map(({ offset, octets: { length } }) => ({ start: offset, end: offset + length }))
    return {
      kind: "block",
      outcome,
      patches: textPatches(textRuns(text, from, changed), patched),
      windows: textRuns(text, from, windows),
      endOctets: end,
      // Four characters for three octets; line ends come on top.
      restOctets: 4 * (Math.floor(wholeOctets / 3) - Math.floor(endOctets / 3)),
      delta: head.format === "openpgp" ? difference(octets, patched) : null,
    }
  }

  /** Whether a block can be recrypted does not decide whether it is one: it has its windows for everybody. */
  #changesOf(block: Uint8Array, head: BlockHead): Pick<Verdict & { kind: "block" }, "outcome" | "patches"> {
    try {
      const patches = inOrder(this.#patching(block, head))
      return { outcome: patches.length > 0 ? "patched" : "foreign", patches }
    } catch (error) {
      if (!isMalformed(error)) throw error
      return { outcome: "malformed", patches: [] }
    }
  }

  /**
   * It begins like a block, and breaks off. Text ends where it is cut off. A binary block goes on into whatever stands behind it, and were
   * another block found there, the patches in that one would decide what this one is read as: so nothing is, as far as was looked.
   */
  #broken(): Verdict {
    const kind = this.#looksEncrypted() ? "malformed" : "none"
    if (this.encoding === "binary") return { kind, passedOctets: this.#length }
    return kind === "none" ? NONE : { kind, passedOctets: (this.#textStart ?? 0) + 1 }
  }

  /** True when what is there can hardly be anything but an encrypted block that was cut off or damaged. */
  #looksEncrypted(): boolean {
    const decoded = this.#decoded()
    return decoded.length >= MIN_RECOGNISED_OCTETS && (this.encoding === "armor" || decoded[0] === DER_SEQUENCE)
  }

  #decoded(): Uint8Array {
    return this.encoding === "binary" ? this.held : this.#text.decoded
  }

  #append(octets: Uint8Array): void {
    if (this.#length + octets.length > this.#held.length) {
      // Of Node's pool: an array of over 64 octets has memory of its own, to be found and freed.
      const grown = Buffer.allocUnsafe(Math.max(2 * (this.#length + octets.length), LEAST_OCTETS))
      grown.set(this.held)
      this.#held = grown
    }
    this.#held.set(octets, this.#length)
    this.#length += octets.length
  }
}

/**
 * RFC 9580 §6.2: the armor header line, armor header fields, an empty line. Blanks may trail on every line.
 * @returns offset of the base64 text
 */
function armorBodyStart(text: Uint8Array): number | "more" | "none" {
  const held = Buffer.from(text.buffer, text.byteOffset, Math.min(text.length, MAX_ARMOR_HEADER_OCTETS))
  if (!ARMOR_HEADER.subarray(0, held.length).equals(held.subarray(0, ARMOR_HEADER.length))) return "none"
  for (let start = 0, end = held.indexOf(LF); end >= 0; start = end + 1, end = held.indexOf(LF, start)) {
    const line = held.toString("latin1", start, end).trimEnd()
    if (start === 0 && line.length > ARMOR_HEADER.length) return "none"
    if (start > 0 && line === "") return end + 1
    if (start > 0 && !/^[\x21-\x39\x3b-\x7e]+:( |$)/.test(line)) return "none"
  }
  return held.length === MAX_ARMOR_HEADER_OCTETS ? "none" : "more"
}

function difference(old: Uint8Array, changed: Uint8Array): Uint8Array {
  const delta = new Uint8Array(old.length)
  for (let at = 0; at < old.length; at++) delta[at] = (old[at] ?? 0) ^ (changed[at] ?? 0)
  return delta
}

function isMalformed(error: unknown): boolean {
  return MALFORMED.some((code) => hasCode(error, code))
}

/** The line that begins an armored message; multi-part armor has another and is not read. */
export const ARMOR_HEADER: Buffer = Buffer.from("-----BEGIN PGP MESSAGE-----")
const MORE: Verdict = { kind: "more" }
/** At least one octet is passed, or the same place would be found again for ever. */
const NONE: Verdict = { kind: "none", passedOctets: 1 }
const EMPTY = new Uint8Array(0)
/** Enough to tell a block's first lines from text. */
const FIRST_OCTETS = 256
/** The head of a message for one recipient, in base64. */
const LEAST_OCTETS = 1_024
const LF = 10
const DER_SEQUENCE = 0x30
/** Content type of CMS, or header, version and key id of a session key packet. Words that decode to a packet header are no rarity, so only armor says OpenPGP. */
const MIN_RECOGNISED_OCTETS = 24
const MALFORMED = ["DER_SYNTAX", "CMS_MALFORMED", "OPENPGP_MALFORMED", "POINT_INVALID"] as const
