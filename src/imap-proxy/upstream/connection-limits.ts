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

/** Gives back the place of a connection that nobody uses, of this account (null: of any). @returns false where there is none */
export type Spare = (account: string | null) => boolean

/** Gives back a place. That of a connection may be called again, and does nothing then. */
export type Leave = () => void

/** The places for connections to one upstream. */
export class ConnectionLimits {
  readonly #limits: UpstreamLimits
  readonly #spare: Spare
  readonly #all: Gate
  readonly #connecting: Gate
  readonly #accounts = new Map<string, Gate>()

  constructor(limits: UpstreamLimits, spare: Spare) {
    this.#limits = limits
    this.#spare = spare
    this.#all = new Gate(limits.connections)
    this.#connecting = new Gate(limits.connecting)
  }

  /**
   * A place for a connection of `account`, from the first attempt to its end.
   * @throws GatewayError UPSTREAM_LIMIT
   */
  async connection(account: string, signal: AbortSignal): Promise<Leave> {
    await this.#enterAccount(account, signal)
    let left = !this.#enter(() => this.#all, null)
    if (left) {
      this.#leaveAccount(account)
      throw new GatewayError("UPSTREAM_LIMIT", `imap upstream: all ${this.#limits.connections} connections are in use`)
    }
    // One function for each connection that stays for days.
    return () => {
      if (left) return
      left = true
      this.#all.leave()
      this.#leaveAccount(account)
    }
  }

  /**
   * A place for an attempt to connect and log in: what a dead upstream holds up stays bounded, and one that comes back is not run over.
   * @throws GatewayError UPSTREAM_UNAVAILABLE when `signal` ends the waiting
   */
  async attempt(signal: AbortSignal): Promise<Leave> {
    await this.#connecting.enter(signal, "UPSTREAM_UNAVAILABLE", "imap upstream: too many connections are being made")
    return () => this.#connecting.leave()
  }

  async #enterAccount(account: string, signal: AbortSignal): Promise<void> {
    const full = `imap upstream: all ${this.#limits.perAccount} connections of ${account} are in use`
    if (this.#limits.whenFull === "wait") await this.#gateOf(account).enter(signal, "UPSTREAM_LIMIT", full)
    else if (!this.#enter(() => this.#gateOf(account), account)) throw new GatewayError("UPSTREAM_LIMIT", full)
  }

  /** `gate`: looked up again, since that of an account is forgotten when its last connection has gone. */
  #enter(gate: () => Gate, account: string | null): boolean {
    return gate().tryEnter() || (this.#spare(account) && gate().tryEnter())
  }

  #leaveAccount(account: string): void {
    const gate = this.#gateOf(account)
    gate.leave()
    if (gate.idle) this.#accounts.delete(account)
  }

  #gateOf(account: string): Gate {
    const gate = this.#accounts.get(account) ?? new Gate(this.#limits.perAccount)
    this.#accounts.set(account, gate)
    return gate
  }
}

/** A number of places; who waits comes in first come, first served. */
class Gate {
  readonly #places: number
  readonly #waiting = new Set<() => void>()
  #taken = 0

  constructor(places: number) {
    this.#places = places
  }

  /** Nobody is in, so nobody waits either. */
  get idle(): boolean {
    return this.#taken === 0
  }

  /** @returns false when all places are taken */
  tryEnter(): boolean {
    if (this.#taken >= this.#places) return false
    this.#taken += 1
    return true
  }

  /** @throws GatewayError with `code` and `full` when `signal` ends the waiting */
  enter(signal: AbortSignal, code: "UPSTREAM_LIMIT" | "UPSTREAM_UNAVAILABLE", full: string): Promise<void> {
    if (this.tryEnter()) return Promise.resolve()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const giveUp = (): void => {
      this.#waiting.delete(take)
      reject(new GatewayError(code, full, { cause: signal.reason }))
    }
    const take = (): void => {
      signal.removeEventListener("abort", giveUp)
      resolve()
    }
    if (signal.aborted) giveUp()
    else {
      this.#waiting.add(take)
      signal.addEventListener("abort", giveUp, { once: true })
    }
    return promise
  }

  /** Once for each place taken. */
  leave(): void {
    const [next] = this.#waiting
    if (next === undefined) {
      this.#taken -= 1
      return
    }
    // The place goes from hand to hand: nobody who comes later slips in between.
    this.#waiting.delete(next)
    next()
  }
}
