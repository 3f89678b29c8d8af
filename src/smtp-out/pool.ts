import type { Client } from "./client.ts"

export interface PoolLimits {
  /** Sessions with one hop at a time; more than 20 is rude to most servers. */
  readonly perHop: number
  /** An unused session is closed after this time. */
  readonly idleMs: number
}

/** A session for one message; give it back with {@link ClientPool.release}. */
export interface Lease {
  readonly client: Client
  /** It has relayed something before: the server may have closed it meanwhile. */
  readonly reused: boolean
}

/** Open sessions by next hop, used again while they are fresh. */
export class ClientPool {
  readonly #limits: PoolLimits
  readonly #hops = new Map<string, Hop>()
  #closed = false

  constructor(limits: PoolLimits) {
    this.#limits = limits
  }

  /** An idle session, or a new one by `connect`; waits while all are in use. */
  async acquire(key: string, connect: () => Promise<Client>, signal: AbortSignal): Promise<Lease> {
    const hop = this.#hop(key)
    if (hop.busy >= this.#limits.perHop) await turn(hop, signal)
    else hop.busy++
    const client = takeIdle(hop)
    if (client) return { client, reused: true }
    try {
      return { client: await connect(), reused: false }
    } catch (error) {
      this.#leave(key, hop)
      throw error
    }
  }

  /** Gives a session back; a closed one makes room. */
  release(key: string, client: Client): void {
    const hop = this.#hop(key)
    if (this.#closed) client.quit()
    else if (client.open) {
      const timer = setTimeout(() => this.#expire(key, hop, client), this.#limits.idleMs)
      timer.unref()
      hop.idle.push({ client, timer })
    }
    this.#leave(key, hop)
  }

  /** Says QUIT to idle sessions now, to the others when they come back. */
  close(): void {
    this.#closed = true
    for (const hop of this.#hops.values()) {
      for (const { client, timer } of hop.idle.splice(0)) {
        clearTimeout(timer)
        client.quit()
      }
    }
  }

  #hop(key: string): Hop {
    const known = this.#hops.get(key)
    if (known) return known
    const hop: Hop = { busy: 0, idle: [], waiting: [] }
    this.#hops.set(key, hop)
    return hop
  }

  /** The place goes to who waits longest. */
  #leave(key: string, hop: Hop): void {
    const next = hop.waiting.shift()
    if (next) next()
    else hop.busy--
    this.#forget(key, hop)
  }

  #expire(key: string, hop: Hop, client: Client): void {
    hop.idle = hop.idle.filter((entry) => entry.client !== client)
    client.quit()
    this.#forget(key, hop)
  }

  #forget(key: string, hop: Hop): void {
    if (hop.busy === 0 && hop.idle.length === 0 && this.#hops.get(key) === hop) this.#hops.delete(key)
  }
}

interface Hop {
  busy: number
  idle: { readonly client: Client; readonly timer: NodeJS.Timeout }[]
  readonly waiting: (() => void)[]
}

/** The last used first: the others grow old and are closed. */
function takeIdle(hop: Hop): Client | null {
  for (let entry = hop.idle.pop(); entry; entry = hop.idle.pop()) {
    clearTimeout(entry.timer)
    if (entry.client.open) return entry.client
  }
  return null
}

async function turn(hop: Hop, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const stop = (): void => {
    const place = hop.waiting.indexOf(resolve)
    if (place >= 0) hop.waiting.splice(place, 1)
    reject(signal.reason)
  }
  signal.addEventListener("abort", stop, { once: true })
  hop.waiting.push(resolve)
  try {
    await promise
  } finally {
    signal.removeEventListener("abort", stop)
  }
}
