import { describe, expect, test } from "vitest"
import type { Upstream } from "../../src/imap-proxy/ports.ts"
import { eventually } from "../harness/instance.ts"
import { scriptedServer } from "../harness/scripted-imap.ts"
import { upstreamAt } from "../harness/upstream.ts"
import { Lines } from "./answering.ts"
import { BareClient, quoted } from "./client.ts"
import { ACCOUNT, LAPTOP, type Rig, scripted, startRig } from "./rig.ts"

/** Far below the time-outs on the way, 30 and 60 s. */
const SOON_MS = 5_000
const LOGIN = `a LOGIN ${ACCOUNT} ${quoted(LAPTOP)}\r\n`

const at = (port: number): Upstream => upstreamAt({ kind: "tcp", host: "127.0.0.1", port, security: "plain" })

/** Everything is given back: the upstream's connection, which the test sees end, and the client's place. */
async function gone(rig: Rig, upstreamEnded: Promise<void>): Promise<void> {
  await upstreamEnded
  await eventually("its place is free", () => rig.listener.connections.count === 0, SOON_MS)
}

describe("a client that ends its side, and has said all it wanted, is not waited for while", {
  timeout: SOON_MS,
}, () => {
  test.each([
    ["the store says nothing", "", 0],
    ["the store does not answer the login", "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready\r\n", 1],
  ])("%s", async (_name, greeting, said) => {
    await using server = await scriptedServer(greeting, () => "")
    await using rig = await startRig({ upstream: at(server.port) })
    await using client = await BareClient.secure(rig)
    client.send(LOGIN)
    await eventually("the store is asked", () => server.connections === 1 && server.lines.length === said)
    client.end()
    await gone(rig, server.ended)
  })

  test("the store does not say what it can", async () => {
    const [asked, ended] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    await using server = await scripted(async (stream) => {
      stream.write("* PREAUTH ready\r\n")
      const lines = new Lines(stream)
      await lines.next()
      asked.resolve()
      await lines.next().catch(() => ended.resolve())
    })
    await using rig = await startRig({ upstream: server.upstream })
    await using client = await BareClient.secure(rig)
    client.send(LOGIN)
    await asked.promise
    client.end()
    await gone(rig, ended.promise)
  })
})

test.each([
  ["in one piece with LOGIN", [`${LOGIN}b NOOP\r\nc LOGOUT\r\n`]],
  ["behind LOGIN", [LOGIN, "b NOOP\r\nc LOGOUT\r\n"]],
])("a client that ends its side and has said more, %s, gets its answers", async (_name, pieces) => {
  const [asked, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  await using server = await scripted(async (stream) => {
    asked.resolve()
    await goOn.promise
    stream.write("* PREAUTH [CAPABILITY IMAP4rev1] ready\r\n")
    const lines = new Lines(stream)
    for (;;) {
      const [tag, name] = (await lines.next()).split(" ")
      stream.write(`${name === "LOGOUT" ? "* BYE bye\r\n" : ""}${tag} OK done\r\n`)
      if (name === "LOGOUT") return
    }
  })
  await using rig = await startRig({ upstream: server.upstream })
  await using client = await BareClient.secure(rig)
  const [first = "", ...more] = pieces
  client.send(first)
  await asked.promise
  for (const piece of more) client.send(piece)
  client.end()
  // A sign that the end has come and changes nothing: a second client is served meanwhile.
  await using other = await BareClient.secure(rig)
  await other.ok("NOOP")
  goOn.resolve()
  expect(await client.rest()).toMatch(/^a OK .*\r\nb OK done\r\n\* BYE bye\r\nc OK done\r\n$/)
})
