import { GatewayError } from "../../errors.ts"
import { MAX_DEPTH } from "./read.ts"
import { type Tag, tagOf } from "./tag.ts"

/**
 * Finds where a value of JSON or JSON-B ends while its octets come in pieces, each looked at once. Only as much is checked as that needs:
 * whether it is a value at all, `readJson` says when it is there.
 */
export class ValueScanner {
  #depth = 0
  #state: "between" | "string" | "escape" | "length" | "content" | "word" = "between"
  /** Octets of a length, or of content, that are still to come. */
  #missing = 0
  #length = 0
  /** The value goes on behind this token: it is the piece of a string or of data, and not the last. */
  #continues = false

  /**
   * @returns how many of the octets belong to the value when it ends among them; null when it goes on
   * @throws GatewayError JSONB_SYNTAX, JSONB_TOO_LARGE
   */
  push(octets: Uint8Array): number | null {
    let at = 0
    while (at < octets.length) {
      const next = this.#step(octets, at)
      if (next.done) return next.at
      at = next.at
    }
    return null
  }

  /** True when the value is complete if nothing follows: a number at the end of the text shows by nothing else. */
  get completeAtEnd(): boolean {
    return this.#state === "word" && this.#depth === 0
  }

  #step(octets: Uint8Array, at: number): { readonly at: number; readonly done: boolean } {
    const octet = octets[at] ?? 0
    switch (this.#state) {
      case "between":
        return this.#begin(octet, at)
      case "string":
        return this.#string(octets, at)
      case "escape":
        this.#state = "string"
        return { at: at + 1, done: false }
      case "length":
        this.#length = this.#length * 256 + octet
        return --this.#missing > 0 ? { at: at + 1, done: false } : this.#enter(this.#length, at + 1)
      case "content": {
        const taken = Math.min(this.#missing, octets.length - at)
        this.#missing -= taken
        return this.#missing > 0 ? { at: at + taken, done: false } : this.#tokenEnds(at + taken)
      }
      case "word":
        return isDelimiter(octet) ? this.#tokenEnds(at) : { at: at + 1, done: false }
    }
    return this.#state satisfies never
  }

  #begin(octet: number, at: number) {
    const tag = tagOf(octet)
    if (tag) return this.#tag(tag, at + 1)
    if (octet >= 0x80) throw new GatewayError("JSONB_SYNTAX", "json: tag is unknown")
    if (octet === 0x7b || octet === 0x5b) {
      if (++this.#depth > MAX_DEPTH + 1) throw new GatewayError("JSONB_TOO_LARGE", "json: too many levels")
    } else if (octet === 0x7d || octet === 0x5d) {
      if (--this.#depth < 0) throw new GatewayError("JSONB_SYNTAX", "json: bracket closes nothing")
      return this.#tokenEnds(at + 1)
    } else if (octet === 0x22) this.#state = "string"
    else if (!isDelimiter(octet)) this.#state = "word"
    return { at: at + 1, done: false }
  }

  #tag(tag: Tag, at: number) {
    this.#continues = (tag.kind === "string" || tag.kind === "data") && !tag.last
    if (!("lengthOctets" in tag)) return this.#enter(tag.contentOctets, at)
    this.#state = "length"
    this.#length = 0
    this.#missing = tag.lengthOctets
    return { at, done: false }
  }

  #enter(contentOctets: number, at: number) {
    this.#missing = contentOctets
    this.#state = "content"
    return contentOctets === 0 ? this.#tokenEnds(at) : { at, done: false }
  }

  #string(octets: Uint8Array, at: number) {
    for (let place = at; place < octets.length; place++) {
      if (octets[place] === 0x22) return this.#tokenEnds(place + 1)
      if (octets[place] !== 0x5c) continue
      this.#state = "escape"
      return { at: place + 1, done: false }
    }
    return { at: octets.length, done: false }
  }

  #tokenEnds(at: number) {
    this.#state = "between"
    const done = this.#depth === 0 && !this.#continues
    return { at, done }
  }
}

/** White space, comma, colon, quote or bracket, or a tag of JSON-B. */
function isDelimiter(octet: number): boolean {
  return octet >= 0x80 || DELIMITERS.has(octet)
}

const DELIMITERS = new Set(Buffer.from(' \t\r\n,:"{}[]', "latin1"))
