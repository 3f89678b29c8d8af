import { GatewayError } from "../errors.ts"

/** What came of a literal or IDLE that was announced upstream: it may go on, or the command was answered instead. */
export type Continuation = "continue" | "ended"

/** A command that the upstream has not answered yet. */
export interface PendingCommand {
  readonly tag: string
  readonly name: string
  /** Takes the tagged response in place of the client. */
  readonly intercept?: (status: "OK" | "NO" | "BAD", line: Uint8Array) => void
  /** Told of the completion before the client is. */
  readonly completed?: (status: "OK" | "NO" | "BAD") => void
  /** When it was sent, milliseconds of performance.now; add sets it. */
  sinceMs?: number
}

/** Hears how long commands took. */
export interface CompletionListener {
  completed(name: string, sinceMs: number): void
}

/** Commands in flight, oldest first, and those who wait for one of them. */
export class Pending {
  #commands: PendingCommand[] = []
  #continuations: { readonly command: PendingCommand; readonly resolve: (outcome: Continuation) => void }[] = []
  #waiters: { readonly below: number; readonly resolve: () => void; readonly reject: (reason: unknown) => void }[] = []
  #ended = false
  readonly #listener: CompletionListener

  constructor(listener: CompletionListener) {
    this.#listener = listener
  }

  add(command: PendingCommand): void {
    command.sinceMs = performance.now()
    this.#commands.push(command)
  }

  get count(): number {
    return this.#commands.length
  }

  has(command: PendingCommand): boolean {
    return this.#commands.includes(command)
  }

  /** True when an IDLE is among them. */
  get idling(): boolean {
    return this.#commands.some((command) => command.name === "IDLE")
  }

  /** Waits for `+` or for the command's tagged response, whichever comes. */
  continuation(command: PendingCommand): Promise<Continuation> {
    return new Promise((resolve) => {
      if (this.#ended || !this.#commands.includes(command)) resolve("ended")
      else this.#continuations.push({ command, resolve })
    })
  }

  /** A `+` came from the upstream. @returns the command it is for, or null when nobody waits. */
  proceed(): PendingCommand | null {
    const waiting = this.#continuations.shift()
    waiting?.resolve("continue")
    return waiting?.command ?? null
  }

  /** The tagged response of `tag` came. @returns null when no such command is in flight. */
  complete(tag: string): PendingCommand | null {
    const at = this.#commands.findIndex((command) => command.tag === tag)
    const command = this.#commands[at]
    if (command === undefined) return null
    this.#commands.splice(at, 1)
    this.#listener.completed(command.name, command.sinceMs ?? 0)
    for (const waiting of this.#continuations) if (waiting.command === command) waiting.resolve("ended")
    this.#continuations = this.#continuations.filter((waiting) => waiting.command !== command)
    this.#wake()
    return command
  }

  /** Resolves when fewer than `count` commands are in flight. @throws UPSTREAM_UNAVAILABLE when the connection ends first. */
  async below(count: number): Promise<void> {
    if (this.#ended) throw ended()
    if (this.#commands.length < count) return
    await new Promise<void>((resolve, reject) => this.#waiters.push({ below: count, resolve, reject }))
  }

  /** The connection is over: nobody waits any longer. */
  end(): void {
    this.#ended = true
    for (const waiting of this.#continuations) waiting.resolve("ended")
    for (const waiter of this.#waiters) waiter.reject(ended())
    this.#continuations = []
    this.#waiters = []
  }

  #wake(): void {
    const ready = this.#waiters.filter((waiter) => this.#commands.length < waiter.below)
    this.#waiters = this.#waiters.filter((waiter) => !ready.includes(waiter))
    for (const waiter of ready) waiter.resolve()
  }
}

function ended(): GatewayError {
  return new GatewayError("UPSTREAM_UNAVAILABLE", "imap: connection ended")
}
