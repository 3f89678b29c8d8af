import { GatewayError } from "../errors.ts"

/** Octets of ciphertext that are looked at: enough to be sure, and little to hold. */
const SAMPLE_OCTETS = 4096

/** Below, nothing can be said that is not wrong too often. */
const MIN_SAMPLE_OCTETS = 32

/** From here on equal octets are counted; with fewer only pure ASCII is told. */
const MIN_COUNTED_OCTETS = 128

/**
 * Looks whether what a structure calls ciphertext can be some: text, base64, zeros or UTF-16 in its place is in clear, whatever stands
 * around it. Compressed content cannot be told from ciphertext.
 */
export class CiphertextSample {
  readonly #held = new Uint8Array(SAMPLE_OCTETS)
  #size = 0
  #judged = false

  push(octets: Uint8Array): void {
    if (this.#judged) return
    const part = octets.subarray(0, SAMPLE_OCTETS - this.#size)
    this.#held.set(part, this.#size)
    this.#size += part.length
    if (this.#size === SAMPLE_OCTETS) this.end()
  }

  /** @throws GatewayError CLEAR_CONTENT */
  end(): void {
    if (!this.#judged && isReadable(this.#held.subarray(0, this.#size)))
      throw new GatewayError("CLEAR_CONTENT", "ciphertext: is readable")
    this.#judged = true
  }
}

function isReadable(octets: Uint8Array): boolean {
  if (octets.length < MIN_SAMPLE_OCTETS) return false
  if (octets.length < MIN_COUNTED_OCTETS) return octets.every((octet) => octet < 0x80)
  const counts = new Uint32Array(256)
  for (const octet of octets) counts[octet] = (counts[octet] ?? 0) + 1
  const equalPairs = counts.reduce((sum, count) => sum + (count * (count - 1)) / 2, 0)
  const expected = (octets.length * (octets.length - 1)) / 2 / 256
  // Ciphertext has 1 (128 octets of it go over 2.5 once in 10^10 messages), base64 4, English 17, UTF-16 64.
  return equalPairs > 2.5 * expected
}
