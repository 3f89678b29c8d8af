/** PURE. Line ends as they go on the wire: a store that another program filled may have kept LF alone. */

/** Gives every line its CRLF; all other octets are kept. */
export class CrlfText {
  /** Octets given out so far. */
  octets = 0
  #last = 0

  push(octets: Uint8Array): Uint8Array {
    const pieces: Uint8Array[] = []
    let from = 0
    for (let at = octets.indexOf(LF); at >= 0; at = octets.indexOf(LF, at + 1)) {
      if ((at === 0 ? this.#last : octets[at - 1]) === CR) continue
      pieces.push(octets.subarray(from, at), RETURN)
      from = at
    }
    this.#last = octets.at(-1) ?? this.#last
    const text = pieces.length === 0 ? octets : Buffer.concat([...pieces, octets.subarray(from)])
    this.octets += text.length
    return text
  }
}

const CR = 13
const LF = 10
const RETURN = Uint8Array.of(CR)
