/** Boundaries have 70 octets at most (RFC 2046 §5.1.1); dashes and white space beside. */
const MAX_BOUNDARY_LINE_OCTETS = 512

/** What is to become of a body as it is cut at lines that may be boundaries. */
export interface LineSink {
  /** Octets of the body, any number of lines or a piece of one. */
  octets(octets: Uint8Array): void
  /** A whole line that begins with two dashes, line end included; true when it was a boundary and is used up. */
  dashes(line: string): boolean
}

/** Finds the lines of a body that can be boundaries (RFC 2046 §5.1.1); everything else passes in the pieces it came in. */
export class LineCutter {
  readonly #sink: LineSink
  #atLineStart = true
  /** A line that begins with a dash, as far as it came. */
  #line = ""

  constructor(sink: LineSink) {
    this.#sink = sink
  }

  push(octets: Uint8Array): void {
    for (let at = 0; at < octets.length; ) at = this.#line === "" ? this.#pass(octets, at) : this.#hold(octets, at)
  }

  end(): void {
    if (this.#line !== "") this.#release()
  }

  /** Passes octets on up to the next line that begins with a dash. */
  #pass(octets: Uint8Array, from: number): number {
    if (this.#atLineStart && octets[from] === DASH) return this.#hold(octets, from)
    const found = Buffer.from(octets.buffer, octets.byteOffset, octets.length).indexOf("\n-", from, "latin1")
    const end = found < 0 ? octets.length : found + 1
    this.#atLineStart = octets[end - 1] === LF
    this.#sink.octets(octets.subarray(from, end))
    return end
  }

  #hold(octets: Uint8Array, from: number): number {
    const lf = octets.indexOf(LF, from)
    const end = Math.min(lf < 0 ? octets.length : lf + 1, from + MAX_BOUNDARY_LINE_OCTETS - this.#line.length)
    this.#line += Buffer.from(octets.subarray(from, end)).toString("latin1")
    if (this.#line.endsWith("\n") || this.#line.length === MAX_BOUNDARY_LINE_OCTETS) this.#release()
    return end
  }

  #release(): void {
    const line = this.#line
    this.#line = ""
    this.#atLineStart = line.endsWith("\n")
    const boundary = line.startsWith("--") && line.length < MAX_BOUNDARY_LINE_OCTETS && this.#sink.dashes(line)
    if (!boundary) this.#sink.octets(Buffer.from(line, "latin1"))
  }
}

const LF = 10
const DASH = 45
