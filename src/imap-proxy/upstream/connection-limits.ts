import { GatewayError } from "../../errors.ts"

/** How many connections one upstream bears. */
export interface UpstreamLimits {
  /** At once, all accounts together. */
  readonly connections: number
  /** At once, for one account (Gmail allows 15). */
  readonly perAccount: number
  /** Not logged in yet; more wait for their turn. */
  readonly connecting: number
  /** What happens at the limit of one account: deliveries wait, people are told. */
  readonly whenFull: "refuse" | "wait"
}

/** Gives back a place; a second call does nothing. */
export type Leave = () => void

/** The places for connections to one upstream. */
export class ConnectionLimits {
  readonly #limits: UpstreamLimits
  readonly #all: Gate
  readonly #connecting: Gate
  readonly #accounts = new Map<string, Gate>()

  constructor(limits: UpstreamLimits) {
    this.#limits = limits
    this.#all = new Gate(limits.connections)
    this.#connecting = new Gate(limits.connecting)
  }

  /**
   * A place for a connection of `account`, from the first attempt to its end.
   * @throws GatewayError UPSTREAM_LIMIT
   */
  async connection(account: string, signal: AbortSignal): Promise<Leave> {
    const leave = await this.#accountPlace(account, signal)
    const leaveAll = this.#all.tryEnter()
    if (leaveAll === null) {
      leave()
      throw new GatewayError("UPSTREAM_LIMIT", `imap upstream: all ${this.#limits.connections} connections are in use`)
    }
    return () => {
      leaveAll()
      leave()
    }
  }

  /**
   * A place for an attempt to connect and log in: what a dead upstream holds up stays bounded, and one that comes back is not run over.
   * @throws GatewayError UPSTREAM_UNAVAILABLE when `signal` ends the waiting
   */
  attempt(signal: AbortSignal): Promise<Leave> {
    return this.#connecting.enter(signal, "UPSTREAM_UNAVAILABLE", "imap upstream: too many connections are being made")
  }

  async #accountPlace(account: string, signal: AbortSignal): Promise<Leave> {
    const gate = this.#accounts.get(account) ?? new Gate(this.#limits.perAccount)
    this.#accounts.set(account, gate)
    const full = `imap upstream: all ${this.#limits.perAccount} connections of ${account} are in use`
    const leave = this.#limits.whenFull === "wait" ? await gate.enter(signal, "UPSTREAM_LIMIT", full) : gate.tryEnter()
    if (leave === null) throw new GatewayError("UPSTREAM_LIMIT", full)
    return () => {
      leave()
      if (gate.idle) this.#accounts.delete(account)
    }
  }
}

/** A number of places; who waits comes in first come, first served. */
class Gate {
  readonly #places: number
  readonly #waiting = new Set<(leave: Leave) => void>()
  #taken = 0

  constructor(places: number) {
    this.#places = places
  }

  /** Nobody is in, so nobody waits either. */
  get idle(): boolean {
    return this.#taken === 0
  }

  /** @returns null when all places are taken */
  tryEnter(): Leave | null {
    if (this.#taken >= this.#places) return null
    this.#taken += 1
    return this.#leaveOnce()
  }

  /** @throws GatewayError with `code` and `full` when `signal` ends the waiting */
  enter(signal: AbortSignal, code: "UPSTREAM_LIMIT" | "UPSTREAM_UNAVAILABLE", full: string): Promise<Leave> {
    const leave = this.tryEnter()
    if (leave !== null) return Promise.resolve(leave)
    const { promise, resolve, reject } = Promise.withResolvers<Leave>()
    const giveUp = (): void => {
      this.#waiting.delete(take)
      reject(new GatewayError(code, full, { cause: signal.reason }))
    }
    const take = (place: Leave): void => {
      signal.removeEventListener("abort", giveUp)
      resolve(place)
    }
    if (signal.aborted) giveUp()
    else {
      this.#waiting.add(take)
      signal.addEventListener("abort", giveUp, { once: true })
    }
    return promise
  }

  #leaveOnce(): Leave {
    let left = false
    return () => {
      if (left) return
      left = true
      const [next] = this.#waiting
      if (next === undefined) this.#taken -= 1
      else {
        // The place goes from hand to hand: nobody who comes later slips in between.
        this.#waiting.delete(next)
        next(this.#leaveOnce())
      }
    }
  }
}
