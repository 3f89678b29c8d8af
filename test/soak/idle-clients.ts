/** A process of its own: thousands of TLS clients that log in, select INBOX and idle, and count what they are told. */
import { connect, type TLSSocket } from "node:tls"
import type { FromPart, ToPart } from "./idle-parts.ts"

/** Logins under way at once. */
const AT_ONCE = 20
/** Reasons that are told: all of thousands would say the same. */
const MAX_REASONS = 5

const seen = new Map<number, number>()
const reasons: string[] = []
let held = 0
let lost = 0

function tell(message: FromPart): void {
  process.send?.(message)
}

async function connectAll({ count, ...as }: ToPart & { kind: "connect" }): Promise<void> {
  let next = 0
  const logIn = async (): Promise<void> => {
    while (next < count) {
      next += 1
      await idle(as)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, logIn))
  tell({ kind: "idling" })
}

/** Resolves when the connection idles, or is lost. */
function idle({ port, username, password, group }: Omit<ToPart & { kind: "connect" }, "count">): Promise<void> {
  const steps = [
    [/^\* OK /, `l LOGIN ${username} ${password}\r\n`],
    [/^l OK /m, "s SELECT INBOX\r\n"],
    [/^s OK /m, "i IDLE\r\n"],
    [/^\+ /m, ""],
  ] as const
  return new Promise((resolve) => {
    const more = group === null ? {} : { ecdhCurve: group }
    const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ALPNProtocols: ["imap"], ...more })
    socket.setNoDelay(true)
    let step = 0
    let text = ""
    let failure = ""
    const startedMs = performance.now()
    const take = (octets: Buffer): void => {
      text += octets.toString("latin1")
      const [pattern, answer] = steps[step] ?? [/$^/, ""]
      if (!pattern.test(text)) return
      text = ""
      step += 1
      if (answer !== "") return void socket.write(answer)
      socket.off("data", take)
      held += 1
      watch(socket, (last) => {
        text = last
      })
      resolve()
    }
    socket.on("data", take)
    socket.on("error", (error) => {
      failure = error.message
    })
    socket.on("close", () => {
      if (step === steps.length) held -= 1
      lost += 1
      if (reasons.length < MAX_REASONS)
        reasons.push(`step ${step}, after ${seconds(startedMs)} s: ${failure} ${text.slice(-200)}`)
      resolve()
    })
  })
}

function seconds(sinceMs: number): string {
  return ((performance.now() - sinceMs) / 1000).toFixed(1)
}

/** `told` hears what came that is no new mail. */
function watch(socket: TLSSocket, told: (text: string) => void): void {
  socket.on("data", (octets: Buffer) => {
    const text = octets.toString("latin1")
    const exists = Number(/^\* (\d+) EXISTS\r\n$/.exec(text)?.[1])
    if (Number.isNaN(exists)) return told(text)
    const count = (seen.get(exists) ?? 0) + 1
    seen.set(exists, count)
    if (count === held) tell({ kind: "seen", exists })
  })
}

process.on("message", (message: ToPart) => {
  if (message.kind === "connect") void connectAll(message)
  if (message.kind === "count") {
    const { exists } = message
    tell({ kind: "counted", exists, held, lost, seen: seen.get(exists) ?? 0, reasons })
  }
})
process.on("disconnect", () => process.exit())
