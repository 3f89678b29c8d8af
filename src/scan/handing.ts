import type { Writable } from "node:stream"
import { GatewayError } from "../errors.ts"
import type { Finding } from "./finding.ts"

/**
 * The way of a message to a scanner over a stream, as fast as the scanner takes it; and of its one answer, which may come at any time, from
 * whoever reads it ({@link settle}, {@link fail}). Waits without a limit of its own.
 */
export class Handing {
  readonly #stream: Writable
  #outcome: { readonly finding: Finding } | { readonly error: unknown } | null = null
  #complete = false
  #news: () => void = () => undefined

  constructor(stream: Writable) {
    this.#stream = stream
    stream.on("drain", () => this.#news())
  }

  /** Whoever has not seen the whole may refuse it, and not clear it. */
  settle(finding: Finding): void {
    if (this.#complete || finding.outcome !== "clean") this.#know({ finding })
    else this.fail(new GatewayError("SCANNER_AWAY", "scan: answered before the end of the message"))
  }

  fail(error: unknown): void {
    this.#know({ error })
  }

  /** The connection is gone; who answered before it went has answered. */
  closed(): void {
    this.fail(new GatewayError("SCANNER_AWAY", "scan: connection closed without an answer"))
  }

  /** Resolves when there is room for more. @returns an answer that came before the end; null: none so far */
  async write(...pieces: readonly Uint8Array[]): Promise<Finding | null> {
    if (this.#outcome === null) {
      this.#stream.cork()
      for (const piece of pieces) this.#stream.write(piece)
      this.#stream.uncork()
    }
    while (this.#outcome === null && this.#stream.writableNeedDrain) await this.#wait()
    return this.#answer()
  }

  /** The message is complete. @returns the answer, whenever it comes */
  async answer(): Promise<Finding> {
    this.#complete = true
    for (;;) {
      const finding = this.#answer()
      if (finding !== null) return finding
      await this.#wait()
    }
  }

  #know(outcome: { readonly finding: Finding } | { readonly error: unknown }): void {
    this.#outcome ??= outcome
    this.#news()
  }

  #answer(): Finding | null {
    if (this.#outcome === null) return null
    if ("error" in this.#outcome) throw this.#outcome.error
    return this.#outcome.finding
  }

  #wait(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#news = resolve
    return promise
  }
}
