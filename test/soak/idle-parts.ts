import { type ChildProcess, fork } from "node:child_process"
import { join } from "node:path"

/** What the parts of the test in other processes are told. */
export type ToPart =
  /** To the clients: log in, select, and idle. */
  | {
      readonly kind: "connect"
      readonly port: number
      readonly username: string
      readonly password: string
      /** Of the key agreement, in OpenSSL's words; null: what Node prefers. */
      readonly group: string | null
      readonly count: number
    }
  /** To the upstream: one more message, told to all who idle. */
  | { readonly kind: "announce" }
  /** To the clients: how many idle, and have seen so many messages? */
  | { readonly kind: "count"; readonly exists: number }

/** What they tell. */
export type FromPart =
  | { readonly kind: "listening"; readonly port: number }
  /** All that were asked for idle, or were lost before. */
  | { readonly kind: "idling" }
  /** All clients that idle have seen so many messages in their mailbox. */
  | { readonly kind: "seen"; readonly exists: number }
  | Counted

/** The clients of one part. */
export interface Counted {
  readonly kind: "counted"
  readonly exists: number
  readonly held: number
  readonly lost: number
  readonly seen: number
  /** Why the first of the lost ones were lost. */
  readonly reasons: readonly string[]
}

/** A process of the test. */
export interface Part extends AsyncDisposable {
  tell(message: ToPart): void
  /** Resolves with the first message, also one that came before, that `wanted` takes; null: none within `deadlineMs`. @throws Error when the part has ended */
  heard<T extends FromPart>(wanted: (message: FromPart) => message is T, deadlineMs: number): Promise<T | null>
}

export function startPart(file: string): Part {
  const child = fork(join(import.meta.dirname, file), { stdio: ["ignore", "inherit", "inherit", "ipc"] })
  const heard: FromPart[] = []
  let wake = (): void => undefined
  child.on("message", (message: FromPart) => {
    heard.push(message)
    wake()
  })
  child.on("exit", () => wake())
  return {
    tell: (message) => void child.send(message),
    async heard(wanted, deadlineMs) {
      const end = Date.now() + deadlineMs
      for (;;) {
        const found = heard.find(wanted)
        if (found !== undefined) return found
        if (hasEnded(child)) throw new Error(`${file}: ended`)
        if (Date.now() >= end) return null
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, Math.max(1, end - Date.now()))
          wake = () => {
            clearTimeout(timer)
            resolve()
          }
        })
      }
    },
    async [Symbol.asyncDispose]() {
      if (hasEnded(child)) return
      const ended = new Promise((resolve) => child.once("exit", resolve))
      child.kill("SIGKILL")
      await ended
    },
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null
}
