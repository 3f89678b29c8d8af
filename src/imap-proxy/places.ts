/** How many connections there may be, over all listeners and processes together. */
export interface PlaceLimits {
  readonly connections: number
  /** That have not logged in yet. */
  readonly beforeLogin: number
  /** From one remote address. A whole company may come from one. */
  readonly connectionsPerAddress: number
  /** Of one account, on all its devices. */
  readonly connectionsPerAccount: number
  readonly connectionsPerDevice: number
}

/** Which limit a connection met. */
export type Refusal = "connections" | "before-login" | "address" | "account" | "device"

/** The places as one process that serves connections sees them; those of several processes are counted in one of them. */
export interface Seats {
  /** A connection from `address`. @returns its number, from 1, or why there is no place for it */
  enter(address: string): number | Refusal
  /** @returns null when the device may stay */
  logIn(connection: number, account: string, device: string): Promise<Refusal | null>
  /** The connection has ended. */
  leave(connection: number): void
}

interface Place {
  readonly address: string
  /** null: not logged in. */
  account: string | null
  device: string | null
}

/** Counts connections from accepting to their end, and says when there is no place for one more. */
export class Places implements Seats {
  readonly #limits: PlaceLimits
  readonly #places = new Map<number, Place>()
  readonly #addresses = new Counts()
  readonly #accounts = new Counts()
  readonly #devices = new Counts()
  #beforeLogin = 0
  #serial = 0

  constructor(limits: PlaceLimits) {
    this.#limits = limits
  }

  /** Connections now. */
  get count(): number {
    return this.#places.size
  }

  /** Of them, those not logged in. */
  get beforeLogin(): number {
    return this.#beforeLogin
  }

  enter(address: string): number | Refusal {
    if (this.#places.size >= this.#limits.connections) return "connections"
    if (this.#beforeLogin >= this.#limits.beforeLogin) return "before-login"
    if (this.#addresses.of(address) >= this.#limits.connectionsPerAddress) return "address"
    this.#addresses.add(address, 1)
    this.#beforeLogin += 1
    this.#serial += 1
    this.#places.set(this.#serial, { address, account: null, device: null })
    return this.#serial
  }

  /**
   * One that was refused may try again, as another device too.
   * @param isSeated another process has let it in already, within its share
   */
  async logIn(connection: number, account: string, device: string, isSeated = false): Promise<Refusal | null> {
    const place = this.#places.get(connection)
    // It has left meanwhile, and nobody waits for the answer.
    if (place === undefined || place.account !== null) return null
    const name = `${account}\n${device}`
    if (!isSeated && this.#accounts.of(account) >= this.#limits.connectionsPerAccount) return "account"
    if (!isSeated && this.#devices.of(name) >= this.#limits.connectionsPerDevice) return "device"
    place.account = account
    place.device = name
    this.#accounts.add(account, 1)
    this.#devices.add(name, 1)
    this.#beforeLogin -= 1
    return null
  }

  leave(connection: number): void {
    const place = this.#places.get(connection)
    if (place === undefined) return
    this.#places.delete(connection)
    this.#addresses.add(place.address, -1)
    if (place.account === null || place.device === null) {
      this.#beforeLogin -= 1
      return
    }
    this.#accounts.add(place.account, -1)
    this.#devices.add(place.device, -1)
  }
}

/** A number for each name; those at 0 are forgotten. */
export class Counts {
  readonly #counts = new Map<string, number>()

  of(name: string): number {
    return this.#counts.get(name) ?? 0
  }

  add(name: string, change: 1 | -1): void {
    const count = this.of(name) + change
    if (count === 0) this.#counts.delete(name)
    else this.#counts.set(name, count)
  }
}
