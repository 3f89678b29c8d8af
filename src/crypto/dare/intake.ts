import { GatewayError } from "../../errors.ts"
import { ValueScanner } from "../jsonb/scan.ts"
import { joined } from "../primitives/joined.ts"

/** Octets that come in pieces, taken in order: by one, by pieces, or by values of JSON. */
export class Intake {
  readonly #source: AsyncIterator<Uint8Array>
  #piece: Uint8Array = new Uint8Array(0)

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  /** The next octet that is not white space; it stays. Null at the end. */
  async peek(): Promise<number | null> {
    while (await this.#fill()) {
      const at = this.#piece.findIndex((octet) => !BLANKS.has(octet))
      this.#piece = at < 0 ? NOTHING : this.#piece.subarray(at)
      const [octet] = this.#piece
      if (octet !== undefined) return octet
    }
    return null
  }

  /** Takes the next octet that is not white space, which must be this. @throws GatewayError DARE_MALFORMED */
  async expect(octet: number): Promise<void> {
    if ((await this.peek()) !== octet)
      throw new GatewayError("DARE_MALFORMED", `dare: ${String.fromCharCode(octet)} is missing`)
    this.skip(1)
  }

  /** The octets of the next value of JSON or JSON-B. @throws GatewayError DARE_TOO_LARGE above `most`, DARE_MALFORMED at the end */
  async value(most: number): Promise<Uint8Array> {
    const scanner = new ValueScanner()
    const pieces: Uint8Array[] = []
    for (let size = 0; ; ) {
      const piece = await this.piece()
      const end = scanner.push(piece)
      size += end ?? piece.length
      if (size > most) throw new GatewayError("DARE_TOO_LARGE", `dare: header or trailer over ${most} octets`)
      pieces.push(piece.subarray(0, end ?? piece.length))
      this.skip(end ?? piece.length)
      if (end !== null) return joined(pieces)
    }
  }

  /** So many octets, `most` at most: a length field. @throws GatewayError DARE_MALFORMED at the end */
  async take(count: number): Promise<Uint8Array> {
    const taken = new Uint8Array(count)
    for (let have = 0; have < count; ) {
      const part = (await this.piece()).subarray(0, count - have)
      taken.set(part, have)
      this.skip(part.length)
      have += part.length
    }
    return taken
  }

  /** What is at hand, at least one octet; it stays until skipped. @throws GatewayError DARE_MALFORMED at the end */
  async piece(): Promise<Uint8Array> {
    if (!(await this.#fill())) throw new GatewayError("DARE_MALFORMED", "dare: envelope is cut off")
    return this.#piece
  }

  skip(count: number): void {
    this.#piece = this.#piece.subarray(count)
  }

  /** Tells the source that no more is wanted. */
  async close(): Promise<void> {
    await this.#source.return?.()
  }

  async #fill(): Promise<boolean> {
    while (this.#piece.length === 0) {
      const next = await this.#source.next()
      if (next.done) return false
      this.#piece = next.value
    }
    return true
  }
}

const BLANKS = new Set([0x20, 0x09, 0x0a, 0x0d])
const NOTHING = new Uint8Array(0)
