import { GatewayError } from "../errors.ts"
import { type Field, parseFields } from "./header.ts"

/** Collects the header section of a message or part (RFC 5322 §2.1) that comes in pieces. */
export class HeaderSection {
  readonly #limitOctets: number
  #held: Uint8Array = EMPTY
  #size = 0
  /** What stands before the next octet: the beginning of a line, a CR there, or anything else. */
  #before: "line" | "return" | "text" = "line"

  constructor(limitOctets: number) {
    this.#limitOctets = limitOctets
  }

  get size(): number {
    return this.#size
  }

  /** What was taken so far. */
  get octets(): Uint8Array {
    return this.#held.subarray(0, this.#size)
  }

  /**
   * Takes octets up to the empty line that ends the section.
   * @returns what stands behind it; null when it was not met yet
   * @throws GatewayError HEADER_TOO_LARGE
   */
  push(octets: Uint8Array): Uint8Array | null {
    const end = this.#end(octets)
    const taken = end === null ? octets : octets.subarray(0, end)
    if (this.#size + taken.length > this.#limitOctets)
      throw new GatewayError("HEADER_TOO_LARGE", `header: section over ${this.#limitOctets} octets`)
    this.#keep(taken)
    return end === null ? null : octets.subarray(end)
  }

  /**
   * The fields of the section.
   * @throws GatewayError CLEAR_CONTENT when a line is no field: many readers take it for the begin of the body
   */
  fields(): Field[] {
    const fields = parseFields(this.octets)
    if (fields.some((field) => field.name === "")) throw new GatewayError("CLEAR_CONTENT", "header: line is no field")
    return fields
  }

  /** Offset behind the empty line, or null when it is not among these. */
  #end(octets: Uint8Array): number | null {
    let before = this.#before
    for (let at = 0; at < octets.length; at++) {
      const octet = octets[at]
      if (octet !== LF) before = octet === CR && before === "line" ? "return" : "text"
      else if (before === "text") before = "line"
      else return at + 1
    }
    this.#before = before
    return null
  }

  #keep(octets: Uint8Array): void {
    const size = this.#size + octets.length
    if (size > this.#held.length) {
      // Of Node's pool, and most often all that is needed: an array of over 64 octets has memory of its own, to be found and freed.
      const larger = Buffer.allocUnsafe(Math.max(size, 2 * this.#held.length, LEAST_OCTETS))
      larger.set(this.octets)
      this.#held = larger
    }
    this.#held.set(octets, this.#size)
    this.#size = size
  }
}

/** True for the transfer encodings that leave the octets as they are (RFC 2045 §6.2). */
export function isIdentity(encoding: string): boolean {
  return /^(?:7bit|8bit|binary)$/i.test(encoding)
}

const LF = 10
const CR = 13
const EMPTY = new Uint8Array(0)
const LEAST_OCTETS = 512
