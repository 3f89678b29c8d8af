/**
 * Whether a message in pieces comes through every relay octet for octet, as it must where a signature is over it (RFC 3156 §3, RFC 8551 §3.1.3): 7 bit,
 * CRLF alone, lines of 998 octets at most, no blank at a line's end, no line that begins with `From `.
 */
export class TransferSafety {
  #safe = true
  #last = LF
  #lineOctets = 0
  /** The first octets of the line, as far as they are `From `; -1: they are not. */
  #from = 0

  push(octets: Uint8Array): void {
    for (let at = 0; this.#safe && at < octets.length; at++) this.#safe = this.#accepts(octets[at] ?? 0)
  }

  /** The answer, when all octets were pushed. */
  end(): boolean {
    return this.#safe && this.#last !== CR && !isBlank(this.#last)
  }

  #accepts(octet: number): boolean {
    const last = this.#last
    this.#last = octet
    if (octet === LF) {
      if (last !== CR) return false
      this.#lineOctets = 0
      this.#from = 0
      return true
    }
    if (last === CR || octet > 127 || octet === 0) return false
    if (octet === CR) return !isBlank(last)
    this.#lineOctets += 1
    if (this.#from >= 0) this.#from = octet === FROM.charCodeAt(this.#from) ? this.#from + 1 : -1
    return this.#from < FROM.length && this.#lineOctets <= MAX_LINE_OCTETS
  }
}

function isBlank(octet: number): boolean {
  return octet === 32 || octet === 9
}

const CR = 13
const LF = 10
const FROM = "From "
/** RFC 5322 §2.1.1, without the CRLF. */
const MAX_LINE_OCTETS = 998
