import type { Command } from "../../imap-proxy/wire/command-reader.ts"
import { count } from "./arguments.ts"
import type { Context } from "./context.ts"

/** Keeps address translators on the way from forgetting the connection. */
const STILL_HERE_MS = 120_000

/** IDLE (RFC 2177): tells changes as they come, until the client says DONE. @returns null when the client left */
export async function idle(context: Context, command: Command): Promise<string | null> {
  count(command.arguments, 0)
  const { input, output, view } = context
  output.line("+ idling")
  input.reader.expectLine()
  const line = input.next()
  // Awaited below; until then a failure is not unhandled.
  line.catch(() => undefined)
  let wake = (): void => undefined
  const stop = view?.folder.listen(() => wake()) ?? ((): void => undefined)
  const stillHere = setInterval(() => {
    output.line("* OK Still here")
    wake()
  }, STILL_HERE_MS).unref()
  try {
    await view?.folder.refresh()
    for (;;) {
      const changed = new Promise<"changed">((resolve) => {
        wake = () => resolve("changed")
      })
      view?.report(output, true)
      await output.flush()
      // The session says why it ends.
      if (view?.folder.lost) return "NO The mailbox is gone"
      const event = await Promise.race([line, changed])
      if (event === "changed") continue
      if (event === null) return null
      const done = event.kind === "line" && /^done$/i.test(Buffer.from(event.octets).toString("latin1").trim())
      return done ? "OK IDLE completed" : "BAD DONE expected"
    }
  } finally {
    clearInterval(stillHere)
    stop()
  }
}
