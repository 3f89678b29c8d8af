import { GatewayError } from "../errors.ts"
import { type Field, MAX_HEADER_OCTETS, parseFields } from "../mime/header.ts"

/** RFC 5321 §6.3 asks for at least 100 before a message counts as looping. */
export const MAX_RECEIVED_FIELDS = 100

export interface ContentRules {
  readonly maxOctets: number
  /** Looks at the complete header section. @throws GatewayError when the message is refused for it. */
  readonly checkHeader?: (fields: readonly Field[]) => void
}

/** What became of the content of one message, known when the stream has ended. */
export interface ContentVerdict {
  /** Every octet passed; false while reading, after a refusal and when the client went away. */
  complete: boolean
  sizeOctets: number
  /** Why the message is refused, null when nothing speaks against it (so far). */
  refusal: GatewayError | null
}

/**
 * Passes message octets on as they are and throws at the first thing that forbids accepting them, into `verdict` too:
 * a bare CR or LF (LINE_ENDINGS), size (MESSAGE_TOO_LARGE, HEADER_TOO_LARGE), a loop (MAIL_LOOP), or what `checkHeader` throws.
 */
export async function* inspectContent(
  source: AsyncIterable<Uint8Array>,
  rules: ContentRules,
  verdict: ContentVerdict,
): AsyncGenerator<Uint8Array, void, undefined> {
  const lines = new LineEndCheck()
  const header = new HeaderCollector()
  try {
    for await (const octets of source) {
      verdict.sizeOctets += octets.length
      if (verdict.sizeOctets > rules.maxOctets)
        throw new GatewayError("MESSAGE_TOO_LARGE", `smtp: message over ${rules.maxOctets} octets`)
      lines.push(octets)
      const section = header.push(octets)
      if (section) checkSection(section, rules)
      yield octets
    }
    lines.end()
    const section = header.end()
    if (section) checkSection(section, rules)
  } catch (error) {
    if (error instanceof GatewayError) verdict.refusal = error
    throw error
  }
  verdict.complete = true
}

function checkSection(section: Uint8Array, rules: ContentRules): void {
  const fields = parseFields(section)
  const hops = fields.filter((field) => field.name === "received").length
  if (hops > MAX_RECEIVED_FIELDS) throw new GatewayError("MAIL_LOOP", `smtp: ${hops} received fields`)
  rules.checkHeader?.(fields)
}

// RFC 5321 §2.3.8: CR and LF stand only together, as a line end. Two native searches per line: 0.76 GB/s in lines of 76
// octets, 40 GB/s without line ends; a loop over octets does 0.6 GB/s in both.
class LineEndCheck {
  #afterCr = false

  push(octets: Uint8Array): void {
    if (octets.length === 0) return
    let at = 0
    if (this.#afterCr) {
      if (octets[0] !== LF) throw bare("CR")
      at = 1
    }
    for (;;) {
      const lf = octets.indexOf(LF, at)
      const cr = octets.indexOf(CR, at)
      if (lf < 0) {
        if (cr >= 0 && cr !== octets.length - 1) throw bare("CR")
        this.#afterCr = cr >= 0
        return
      }
      if (cr < 0 || cr > lf) throw bare("LF")
      if (cr !== lf - 1) throw bare("CR")
      at = lf + 1
    }
  }

  end(): void {
    if (this.#afterCr) throw bare("CR")
  }
}

/** Holds octets until the empty line; each octet is searched once, however the peer cuts its segments. */
export class HeaderCollector {
  #held: Buffer = Buffer.alloc(0)
  #length = 0
  #done = false

  /** The header section with its empty line, once; null before and after. */
  push(octets: Uint8Array): Uint8Array | null {
    if (this.#done) return null
    const from = Math.max(0, this.#length - (EMPTY_LINE.length - 1))
    this.#append(octets)
    const end = this.#end(from)
    if (end > MAX_HEADER_OCTETS || (end < 0 && this.#length > MAX_HEADER_OCTETS))
      throw new GatewayError("HEADER_TOO_LARGE", `smtp: header section over ${MAX_HEADER_OCTETS} octets`)
    return end < 0 ? null : this.#take(end)
  }

  /** A message that ends within its header section is all header. */
  end(): Uint8Array | null {
    return this.#done ? null : this.#take(this.#length)
  }

  #end(from: number): number {
    if (this.#length >= 2 && this.#held[0] === CR && this.#held[1] === LF) return 2
    const at = this.#held.subarray(0, this.#length).indexOf(EMPTY_LINE, from)
    return at < 0 ? -1 : at + EMPTY_LINE.length
  }

  #append(octets: Uint8Array): void {
    const length = this.#length + octets.length
    if (this.#length === 0) {
      // Most headers come whole in the first segment: no copy.
      this.#held = Buffer.from(octets.buffer, octets.byteOffset, octets.length)
    } else {
      if (length > this.#held.length) this.#held = this.#grown(length)
      this.#held.set(octets, this.#length)
    }
    this.#length = length
  }

  #grown(length: number): Buffer {
    const grown = Buffer.allocUnsafe(Math.max(length, 2 * this.#held.length))
    this.#held.copy(grown, 0, 0, this.#length)
    return grown
  }

  #take(end: number): Uint8Array {
    const section = this.#held.subarray(0, end)
    this.#done = true
    this.#held = Buffer.alloc(0)
    return section
  }
}

function bare(what: "CR" | "LF"): GatewayError {
  return new GatewayError("LINE_ENDINGS", `smtp: bare ${what} in the message`)
}

const CR = 13
const LF = 10
const EMPTY_LINE = Buffer.from("\r\n\r\n")
