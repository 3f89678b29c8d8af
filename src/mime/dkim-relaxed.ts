import type { Digest } from "../crypto/primitives/hash.ts"

/**
 * A header field in the relaxed canonical form (RFC 6376 §3.4.2): name in lower case, unfolded, runs of blanks as one space, none around
 * the colon and at the end. Its line end is CRLF, or left out.
 */
export function relaxedField(field: Uint8Array, lineEnd: "\r\n" | ""): Uint8Array {
  const text = Buffer.from(field).toString("latin1").replace(/\r?\n/g, "")
  const colon = text.indexOf(":")
  // Only A to Z: what stands above 127 is an octet of UTF-8 here, and toLowerCase knows it as a letter.
  const name = text
    .slice(0, colon)
    .replace(/[ \t]+$/, "")
    .replace(/[A-Z]/g, (letter) => letter.toLowerCase())
  const value = text
    .slice(colon + 1)
    .replace(/[ \t]+/g, " ")
    .replace(/^ | $/g, "")
  return Buffer.from(`${name}:${value}${lineEnd}`, "latin1")
}

/**
 * The relaxed canonical form of a body (RFC 6376 §3.4.4), in pieces into a digest: blanks at the end of lines left out, runs of them one
 * space, no empty lines at the end, CRLF at the end of anything. Holds no octets, however long a line is.
 */
export class RelaxedBody {
  readonly #digest: Digest
  /** Blanks came last. */
  #blank = false
  /** CR came last. */
  #cr = false
  /** Line ends since the last octet that was given on; those at the end of the body are not. */
  #lineEnds = 0
  #empty = true
  #scratch = Buffer.alloc(0)

  constructor(digest: Digest) {
    this.#digest = digest
  }

  push(octets: Uint8Array): void {
    if (octets.length === 0) return
    // Most text is in its canonical form but for the end, which native searches find out: 10 MB take 35 ms (base64 8), octet by octet 100.
    if (!this.#blank && !this.#cr && !hasBlanksToChange(octets)) this.#plain(octets)
    else this.#any(octets)
  }

  /** The digest over the whole. An empty body has none of the canonical octets. */
  end(): Uint8Array {
    // A CR without LF is no line end. Nothing that is accepted has one.
    if (this.#cr) this.#give(CR_ALONE)
    if (!this.#empty) this.#digest.update(CRLF)
    return this.#digest.digest()
  }

  #plain(octets: Uint8Array): void {
    let end = octets.length
    this.#cr = octets[end - 1] === CR
    if (this.#cr) end--
    const beforeCr = end
    while (end >= 2 && octets[end - 2] === CR && octets[end - 1] === LF) end -= 2
    if (end > 0) this.#give(octets.subarray(0, end))
    this.#lineEnds += (beforeCr - end) / 2
  }

  #any(octets: Uint8Array): void {
    // A CR and a blank of the piece before may come on top.
    if (this.#scratch.length < octets.length + 2) this.#scratch = Buffer.allocUnsafe(octets.length + 2)
    const canonical = this.#scratch
    let [length, cr, blank, lineEnds] = [0, this.#cr, this.#blank, 0]
    for (let at = 0; at < octets.length; at++) {
      const octet = octets[at] ?? 0
      if (cr && octet === LF) {
        cr = blank = false
        lineEnds++
      } else if (octet === CR && !cr) cr = true
      else if ((octet === SPACE || octet === TAB) && !cr) blank = true
      else {
        // Those of earlier pieces may be more than there is room for; those of this one are not.
        if (length === 0) this.#giveLineEnds()
        for (; lineEnds > 0; lineEnds--) {
          canonical[length++] = CR
          canonical[length++] = LF
        }
        if (blank) canonical[length++] = SPACE
        if (cr) canonical[length++] = CR
        cr = octet === CR
        blank = octet === SPACE || octet === TAB
        if (!cr && !blank) canonical[length++] = octet
      }
    }
    if (length > 0) this.#digest.update(canonical.subarray(0, length))
    this.#empty &&= length === 0
    this.#cr = cr
    this.#blank = blank
    this.#lineEnds += lineEnds
  }

  #give(octets: Uint8Array): void {
    this.#giveLineEnds()
    this.#digest.update(octets)
    this.#empty = false
  }

  #giveLineEnds(): void {
    for (; this.#lineEnds > 0; this.#lineEnds -= Math.min(this.#lineEnds, SOME_LINE_ENDS.length / 2))
      this.#digest.update(SOME_LINE_ENDS.subarray(0, 2 * this.#lineEnds))
  }
}

/** A tab, two blanks side by side, or one at the end of a line or of the piece. */
function hasBlanksToChange(octets: Uint8Array): boolean {
  if (octets[octets.length - 1] === SPACE || octets.includes(TAB)) return true
  const text = Buffer.from(octets.buffer, octets.byteOffset, octets.length)
  return text.includes("  ", 0, "latin1") || text.includes(" \r", 0, "latin1")
}

const SPACE = 32
const TAB = 9
const CR = 13
const LF = 10
const CRLF = Buffer.from("\r\n")
const CR_ALONE = Buffer.from("\r")
/** Empty lines of one update; a body may be nothing else up to its last octet. */
const SOME_LINE_ENDS = Buffer.from("\r\n".repeat(1_024))
