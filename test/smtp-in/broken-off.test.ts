import { once } from "node:events"
import { connect } from "node:net"
import { expect, test } from "vitest"
import { eventually } from "../harness/instance.ts"
import { openGate } from "./gate.ts"
import { Wire } from "./wire.ts"

const MESSAGE = "From: a@b.example\r\nTo: alice@example.test\r\n\r\nHello\r\n"

async function greeted(port: number): Promise<Wire> {
  const wire = await Wire.open(port)
  await wire.say("EHLO client.example")
  return wire
}

test("commands that are pipelined behind a DATA that is refused are commands, and no message", async () => {
  await using gate = await openGate("mx")
  await using wire = await greeted(gate.port)
  const message = "Subject: x\r\n\r\nMAIL FROM:<evil@b.example>\r\nRCPT TO:<alice@example.test>\r\n.\r\n"
  wire.write(`MAIL FROM:<a@b.example>\r\nRCPT TO:<nobody@example.test>\r\nDATA\r\n${message}QUIT\r\n`)
  expect((await wire.rest()).match(/^\d{3}/gm)).toEqual("250 550 503 500 500 503 250 500 221".split(" "))
  expect(gate.acceptance).toMatchObject({ accepted: [], brokenOff: 0 })
})

test("a session that is cut behind any of its octets leaves nothing, and behind the last one exactly one message", async () => {
  await using gate = await openGate("mx", { connections: 500 })
  const session = `EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n${MESSAGE}.\r\n`
  const cut = async (length: number): Promise<void> => {
    const socket = connect(gate.port, "127.0.0.1")
    await once(socket, "data")
    await once(socket.end(session.slice(0, length)), "close")
  }
  await Promise.all(Array.from({ length: session.length - 1 }, (_, index) => cut(index + 1)))
  await gate.listener.close(5_000)
  expect(gate.acceptance.accepted).toEqual([])

  await using another = await openGate("mx")
  const socket = connect(another.port, "127.0.0.1")
  await once(socket, "data")
  socket.pause().end(session)
  await eventually("it is accepted", () => another.acceptance.accepted.length > 0)
  // Its 250 is never read.
  socket.destroy()
  await another.listener.close(5_000)
  expect(another.acceptance.accepted.map(({ content }) => content.toString())).toEqual([MESSAGE])
})

test("a TLS handshake that is silent, or drips, ends too", async () => {
  await using implicit = await openGate("submissions", { idleMs: 200 })
  await using explicit = await openGate("mx", { idleMs: 200 })
  const starting = await greeted(explicit.port)
  await starting.say("STARTTLS")
  const wires = [Wire.connect(implicit.port), Wire.connect(implicit.port), starting]
  const drip = setInterval(() => {
    for (const wire of wires.slice(1)) wire.write(Buffer.of(0x16))
  }, 20)
  expect(await Promise.all(wires.map((wire) => wire.rest()))).toEqual(["", "", ""])
  clearInterval(drip)
})
