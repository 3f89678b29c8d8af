import { GatewayError } from "../errors.ts"
import { HeaderSection } from "./classify-header.ts"
import { LineCutter, type LineSink } from "./classify-lines.ts"
import { Multipart, type Part } from "./classify-parts.ts"
import { firstNotBlank, type Recogniser } from "./classify-recogniser.ts"
import { type EntityHeader, parseEntityHeader } from "./structure-header.ts"

/** Headers of all inner parts; what is encrypted as PGP/MIME has below 500. */
export const MAX_PART_HEADERS_OCTETS = 4096

/** Text before the first and behind the last boundaries, as "This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)". */
export const MAX_LOOSE_OCTETS = 256

/** An encrypted message, and the parts that Exchange and mailing lists put beside it. */
export const MAX_CLASSIFIED_PARTS = 16

/** The body of a multipart entity that may be one of the encrypted forms; see {@link Multipart} for what these are. */
export class MultipartBody implements Recogniser, LineSink {
  readonly #lines = new LineCutter(this)
  /** The outermost first; a mailing list puts one around the other. */
  readonly #open: Multipart[]
  #header: HeaderSection | null = null
  #part: Part | null = null
  #parts = 0
  #headerOctets = 0
  #looseOctets = 0
  found: "smime" | "openpgp" | null = null

  constructor(entity: EntityHeader, fromList: boolean) {
    this.#open = [new Multipart(entity, fromList)]
  }

  push(octets: Uint8Array): void {
    this.#lines.push(octets)
  }

  end(): void {
    this.#lines.end()
    if (this.#open.some((multipart) => !multipart.closed)) throw clear("last boundary is missing")
  }

  octets(octets: Uint8Array): void {
    if (this.#header !== null) {
      const rest = this.#header.push(octets)
      if (rest === null) return
      this.#startPart(this.#header)
      this.octets(rest)
    } else if (this.#part !== null) {
      this.#part.body.push(octets)
      this.found ??= this.#part.body.found
    } else this.#loose(octets)
  }

  dashes(line: string): boolean {
    const text = line.trimEnd()
    const at = this.#open.findLastIndex((multipart) => multipart.matches(text))
    const multipart = this.#open[at]
    if (multipart === undefined) return false
    this.#endPart()
    if (this.#open.slice(at + 1).some((inner) => !inner.closed)) throw clear("last boundary is missing")
    this.#open.length = at + 1
    if (multipart.isLast(text)) multipart.close()
    else this.#beginPart()
    return true
  }

  #beginPart(): void {
    this.#parts += 1
    if (this.#parts > MAX_CLASSIFIED_PARTS) throw clear("too many parts")
    this.#header = new HeaderSection(MAX_PART_HEADERS_OCTETS - this.#headerOctets)
  }

  #startPart(header: HeaderSection): void {
    this.#header = null
    this.#headerOctets += header.size
    const content = this.#open.at(-1)?.part(parseEntityHeader(header.fields(), "text/plain"))
    if (content instanceof Multipart) this.#open.push(content)
    else this.#part = content ?? null
  }

  #endPart(): void {
    if (this.#header !== null) throw clear("part without a body")
    if (this.#part === null) return
    this.#part.body.end()
    this.found ??= this.#part.body.found
    this.#open.at(-1)?.partEnded(this.#part)
    this.#part = null
  }

  /** Preamble and epilogue (RFC 2046 §5.1.1), which readers do not show. */
  #loose(octets: Uint8Array): void {
    for (let at = firstNotBlank(octets); at < octets.length; at += 1 + firstNotBlank(octets.subarray(at + 1)))
      this.#looseOctets += 1
    if (this.#looseOctets > MAX_LOOSE_OCTETS) throw clear("text beside the parts is too long")
  }
}

function clear(what: string): GatewayError {
  return new GatewayError("CLEAR_CONTENT", `multipart: ${what}`)
}
