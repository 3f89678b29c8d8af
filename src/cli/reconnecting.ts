import { setTimeout as wait } from "node:timers/promises"
import { GatewayError, hasCode } from "../errors.ts"
import type { OpenStore, RemoteStore } from "./remote-store.ts"

/** A server that restarts is back within this; what takes longer takes people. */
const WAITS_MS: readonly number[] = [1_000, 2_000, 4_000, 8_000, 16_000]

/** How a {@link Reconnecting} behaves. */
interface ReconnectingOptions {
  /** Is told of each loss. */
  readonly report: (line: string) => void
  readonly waitsMs?: readonly number[]
}

/** A store, connected anew when the connection is lost. */
export class Reconnecting implements AsyncDisposable {
  readonly #open: OpenStore
  readonly #report: (line: string) => void
  readonly #waitsMs: readonly number[]
  #store: RemoteStore | null = null
  #connected = false
  #lost = 0

  constructor(open: OpenStore, { report, waitsMs = WAITS_MS }: ReconnectingOptions) {
    this.#open = open
    this.#report = report
    this.#waitsMs = waitsMs
  }

  /**
   * Runs `act` to its end, again from its beginning whenever the connection is lost: what it has done it must know by itself.
   * @throws GatewayError UPSTREAM_UNAVAILABLE when the connection is lost again and again without {@link progressed}
   */
  async run<T>(act: (store: RemoteStore) => Promise<T>): Promise<T> {
    for (;;) {
      try {
        this.#store ??= await this.#open()
        this.#connected = true
        return await act(this.#store)
      } catch (error) {
        if (!hasCode(error, "UPSTREAM_UNAVAILABLE")) throw error
        await this.#disconnect()
        await this.#rest(error)
      }
    }
  }

  /** Something was brought to its end: the next loss is the first again. */
  progressed(): void {
    this.#lost = 0
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#disconnect()
  }

  async #rest(cause: unknown): Promise<void> {
    const message = cause instanceof Error ? cause.message : String(cause)
    // A server that was never reached is not expected to come back.
    if (!this.#connected) throw cause
    const waitMs = this.#waitsMs[this.#lost]
    if (waitMs === undefined)
      throw new GatewayError("UPSTREAM_UNAVAILABLE", `${message}; given up, run it again: it goes on where it was`, {
        cause,
      })
    this.#lost += 1
    this.#report(`${message}; trying again in ${waitMs / 1000}s`)
    await wait(waitMs)
  }

  async #disconnect(): Promise<void> {
    const store = this.#store
    this.#store = null
    await store?.[Symbol.asyncDispose]()
  }
}
