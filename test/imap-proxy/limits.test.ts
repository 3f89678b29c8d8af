import { connect } from "node:net"
import { describe, expect, test } from "vitest"
import { eventually } from "../harness/instance.ts"
import { upstreamOf } from "./answering.ts"
import { BareClient, quoted } from "./client.ts"
import { embeddedForFile } from "./file-store.ts"
import { ACCOUNT, LAPTOP, PHONE, READER, startRig } from "./rig.ts"

const upstream = embeddedForFile()

const logIn = (client: BareClient, password: string): Promise<string> =>
  client.command(`LOGIN ${ACCOUNT} ${quoted(password)}`)

describe("connections", () => {
  const rows: [name: string, limits: object, line: string, label: string][] = [
    ["in total", { connections: 1 }, "* BYE [UNAVAILABLE] too many connections\r\n", "connections"],
    ["that have not logged in", { beforeLogin: 1 }, "* BYE [UNAVAILABLE] too many connections\r\n", "before-login"],
    [
      "of one address",
      { connectionsPerAddress: 1 },
      "* BYE [LIMIT] too many connections from your address\r\n",
      "address",
    ],
  ]
  for (const [name, limits, line, label] of rows)
    test(`${name}: refused before TLS with BYE, counted, and let in when there is room`, async () => {
      await using rig = await startRig({ upstream, limits })
      await using first = await BareClient.plain(rig)
      await first.until("\r\n")
      await using second = await BareClient.plain(rig)
      expect(await second.rest()).toBe(line)
      expect(await rig.metrics()).toContain(`postern_imap_refused_total{limit="${label}"} 1`)
      first.destroy()
      await eventually("the first has left", () => rig.listener.connections.count === 0)
      await using third = await BareClient.plain(rig)
      expect(await third.until("\r\n")).toMatch(/^\* OK/)
    })

  test("with TLS from the start: closed without a handshake", async () => {
    await using rig = await startRig({ upstream, tlsMode: "implicit", limits: { connections: 1 } })
    await using first = await BareClient.plain(rig)
    await eventually("it is there", () => rig.listener.connections.count === 1)
    await using second = await BareClient.plain(rig)
    expect(await second.rest()).toBe("")
    expect(first.ended).toBe(false)
  })

  const logins: [name: string, limits: object, refused: string, other: string | null][] = [
    ["device", { connectionsPerDevice: 1 }, LAPTOP, PHONE],
    ["account", { connectionsPerAccount: 1 }, PHONE, null],
  ]
  for (const [limit, limits, refused, other] of logins)
    test(`of one ${limit}: NO [LIMIT], and the connection may go on`, async () => {
      await using rig = await startRig({ upstream, limits })
      await using first = await BareClient.loggedIn(rig, LAPTOP)
      await using second = await BareClient.secure(rig)
      expect(await logIn(second, refused)).toContain(`NO [LIMIT] too many connections of this ${limit}`)
      if (other !== null) expect(await logIn(second, other)).toContain(" OK ")
      await first.ok("NOOP")
      first.destroy()
      await using third = await BareClient.secure(rig)
      await eventually("there is room", async () => (await logIn(third, READER)).includes(" OK ") || null)
    })
})

test("handshakes at once: a client that says nothing holds up nobody", async () => {
  await using rig = await startRig({ upstream, tlsMode: "implicit", limits: { handshakes: 1 } })
  const silent = connect(rig.port, "127.0.0.1")
  await eventually("it waits", () => rig.listener.connections.count === 1)
  await using client = await BareClient.implicit(rig)
  expect(await client.until("\r\n")).toMatch(/^\* OK/)
  silent.end()
  await eventually("who leaves within the handshake leaves its place", () => rig.listener.connections.count === 1)
})

describe("memory", () => {
  test("a line without an end is cut at 64 KiB", async () => {
    await using rig = await startRig({ upstream })
    await using client = await BareClient.loggedIn(rig, LAPTOP)
    client.send(`a SEARCH ${"x".repeat(70_000)}`)
    await client.rest()
    expect(await rig.metrics()).toContain('postern_imap_ended_total{reason="cut"} 1')
  })

  test("a client that pipelines FETCHes and reads nothing is not read any more", async () => {
    const answer = `* 1 FETCH (BODY[HEADER] {100000}\r\n${"x".repeat(100_000)})\r\n$ OK done`
    await using upstream = await upstreamOf((command) => (command.startsWith("FETCH") ? answer : null))
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    client.pause()
    const { connections } = upstream.rig.listener
    client.send("f FETCH 1 BODY[HEADER]\r\n".repeat(20_000))
    await eventually("both sides are held back", () => connections.bufferedOctets > 100_000)
    expect(upstream.commands.length).toBeLessThan(1000)
    expect(connections.bufferedOctets).toBeLessThan(1_000_000)
  })

  test("answers of ours wait behind a response that stands still, up to a bound", async () => {
    await using upstream = await upstreamOf((command) =>
      command.startsWith("FETCH") ? "* 1 FETCH (BODY[HEADER] {100000}\r\nonly the beginning" : null,
    )
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    client.send("f FETCH 1 BODY[HEADER]\r\n")
    await client.until("only the beginning")
    client.send("c CAPABILITY\r\n".repeat(200_000))
    const { connections } = upstream.rig.listener
    // Answers and commands that are not read: 64 KiB of each, and what the streams hold.
    await eventually("as much as may be is held", () => connections.bufferedOctets > 120_000)
    expect(connections.bufferedOctets).toBeLessThan(400_000)
  })

  test("when all buffers together are too large, the connections that hold the most are cut, and the others stay", async () => {
    const answer = `* 1 FETCH (BODY[HEADER] {30000000}\r\n${"x".repeat(30_000_000)})\r\n$ OK done`
    await using upstream = await upstreamOf((command) => (command.startsWith("FETCH") ? answer : null), undefined, {
      limits: { bufferOctets: 50_000 },
    })
    await using good = await BareClient.loggedIn(upstream.rig, PHONE)
    await using greedy = await BareClient.loggedIn(upstream.rig, LAPTOP)
    greedy.pause()
    greedy.send("f FETCH 1 BODY[HEADER]\r\n")
    await eventually("it is cut", () => upstream.rig.listener.connections.count === 1)
    await good.ok("NOOP")
  })
})
