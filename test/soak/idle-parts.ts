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
      readonly count: number
    }
  /** To the upstream: one more message, told to all who idle. */
  | { readonly kind: "announce" }

/** What they tell. */
export type FromPart =
  | { readonly kind: "listening"; readonly port: number }
  | { readonly kind: "idling"; readonly count: number }
  /** So many clients have seen so many messages in their mailbox. */
  | { readonly kind: "seen"; readonly exists: number; readonly count: number }
  | { readonly kind: "lost"; readonly reason: string }

/** A process of the test. */
export interface Part extends AsyncDisposable {
  tell(message: ToPart): void
  /** Resolves with the first message, also one that came before, that `wanted` takes. @throws Error when the part loses a connection */
  heard<T extends FromPart>(wanted: (message: FromPart) => message is T, deadlineMs: number): Promise<T>
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
        refuseFailure(file, child, heard)
        if (Date.now() > end)
          throw new Error(`${file}: not within ${deadlineMs} ms; said ${JSON.stringify(heard.at(-1))}`)
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
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = new Promise((resolve) => child.once("exit", resolve))
      child.kill("SIGKILL")
      await ended
    },
  }
}

function refuseFailure(file: string, child: ChildProcess, heard: readonly FromPart[]): void {
  const lost = heard.find((message) => message.kind === "lost")
  if (lost?.kind === "lost") throw new Error(`${file}: a connection was lost: ${lost.reason}`)
  if (child.exitCode !== null || child.signalCode !== null) throw new Error(`${file}: ended`)
}
