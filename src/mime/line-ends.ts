const LF = 10
const CR = 13

/** Counts the line ends that lack their CR: each is one octet more on the wire (RFC 3501 §4.3 lines end in CRLF). */
export class BareLineEnds {
  count = 0
  #last = 0

  push(octets: Uint8Array): void {
    for (let at = octets.indexOf(LF); at >= 0; at = octets.indexOf(LF, at + 1)) {
      if ((at === 0 ? this.#last : octets[at - 1]) !== CR) this.count += 1
    }
    if (octets.length > 0) this.#last = octets[octets.length - 1] ?? 0
  }
}

/** Whether every CR and LF is of a CRLF, as SMTP has lines (RFC 5321 §2.3.8), and no octet is NUL. */
export class LineEndCheck {
  #isBroken = false
  #last = 0

  /** Asked when all was pushed. */
  get areWhole(): boolean {
    return !this.#isBroken && this.#last !== CR
  }

  push(octets: Uint8Array): void {
    if (octets.length === 0 || this.#isBroken) return
    const before = this.#last
    const isBare = (at: number) => (at === 0 ? before : octets[at - 1]) !== CR
    const isCut = (at: number) => at + 1 < octets.length && octets[at + 1] !== LF
    this.#isBroken =
      (before === CR && octets[0] !== LF) || octets.includes(0) || some(octets, LF, isBare) || some(octets, CR, isCut)
    this.#last = octets[octets.length - 1] ?? 0
  }
}

function some(octets: Uint8Array, octet: number, is: (at: number) => boolean): boolean {
  for (let at = octets.indexOf(octet); at >= 0; at = octets.indexOf(octet, at + 1)) if (is(at)) return true
  return false
}

/** Gives every line its CRLF: a store that another program filled may have kept LF alone. Other octets are kept. */
export class CrlfLines {
  /** Given out so far. */
  octets = 0
  #last = 0

  /** The octets with their line ends whole; the same array when there was nothing to do. */
  push(octets: Uint8Array): Uint8Array {
    const pieces: Uint8Array[] = []
    let from = 0
    for (let at = octets.indexOf(LF); at >= 0; at = octets.indexOf(LF, at + 1)) {
      if ((at === 0 ? this.#last : octets[at - 1]) === CR) continue
      pieces.push(octets.subarray(from, at), CARRIAGE_RETURN)
      from = at
    }
    if (octets.length > 0) this.#last = octets[octets.length - 1] ?? 0
    const lines = pieces.length === 0 ? octets : Buffer.concat([...pieces, octets.subarray(from)])
    this.octets += lines.length
    return lines
  }
}

const CARRIAGE_RETURN = new Uint8Array([CR])
