/** Looks at the beginning of a feed, to tell whether a block is all there is behind it. */
export class Beginning {
  /** What the first line is: `name` while it may be the name of a field, `field` when it is, and so a header section begins. */
  #line: "name" | "field" | "other" = "name"
  /** No more than two octets of the line, however long that is: a delimiter line begins with two hyphens. */
  #start = ""
  /** What stands before the next octet of a header section: the end of a line, the CR behind one, or anything else. */
  #before: "text" | "line" | "return" = "text"
  /** Octets before those that are pushed next. */
  #offset = 0
  /** Offset of the body behind the header section; null: not known, or there is none. */
  #body: number | null = null

  push(octets: Uint8Array): void {
    let at = 0
    while (at < octets.length && this.#line === "name") this.#readName(octets[at++] ?? 0)
    if (this.#line === "field" && this.#body === null) this.#findBody(octets, at)
    this.#offset += octets.length
  }

  /** True when a body at this offset begins the feed, or stands right behind a header section that does. */
  isFollowedBy(offset: number): boolean {
    return offset === 0 || offset === this.#body
  }

  #readName(octet: number): void {
    if (octet === COLON) this.#line = "field"
    // RFC 5322 §2.2: a field name has no blanks; a delimiter line or a preamble is no field.
    else if (octet <= SPACE) this.#line = "other"
    else if (this.#start.length < DELIMITER.length) {
      this.#start += String.fromCharCode(octet)
      if (this.#start === DELIMITER) this.#line = "other"
    }
  }

  #findBody(octets: Uint8Array, from: number): void {
    // Locals, since this loop sees every octet of a header section.
    let before = this.#before
    for (let at = from; at < octets.length; at++) {
      const octet = octets[at]
      if (octet !== LF) before = octet === CR && before === "line" ? "return" : "text"
      else if (before === "text") before = "line"
      else {
        this.#body = this.#offset + at + 1
        return
      }
    }
    this.#before = before
  }
}

const DELIMITER = "--"
const LF = 10
const CR = 13
const SPACE = 32
const COLON = 58
