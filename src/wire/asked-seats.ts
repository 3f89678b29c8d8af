import { Counts, type Refusal, type Seats } from "../imap-proxy/places.ts"

/** What the process that counts is told. */
export type SeatReport =
  /** `ask`: whether the device may stay. */
  | {
      readonly kind: "logIn"
      readonly place: number
      readonly account: string
      readonly device: string
      readonly ask: boolean
    }
  | { readonly kind: "left"; readonly place: number }

/** What this process may give out without asking: its share of the limits. */
export interface SeatShares {
  readonly perAccount: number
  readonly perDevice: number
}

/**
 * The seats as a process sees them that does not count them: within its share of the limits of an account and a device it lets in and
 * reports, above that it asks. Few accounts have so many connections, so few logins wait for an answer.
 */
export class AskedSeats implements Seats {
  readonly #shares: SeatShares
  readonly #tell: (report: SeatReport) => void
  readonly #accounts = new Counts()
  readonly #devices = new Counts()
  readonly #seated = new Map<number, { readonly account: string; readonly device: string }>()
  readonly #waiting = new Map<number, (refusal: Refusal | null) => void>()

  constructor(shares: SeatShares, tell: (report: SeatReport) => void) {
    this.#shares = shares
    this.#tell = tell
  }

  async logIn(place: number, account: string, device: string): Promise<Refusal | null> {
    const seat = { account, device: `${account}\n${device}` }
    const ask =
      this.#accounts.of(account) >= this.#shares.perAccount || this.#devices.of(seat.device) >= this.#shares.perDevice
    this.#tell({ kind: "logIn", place, account, device, ask })
    const refusal = ask ? await new Promise<Refusal | null>((resolve) => this.#waiting.set(place, resolve)) : null
    if (refusal !== null) return refusal
    this.#seated.set(place, seat)
    this.#count(seat, 1)
    return null
  }

  /** The answer to a question. */
  answer(place: number, refusal: Refusal | null): void {
    this.#waiting.get(place)?.(refusal)
    this.#waiting.delete(place)
  }

  leave(place: number): void {
    const seat = this.#seated.get(place)
    if (seat !== undefined) this.#count(seat, -1)
    this.#seated.delete(place)
    this.#waiting.delete(place)
    this.#tell({ kind: "left", place })
  }

  #count({ account, device }: { readonly account: string; readonly device: string }, change: 1 | -1): void {
    this.#accounts.add(account, change)
    this.#devices.add(device, change)
  }
}
