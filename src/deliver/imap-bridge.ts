import { once } from "node:events"
import { mkdtemp, rm } from "node:fs/promises"
import { createServer, type Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Duplex } from "node:stream"
import { ImapFlow } from "imapflow"

/** A command that the server does not answer. */
const SILENCE_MS = 120_000

/**
 * imapflow over a connection that is logged in already, and whose first line is `* PREAUTH`. It only makes connections of its own: here to a
 * socket in a folder that is ours alone, which takes one connection and is gone.
 */
export async function imapOver(connection: Duplex): Promise<ImapFlow> {
  // Whoever asks for something hears of it.
  connection.on("error", () => undefined)
  const folder = await mkdtemp(join(tmpdir(), "postern-imap-"))
  const path = join(folder, "socket")
  const server = createServer({ allowHalfOpen: false }, (socket) => {
    server.close()
    splice(socket, connection)
  })
  try {
    server.listen(path)
    await once(server, "listening")
    const client = new ImapFlow({
      // What is in `tls` goes to node:net as it is; a path goes before host and port.
      host: "localhost",
      port: 143,
      secure: false,
      doSTARTTLS: false,
      tls: { path } as object,
      logger: false,
      disableAutoIdle: true,
      // ENABLE UTF8=ACCEPT would change how names are written, COMPRESS saves nothing on ciphertext.
      disableAutoEnable: true,
      disableCompression: true,
      disableBinary: true,
      greetingTimeout: SILENCE_MS,
      socketTimeout: SILENCE_MS,
      maxLockHoldTime: false,
    })
    client.on("error", () => undefined)
    client.on("close", () => connection.destroy())
    await client.connect()
    return client
  } catch (error) {
    server.close()
    connection.destroy()
    throw error
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** What one side says the other hears; where one ends both do. */
function splice(socket: Socket, connection: Duplex): void {
  for (const [from, to] of [
    [socket, connection],
    [connection, socket],
  ] as const) {
    from.on("error", () => undefined)
    from.on("close", () => to.destroy())
    from.pipe(to)
  }
}
