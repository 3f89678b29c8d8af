/** Something that is done again and again. */
export interface Rounds {
  readonly firstMs: number
  readonly everyMs: number
  /** One round; the next waits for it. */
  readonly round: (signal: AbortSignal) => Promise<void>
  readonly onError: (error: unknown) => void
}

/** Makes rounds until it is disposed of, which ends the one under way. */
export function startRounds({ firstMs, everyMs, round, onError }: Rounds): AsyncDisposable {
  const ending = new AbortController()
  let running: Promise<void> | null = null
  const start = (): void => {
    running ??= round(ending.signal)
      .catch((error: unknown) => {
        if (!ending.signal.aborted) onError(error)
      })
      .finally(() => {
        running = null
      })
  }
  const timers = [setTimeout(start, firstMs).unref(), setInterval(start, everyMs).unref()]
  return {
    async [Symbol.asyncDispose]() {
      for (const timer of timers) clearTimeout(timer)
      ending.abort()
      await running
    },
  }
}
