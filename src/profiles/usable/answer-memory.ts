import type { AnswerCache } from "./revocation.ts"

/** Answers about revocation in memory, the oldest given up first. */
export class AnswerMemory implements AnswerCache {
  readonly #kept = new Map<string, { readonly octets: Uint8Array; readonly until: Date }>()
  readonly #maxOctets: number
  readonly #now: () => Date
  #octets = 0

  constructor(maxOctets: number, now: () => Date) {
    this.#maxOctets = maxOctets
    this.#now = now
  }

  find(key: string): Uint8Array | null {
    const found = this.#kept.get(key)
    if (!found) return null
    if (found.until > this.#now()) return found.octets
    this.#drop(key)
    return null
  }

  keep(key: string, octets: Uint8Array, until: Date): void {
    this.#drop(key)
    if (octets.length > this.#maxOctets) return
    this.#kept.set(key, { octets, until })
    this.#octets += octets.length
    for (const oldest of this.#kept.keys()) {
      if (this.#octets <= this.#maxOctets) return
      this.#drop(oldest)
    }
  }

  #drop(key: string): void {
    this.#octets -= this.#kept.get(key)?.octets.length ?? 0
    this.#kept.delete(key)
  }
}
