import { parseFields } from "./header.ts"
import { type EntityHeader, type Envelope, parameter, parseEntityHeader, parseEnvelope } from "./structure-header.ts"

/**
 * A message or body part as octet offsets into the message (RFC 2045 §2.4): the header section with its empty line is
 * [headerStart, bodyStart), the body [bodyStart, bodyEnd).
 */
export interface Entity {
  readonly headerStart: number
  readonly bodyStart: number
  readonly bodyEnd: number
  /** Line ends within the body. */
  readonly lines: number
  readonly header: EntityHeader
  readonly content: EntityContent
  /** Of a whole message (the root, and what is inside message/rfc822); null for other parts. */
  readonly envelope: Envelope | null
}

/** What a body holds: nothing we look into, parts, or one message. */
export type EntityContent =
  | { readonly kind: "leaf" }
  | { readonly kind: "multipart"; readonly parts: readonly Entity[] }
  | { readonly kind: "message"; readonly message: Entity }

/** Real mail nests below 10; deeper entities are opaque. */
export const MAX_MIME_DEPTH = 32

/** Real mail has below 500 parts (digests); what follows the last one belongs to it. */
export const MAX_PARTS = 2000

/** Octets of one header section that are interpreted; what stands beyond still belongs to the header. */
export const MAX_INTERPRETED_HEADER_OCTETS = 262_144

/** RFC 2046 §5.1.1 allows 70; some write longer ones. A boundary is compared with the head of a line, which is held. */
export const MAX_BOUNDARY_OCTETS = 500

/**
 * Finds the MIME structure (RFC 2046) of a message pushed in pieces of any size; holds header sections only, never a body.
 * Nothing it is given makes it throw: malformed MIME is text, or opaque.
 */
export class StructureParser {
  readonly #root: Open = openEntity(0, true, "text/plain")
  readonly #stack: Open[] = [this.#root]
  #parts = 0
  #offset = 0
  /** Line ends up to #offset. */
  #lineEnds = 0
  #lineStart = 0
  /** Octets of the line end before the current line; they belong to a boundary that follows (RFC 2046 §5.1.1). */
  #terminator = 0
  /** The current line so far, as far as it is looked at. */
  #head: Uint8Array[] = []
  #headOctets = 0
  #lastOctet = 0

  push(octets: Uint8Array): void {
    let at = 0
    while (at < octets.length) {
      const end = octets.indexOf(LF, at)
      this.#take(octets, at, end < 0 ? octets.length : end + 1, end >= 0)
      at = end < 0 ? octets.length : end + 1
    }
  }

  /** Whether the message holds nothing that is looked into, whatever follows: only its end and its lines are not known yet. */
  get isLeaf(): boolean {
    return this.#root.phase === "body" && this.#root.kind === "leaf"
  }

  /** The structure, when all octets were pushed. */
  end(): Entity {
    if (this.#headOctets > 0) this.#line(this.#lineEnds)
    this.#closeAbove(0, [this.#offset, this.#lineEnds], [this.#offset, this.#lineEnds])
    return closed(this.#root)
  }

  /** One line, or a piece of one when a chunk ended within it. */
  #take(octets: Uint8Array, from: number, to: number, complete: boolean): void {
    const top = this.#stack.at(-1)
    const inHeader = top?.phase === "header"
    const wanted = inHeader && top.headerOctets < MAX_INTERPRETED_HEADER_OCTETS
    const begins = this.#offset === this.#lineStart
    // Of other lines only those are held that can be a boundary or end a header section: bodies are most of the mail.
    if (begins ? wanted || octets[from] === DASH || (inHeader && isLineEnd(octets[from])) : this.#headOctets > 0) {
      const room = (wanted ? MAX_INTERPRETED_HEADER_OCTETS : LINE_HEAD_OCTETS) - this.#headOctets
      if (room > 0) this.#keep(octets.subarray(from, Math.min(to, from + room)))
    }
    this.#offset += to - from
    if (complete) this.#endLine(to - from > 1 ? octets[to - 2] === CR : !begins && this.#lastOctet === CR)
    this.#lastOctet = octets[to - 1] ?? 0
  }

  #keep(octets: Uint8Array): void {
    // Copied: the chunk belongs to its owner.
    this.#head.push(octets.slice())
    this.#headOctets += octets.length
  }

  #endLine(withCr: boolean): void {
    this.#lineEnds += 1
    if (this.#headOctets > 0) this.#line(this.#lineEnds - 1)
    this.#terminator = withCr ? 2 : 1
    this.#lineStart = this.#offset
  }

  /** The held head of the current line, which ends at #offset; `lineEndsBefore` counts those before it. */
  #line(lineEndsBefore: number): void {
    const line = this.#head.length === 1 && this.#head[0] ? this.#head[0] : Buffer.concat(this.#head)
    this.#head = []
    this.#headOctets = 0
    if (line[0] === DASH && line[1] === DASH && this.#boundary(line, lineEndsBefore)) return
    const top = this.#stack.at(-1)
    if (top?.phase !== "header") return
    if (line[0] === LF || (line[0] === CR && line[1] === LF)) this.#startBody(top, this.#offset, this.#lineEnds)
    else if (top.headerOctets < MAX_INTERPRETED_HEADER_OCTETS) {
      top.headerOctets += line.length
      top.headerLines.push(line)
    }
  }

  #startBody(entity: Open, offset: number, lineEnds: number): void {
    const fields = parseFields(Buffer.concat(entity.headerLines))
    entity.headerLines = []
    entity.phase = "body"
    entity.bodyStart = offset
    entity.lineEndsBefore = lineEnds
    entity.header = parseEntityHeader(fields, entity.defaultType)
    if (entity.isMessage) entity.envelope = parseEnvelope(fields)
    if (this.#stack.length >= MAX_MIME_DEPTH || this.#parts >= MAX_PARTS) return
    const { type, subtype } = entity.header
    const boundary = type === "multipart" ? parameter(entity.header, "boundary").trimEnd() : ""
    if (boundary !== "" && boundary.length <= MAX_BOUNDARY_OCTETS) {
      entity.kind = "multipart"
      entity.boundary = boundary
    } else if (type === "message" && subtype === "rfc822") {
      entity.kind = "message"
      this.#open(entity, offset, true, "text/plain")
    }
  }

  #open(parent: Open, offset: number, isMessage: boolean, defaultType: DefaultType): void {
    const child = openEntity(offset, isMessage, defaultType)
    this.#parts += 1
    parent.children.push(child)
    this.#stack.push(child)
  }

  /** Whether the line is a boundary of an open multipart, the innermost first; then the parts inside it end here. */
  #boundary(line: Uint8Array, lineEndsBefore: number): boolean {
    const text = trimmedLatin1(line.subarray(2))
    for (let at = this.#stack.length - 1; at >= 0; at -= 1) {
      const open = this.#stack[at]
      if (open === undefined || open.boundary === null || !text.startsWith(open.boundary)) continue
      const rest = text.slice(open.boundary.length)
      if (rest !== "" && rest !== "--") continue
      if (rest === "" && this.#parts >= MAX_PARTS) return false
      this.#closeAbove(
        at + 1,
        [this.#lineStart - this.#terminator, lineEndsBefore - 1],
        [this.#lineStart, lineEndsBefore],
      )
      if (rest === "--") open.boundary = null
      else this.#open(open, this.#offset, false, open.header.subtype === "digest" ? "message/rfc822" : "text/plain")
      return true
    }
    return false
  }

  /** Ends the entities above `depth`: bodies at `end`; header sections that nothing ended at `headerEnd`, with no body. */
  #closeAbove(depth: number, end: Place, headerEnd: Place): void {
    while (this.#stack.length > depth) {
      const top = this.#stack.at(-1)
      // May open the empty message of a message/rfc822 part, which is then the next to be closed.
      if (top?.phase === "header") this.#startBody(top, ...headerEnd)
      else if (top) {
        top.bodyEnd = Math.max(end[0], top.bodyStart)
        top.lines = Math.max(0, end[1] - top.lineEndsBefore)
        this.#stack.pop()
      }
    }
  }
}

type Place = readonly [offset: number, lineEnds: number]
type DefaultType = "text/plain" | "message/rfc822"

/** An entity that is being read. */
interface Open {
  readonly isMessage: boolean
  /** RFC 2046 §5.1.5: in a digest, what has no Content-Type is a message. */
  readonly defaultType: DefaultType
  readonly headerStart: number
  readonly children: Open[]
  phase: "header" | "body"
  kind: "leaf" | "multipart" | "message"
  headerLines: Uint8Array[]
  headerOctets: number
  header: EntityHeader
  envelope: Envelope | null
  bodyStart: number
  bodyEnd: number
  lineEndsBefore: number
  lines: number
  /** null: no multipart, or its last boundary was met. */
  boundary: string | null
}

function openEntity(headerStart: number, isMessage: boolean, defaultType: DefaultType): Open {
  return {
    isMessage,
    defaultType,
    headerStart,
    children: [],
    phase: "header",
    kind: "leaf",
    headerLines: [],
    headerOctets: 0,
    header: parseEntityHeader([], defaultType),
    envelope: null,
    bodyStart: headerStart,
    bodyEnd: headerStart,
    lineEndsBefore: 0,
    lines: 0,
    boundary: null,
  }
}

/** Depth is bounded by MAX_MIME_DEPTH. */
function closed(open: Open): Entity {
  const { headerStart, bodyStart, bodyEnd, lines, header, envelope } = open
  return { headerStart, bodyStart, bodyEnd, lines, header, envelope, content: contentOf(open) }
}

function contentOf(open: Open): EntityContent {
  const [first] = open.children
  if (open.kind === "message" && first) return { kind: "message", message: closed(first) }
  if (open.kind === "multipart") return { kind: "multipart", parts: open.children.map(closed) }
  return { kind: "leaf" }
}

function isLineEnd(octet: number | undefined): boolean {
  return octet === CR || octet === LF
}

function trimmedLatin1(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString("latin1").trimEnd()
}

const LF = 10
const CR = 13
const DASH = 45
/** Two dashes, the boundary, two dashes, white space. */
const LINE_HEAD_OCTETS = MAX_BOUNDARY_OCTETS + 100
