/** PURE
 * How many octets of unfinished uploads may be in memory, all connections together. */
export class HeldOctets {
  #left: number

  constructor(limitOctets: number) {
    this.#left = limitOctets
  }

  /** A share that can grow for as long as there is room. */
  share(): HeldShare {
    let taken = 0
    return {
      take: (octets) => {
        if (octets > this.#left) return false
        this.#left -= octets
        taken += octets
        return true
      },
      release: () => {
        this.#left += taken
        taken = 0
      },
    }
  }
}

/** What one upload holds. */
export interface HeldShare {
  /** @returns false when there is no room: nothing was taken */
  take(octets: number): boolean
  /** Gives back all of it; may be called again. */
  release(): void
}
