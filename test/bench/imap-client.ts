import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"

/** Where the load goes, and as whom. */
export interface Door {
  readonly port: number
  readonly tls: boolean
  /** Client number n is login n, from the start again when there are more clients than logins. */
  readonly logins: readonly { readonly user: string; readonly password: string }[]
}

/** What the load client can be told to do. */
export type Job =
  | { readonly kind: "fetch"; readonly door: Door; readonly clients: number; readonly digest: boolean }
  | { readonly kind: "read"; readonly door: Door; readonly uids: readonly number[] }
  | { readonly kind: "latency"; readonly door: Door; readonly commands: readonly string[]; readonly count: number }
  | { readonly kind: "logins"; readonly door: Door; readonly clients: number; readonly seconds: number }
  | { readonly kind: "idle"; readonly door: Door; readonly connections: number }
  | { readonly kind: "leave" }

/** What one client of a fetch received. */
export interface Received {
  readonly messages: number
  /** Of all messages together. */
  readonly octets: number
  /** SHA-256 of all messages in a row, where it was asked for. */
  readonly digest: string | null
}

interface Answers {
  readonly fetch: { readonly seconds: number; readonly received: readonly Received[] }
  /** Base64, in the order of the UIDs. */
  readonly read: readonly string[]
  /** Of each command, milliseconds. */
  readonly latency: readonly number[]
  /** Each second. */
  readonly logins: number
  readonly idle: null
  readonly leave: null
}

export type Answer = { readonly answer: Answers[Job["kind"]] } | { readonly failure: string }

/** The load client: one process of its own for the whole run, the same for every contestant, so that its costs are the same too. */
export class LoadClient implements AsyncDisposable {
  readonly #process: ChildProcess

  private constructor(process: ChildProcess) {
    this.#process = process
  }

  static start(): LoadClient {
    return new LoadClient(fork(join(import.meta.dirname, "imap-load.ts")))
  }

  /** One job at a time. */
  async run<K extends Job["kind"]>(job: Extract<Job, { kind: K }>): Promise<Answers[K]> {
    const ended = new AbortController()
    const leave = (): void => ended.abort(new Error("the load client has ended"))
    this.#process.once("exit", leave)
    try {
      this.#process.send(job)
      const [answer] = (await once(this.#process, "message", { signal: ended.signal })) as [Answer]
      if ("failure" in answer) throw new Error(`${job.kind}: ${answer.failure}`)
      return answer.answer as Answers[K]
    } finally {
      this.#process.off("exit", leave)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const ended = once(this.#process, "exit")
    this.#process.kill("SIGKILL")
    await ended
  }
}
