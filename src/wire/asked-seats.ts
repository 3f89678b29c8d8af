import { Counts, type Refusal, type Seats } from "../imap-proxy/places.ts"

/** What the process that counts is told. */
export type SeatReport =
  | { readonly kind: "enter"; readonly place: number; readonly address: string }
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
  /** What its open files allow. */
  readonly connections: number
  readonly perAccount: number
  readonly perDevice: number
}

/**
 * The seats as a process sees them that does not count them. A connection is let in and reported; where there was no place for it, its
 * eviction comes a moment later, in the middle of its handshake as a rule. A device is let in and reported within this process's share
 * of the limits of an account and a device; above that it asks. Few accounts have so many connections, so few logins wait for an answer.
 */
export class AskedSeats implements Seats {
  readonly #shares: SeatShares
  readonly #tell: (report: SeatReport) => void
  readonly #accounts = new Counts()
  readonly #devices = new Counts()
  /** Null until login. */
  readonly #places = new Map<number, { readonly account: string; readonly device: string } | null>()
  readonly #waiting = new Map<number, (refusal: Refusal | null) => void>()
  #serial = 0

  constructor(shares: SeatShares, tell: (report: SeatReport) => void) {
    this.#shares = shares
    this.#tell = tell
  }

  enter(address: string): number | Refusal {
    if (this.#places.size >= this.#shares.connections) return "connections"
    this.#serial += 1
    this.#places.set(this.#serial, null)
    this.#tell({ kind: "enter", place: this.#serial, address })
    return this.#serial
  }

  async logIn(place: number, account: string, device: string): Promise<Refusal | null> {
    const seat = { account, device: `${account}\n${device}` }
    const ask =
      this.#accounts.of(account) >= this.#shares.perAccount || this.#devices.of(seat.device) >= this.#shares.perDevice
    this.#tell({ kind: "logIn", place, account, device, ask })
    const refusal = ask ? await new Promise<Refusal | null>((resolve) => this.#waiting.set(place, resolve)) : null
    if (refusal !== null || !this.#places.has(place)) return refusal
    this.#places.set(place, seat)
    this.#count(seat, 1)
    return null
  }

  /** The answer to a question. */
  answer(place: number, refusal: Refusal | null): void {
    this.#waiting.get(place)?.(refusal)
    this.#waiting.delete(place)
  }

  leave(place: number): void {
    const seat = this.#places.get(place)
    if (seat === undefined) return
    if (seat !== null) this.#count(seat, -1)
    this.#places.delete(place)
    this.#waiting.delete(place)
    this.#tell({ kind: "left", place })
  }

  #count({ account, device }: { readonly account: string; readonly device: string }, change: 1 | -1): void {
    this.#accounts.add(account, change)
    this.#devices.add(device, change)
  }
}
