import { isIPv4 } from "node:net"
import { networkOf } from "./network.ts"

/**
 * Puts off who writes for the first time: a mail server comes back, most of what sends spam does not. Large senders come back from another
 * address of the same pool, so the last octet of an IPv4 address does not count. In memory: after a restart everybody is new once more.
 */
export class Greylist {
  readonly #delayMs: number
  readonly #now: () => Date
  /** When each was seen first, the one longest ago first. */
  readonly #firstMs = new Map<string, number>()

  constructor(delayMs: number, now: () => Date) {
    this.#delayMs = delayMs
    this.#now = now
  }

  /** @returns false while it is too early for this sender, recipient and network */
  passes(remote: string, sender: string, recipient: string): boolean {
    const key = `${poolOf(remote)}\n${sender}\n${recipient}`
    const nowMs = this.#now().getTime()
    const sinceMs = nowMs - (this.#firstMs.get(key) ?? Number.NEGATIVE_INFINITY)
    if (sinceMs < FORGOTTEN_MS) return sinceMs >= this.#delayMs
    this.#firstMs.delete(key)
    this.#firstMs.set(key, nowMs)
    const [oldest] = this.#firstMs.keys()
    if (this.#firstMs.size > MAX_KEPT && oldest !== undefined) this.#firstMs.delete(oldest)
    return false
  }
}

function poolOf(remote: string): string {
  const network = networkOf(remote)
  return isIPv4(network) ? network.slice(0, network.lastIndexOf(".")) : network
}

/** Honest servers try again within hours; RFC 6647 §5 says a day. */
const FORGOTTEN_MS = 86_400_000
/** Some 200 octets each. */
const MAX_KEPT = 50_000
