import { SMTPStream } from "./smtp-server.ts"

/**
 * smtp-server's input stream with our reading of message octets. Its own passes each line that begins with a dot on by
 * itself, through the event loop: 22 microseconds a line, so that 4 MB of dots took 22 s; here a segment stays one piece.
 */
export class SmtpParser extends SMTPStream {
  #dots = new DotReader()

  override startDataMode(maxOctets?: number | string | null) {
    this.#dots = new DotReader()
    return super.startDataMode(maxOctets)
  }

  override _feedDataStream(octets: Buffer, done: (error?: Error | null) => void): void {
    const { content, rest } = this.#dots.push(octets)
    this._countDataBytes(content.length)
    if (rest !== null) {
      this._endDataMode(content.length > 0 ? content : false, rest, done)
      return
    }
    const stream = this._dataStream
    // A stream that its reader has given up takes nothing more; the octets are read all the same.
    if (content.length === 0 || !stream?.writable || stream.write(content) || stream.destroyed) {
      done()
      return
    }
    const go = (): void => {
      stream.removeListener("drain", go)
      stream.removeListener("close", go)
      done()
    }
    stream.once("drain", go)
    stream.once("close", go)
  }
}

/** RFC 5321 §4.5.2: finds the end of the message and takes the dots away that its sender put before dots. One per message. */
export class DotReader {
  /** The next octet is the first of a line. */
  #lineStart = true
  #afterCr = false
  /** `.` or `.CR` at the start of a line: what it is, the next segment tells. */
  #undecided: Buffer = EMPTY

  /** The message octets among these; `rest`: what follows the final dot, null when it has not come. */
  push(octets: Buffer): { readonly content: Buffer; readonly rest: Buffer | null } {
    const all = this.#undecided.length > 0 ? Buffer.concat([this.#undecided, octets]) : octets
    this.#undecided = EMPTY
    const pieces: Buffer[] = []
    let start = 0
    let line = this.#firstLine(all)
    for (; line >= 0 && line < all.length; line = nextLine(all, line)) {
      if (all[line] !== DOT) continue
      const verdict = dotAt(all, line)
      if (verdict === "stuffing") {
        pieces.push(all.subarray(start, line))
        start = line + 1
        continue
      }
      pieces.push(all.subarray(start, line))
      if (verdict === "end") return { content: joined(pieces), rest: all.subarray(line + END.length) }
      this.#undecided = all.subarray(line)
      this.#lineStart = true
      return { content: joined(pieces), rest: null }
    }
    this.#lineStart = line === all.length
    this.#afterCr = all[all.length - 1] === CR
    pieces.push(all.subarray(start))
    return { content: joined(pieces), rest: null }
  }

  /** Where the first line begins in these octets, -1 when none does. */
  #firstLine(octets: Buffer): number {
    if (this.#lineStart) return 0
    return this.#afterCr && octets[0] === LF ? 1 : nextLine(octets, 0)
  }
}

/** What the dot at the start of a line is. Only CRLF ends the final line: anything else would let one message become two. */
function dotAt(octets: Buffer, at: number): "end" | "stuffing" | "undecided" {
  const second = octets[at + 1]
  if (second === undefined) return "undecided"
  if (second !== CR) return "stuffing"
  const third = octets[at + 2]
  if (third === undefined) return "undecided"
  return third === LF ? "end" : "stuffing"
}

function nextLine(octets: Buffer, from: number): number {
  const at = octets.indexOf(CRLF, from)
  return at < 0 ? -1 : at + CRLF.length
}

function joined(pieces: readonly Buffer[]): Buffer {
  const [only] = pieces
  return pieces.length === 1 && only ? only : Buffer.concat(pieces)
}

const CR = 13
const LF = 10
const DOT = 46
const CRLF = Buffer.from("\r\n")
const END = Buffer.from(".\r\n")
const EMPTY = Buffer.alloc(0)
