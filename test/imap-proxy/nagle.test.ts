import { once } from "node:events"
import { type AddressInfo, createServer, type Socket } from "node:net"
import { expect, test } from "vitest"
import { upstreamAt } from "../harness/upstream.ts"
import { Lines } from "./answering.ts"
import { BareClient } from "./client.ts"
import { LAPTOP, startRig } from "./rig.ts"

/** The kernel acknowledges the first segments of a connection at once: these are not looked at. */
const FIRST = 50
const ROUNDS = 50
/** Linux delays an acknowledgement for 40 ms at least, and Nagle's algorithm holds back the next small segment so long. */
const DELAYED_MS = 40

test("small segments one after another are not held back, either way", async () => {
  let heard = (): void => undefined
  let mayEnd = Promise.withResolvers<void>()
  const serve = async (socket: Socket): Promise<void> => {
    socket.write("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready\r\n")
    const lines = new Lines(socket)
    const [login] = (await lines.next()).split(" ")
    socket.write(`${login} OK [CAPABILITY IMAP4rev1] in\r\n`)
    for (;;) {
      const [first] = (await lines.next()).split(" ")
      heard()
      const [second] = (await lines.next()).split(" ")
      socket.write(`${first} OK first\r\n`)
      await mayEnd.promise
      mayEnd = Promise.withResolvers()
      socket.write(`${second} OK second\r\n`)
    }
  }
  const server = createServer({ noDelay: true }, (socket) => {
    // Ends with the client's connection.
    void serve(socket.on("error", () => undefined)).catch(() => socket.destroy())
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo
  const upstream = upstreamAt({ kind: "tcp", host: "127.0.0.1", port, security: "plain" })
  await using rig = await startRig({ upstream })
  await using client = await BareClient.loggedIn(rig, LAPTOP)
  const times: number[] = []
  for (let count = 0; count < FIRST + ROUNDS; count += 1) {
    const start = performance.now()
    // A second small segment while the first is not acknowledged, since its receiver has nothing to say: to the store, and to the client.
    const reached = new Promise<void>((resolve) => {
      heard = resolve
    })
    client.send(`a${count} NOOP\r\n`)
    await reached
    client.send(`b${count} NOOP\r\n`)
    await client.tagged(`a${count}`)
    mayEnd.resolve()
    await client.tagged(`b${count}`)
    times.push(performance.now() - start)
  }
  server.close()
  const median = times.slice(FIRST).sort((a, b) => a - b)[ROUNDS / 2]
  expect(median).toBeLessThan(DELAYED_MS / 2)
})
