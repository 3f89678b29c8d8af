/** A process of its own: thousands of TLS clients that log in, select INBOX and idle, and count what they are told. */
import { connect, type TLSSocket } from "node:tls"
import type { FromPart, ToPart } from "./idle-parts.ts"

/** Logins under way at once. */
const AT_ONCE = 20

const seen = new Map<number, number>()
let idling = 0

function tell(message: FromPart): void {
  process.send?.(message)
}

async function connectAll({ port, username, password, count }: ToPart & { kind: "connect" }): Promise<void> {
  let next = 0
  const logIn = async (): Promise<void> => {
    while (next < count) {
      next += 1
      await idle(port, username, password)
      idling += 1
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, logIn))
  tell({ kind: "idling", count: idling })
}

/** Resolves when the connection idles. */
function idle(port: number, username: string, password: string): Promise<void> {
  const steps = [
    [/^\* OK /, `l LOGIN ${username} ${password}\r\n`],
    [/^l OK /m, "s SELECT INBOX\r\n"],
    [/^s OK /m, "i IDLE\r\n"],
    [/^\+ /m, ""],
  ] as const
  return new Promise((resolve) => {
    const socket = connect({
      port,
      host: "127.0.0.1",
      rejectUnauthorized: false,
      ALPNProtocols: ["imap"],
      ...(process.env.CURVE ? { ecdhCurve: process.env.CURVE } : {}),
    })
    socket.setNoDelay(true)
    let step = 0
    let text = ""
    const take = (octets: Buffer): void => {
      text += octets.toString("latin1")
      const [pattern, answer] = steps[step] ?? [/$^/, ""]
      if (!pattern.test(text)) return
      text = ""
      step += 1
      if (answer !== "") return void socket.write(answer)
      socket.off("data", take)
      watch(socket)
      resolve()
    }
    socket.on("data", take)
    socket.on("error", (error) => tell({ kind: "lost", reason: error.message }))
    socket.on("close", () => tell({ kind: "lost", reason: `closed: ${text.slice(-200)}` }))
  })
}

function watch(socket: TLSSocket): void {
  socket.on("data", (octets: Buffer) => {
    const exists = Number(/^\* (\d+) EXISTS\r\n$/.exec(octets.toString("latin1"))?.[1])
    if (Number.isNaN(exists)) return
    const count = (seen.get(exists) ?? 0) + 1
    seen.set(exists, count)
    if (count === idling) tell({ kind: "seen", exists, count })
  })
}

process.on("message", (message: ToPart) => {
  if (message.kind === "connect") void connectAll(message)
})
process.on("disconnect", () => process.exit())
