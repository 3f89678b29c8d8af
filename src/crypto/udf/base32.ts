/** Base32 (RFC 4648 §6) without padding: octets as text, five bits a character, upper case. The last character is filled up with zero bits. */
export function base32Encode(octets: Uint8Array): string {
  let text = ""
  let [bits, held] = [0, 0]
  for (const octet of octets) {
    bits = (bits << 8) | octet
    for (held += 8; held >= 5; held -= 5) text += ALPHABET[(bits >> (held - 5)) & 31]
    bits &= 31
  }
  return held === 0 ? text : text + ALPHABET[(bits << (5 - held)) & 31]
}

/** What characters stand for, in either case: whole octets, and the bits that are left over behind them (0 to 7 of them). */
export interface Base32Content {
  readonly octets: Uint8Array
  readonly leftBits: number
  /** The value of the bits that are left over. */
  readonly left: number
}

/** @returns null where a character is not of the alphabet */
export function base32Decode(text: string): Base32Content | null {
  const octets = new Uint8Array(Math.floor((text.length * 5) / 8))
  let [bits, held, at] = [0, 0, 0]
  for (const character of text) {
    const value = digitOf(character.charCodeAt(0))
    if (value < 0) return null
    bits = (bits << 5) | value
    held += 5
    if (held < 8) continue
    held -= 8
    octets[at++] = bits >> held
    bits &= (1 << held) - 1
  }
  return { octets, leftBits: held, left: bits }
}

/** -1 for what is not of the alphabet. */
function digitOf(code: number): number {
  const upper = code >= 0x61 && code <= 0x7a ? code - 0x20 : code
  if (upper >= 0x41 && upper <= 0x5a) return upper - 0x41
  return code >= 0x32 && code <= 0x37 ? code - 0x32 + 26 : -1
}

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
