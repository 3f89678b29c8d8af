import { GatewayError } from "../errors.ts"
import { type Field, parseFields } from "./header.ts"

/** Collects the header section of a message or part (RFC 5322 §2.1) that comes in pieces. */
export class HeaderSection {
  readonly #limitOctets: number
  #held = new Uint8Array(512)
  #size = 0
  /** Octets of the current line, and the last of them. */
  #lineOctets = 0
  #last = 0

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
    for (let start = 0; start < octets.length; ) {
      const lf = octets.indexOf(LF, start)
      const end = lf < 0 ? octets.length : lf + 1
      if (this.#line(octets.subarray(start, end))) return octets.subarray(end)
      start = end
    }
    return null
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

  /** A line or a piece of one; true when it ends the section. */
  #line(octets: Uint8Array): boolean {
    if (this.#size + octets.length > this.#limitOctets)
      throw new GatewayError("HEADER_TOO_LARGE", `header: section over ${this.#limitOctets} octets`)
    this.#keep(octets)
    const last = octets.length > 1 ? octets[octets.length - 2] : this.#last
    this.#lineOctets += octets.length
    this.#last = octets[octets.length - 1] ?? 0
    if (this.#last !== LF) return false
    const empty = this.#lineOctets === 1 || (this.#lineOctets === 2 && last === CR)
    this.#lineOctets = 0
    return empty
  }

  #keep(octets: Uint8Array): void {
    if (this.#size + octets.length > this.#held.length) {
      const larger = new Uint8Array(2 * (this.#size + octets.length))
      larger.set(this.#held.subarray(0, this.#size))
      this.#held = larger
    }
    this.#held.set(octets, this.#size)
    this.#size += octets.length
  }
}

/** True for the transfer encodings that leave the octets as they are (RFC 2045 §6.2). */
export function isIdentity(encoding: string): boolean {
  return /^(?:7bit|8bit|binary)$/i.test(encoding)
}

const LF = 10
const CR = 13
