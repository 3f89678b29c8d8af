import type { Socket } from "node:net"
import type { Leave } from "./connection-limits.ts"
import type { Identity } from "./sasl.ts"

/** How long and how many. */
export interface KeepLimits {
  readonly milliseconds: number
  readonly connections: number
  /** For one account and address. */
  readonly perClient: number
}

/** A logged-in connection: for whom, and as whom. */
export interface Login {
  /** Somebody listens to its errors. */
  readonly stream: Socket
  readonly account: string
  /** What the server was told of the client; null: nothing, and the connection is as good for any other client. */
  readonly address: string | null
  readonly identity: Identity
  /** As the server told them behind the login. */
  readonly capabilities: string
  /** Gives back its place among the connections. */
  readonly leave: Leave
}

/** A connection that waits for the next login. */
export interface Kept {
  readonly login: Login
  /** Milliseconds of performance.now. */
  readonly sinceMs: number
}

interface Waiting extends Kept {
  readonly timer: NodeJS.Timeout
  /** It has ended, or the server has said something that nobody asked for. */
  readonly lost: () => void
}

/**
 * Connections that clients have logged out of, each for the next login of the same account from the same address. A login at the server
 * costs more than all else of a short session; clients without memory (webmail, scripts) log in for every click.
 */
export class KeptConnections {
  readonly #limits: KeepLimits
  /** Oldest first. */
  readonly #waiting = new Set<Waiting>()

  constructor(limits: KeepLimits) {
    this.#limits = limits
  }

  /** Keeps a connection on which nothing is selected and nothing in flight. When there is no room, the oldest makes some. */
  keep(login: Login): void {
    const same = this.#of(login.account, login.address)
    if (same.length >= this.#limits.perClient) this.#drop(same[0])
    if (this.#waiting.size >= this.#limits.connections) this.#drop(this.#oldest(null))
    const lost = (): void => this.#drop(waiting)
    const timer = setTimeout(lost, this.#limits.milliseconds).unref()
    const waiting: Waiting = { login, sinceMs: performance.now(), timer, lost }
    // A process that has nothing else to do ends.
    login.stream.unref()
    for (const event of ENDINGS) login.stream.on(event, lost)
    this.#waiting.add(waiting)
  }

  /** The youngest for this account and address; null: there is none. */
  take(account: string, address: string | null): Kept | null {
    const waiting = this.#of(account, address).at(-1)
    if (waiting === undefined) return null
    this.#forget(waiting)
    waiting.login.stream.ref()
    return waiting
  }

  /** Ends the oldest of this account; null: of all. @returns false when there is none */
  giveUp(account: string | null): boolean {
    const oldest = this.#oldest(account)
    this.#drop(oldest)
    return oldest !== undefined
  }

  #of(account: string, address: string | null): Waiting[] {
    return [...this.#waiting].filter(({ login }) => login.account === account && login.address === address)
  }

  #oldest(account: string | null): Waiting | undefined {
    return this.#waiting.values().find(({ login }) => account === null || login.account === account)
  }

  #drop(waiting: Waiting | undefined): void {
    if (waiting === undefined || !this.#waiting.has(waiting)) return
    this.#forget(waiting)
    waiting.login.stream.destroy()
    waiting.login.leave()
  }

  #forget(waiting: Waiting): void {
    this.#waiting.delete(waiting)
    clearTimeout(waiting.timer)
    for (const event of ENDINGS) waiting.login.stream.off(event, waiting.lost)
  }
}

/** `readable`: whatever arrives now is nobody's answer. */
const ENDINGS = ["readable", "end", "close", "error"] as const
