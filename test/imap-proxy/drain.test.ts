import { connect } from "node:net"
import { expect, test } from "vitest"
import { eventually } from "../harness/instance.ts"
import { upstreamOf } from "./answering.ts"
import { BareClient } from "./client.ts"
import { embeddedForFile } from "./file-store.ts"
import { LAPTOP, type Rig, startRig } from "./rig.ts"

const upstream = embeddedForFile()

const GRACE_MS = 60_000
const BYE = "* BYE shutting down\r\n"
const rigOf = (): Promise<Rig> => startRig({ upstream })

test("before login: BYE at once", async () => {
  await using rig = await rigOf()
  await using plain = await BareClient.plain(rig)
  await plain.until("\r\n")
  await using secure = await BareClient.secure(rig)
  await secure.ok("NOOP")
  await rig.listener.close(GRACE_MS)
  expect([await plain.rest(), await secure.rest()]).toEqual([BYE, BYE])
})

test("in the TLS handshake: closed, for nothing could be said", async () => {
  await using rig = await startRig({ upstream, tlsMode: "implicit" })
  const silent = connect(rig.port, "127.0.0.1")
  silent.on("error", () => undefined)
  await eventually("it is there", () => rig.listener.connections.count === 1)
  await rig.listener.close(GRACE_MS)
  silent.destroy()
})

test("between commands, and in IDLE: BYE at once; nobody new is let in", async () => {
  await using rig = await rigOf()
  await using quiet = await BareClient.loggedIn(rig, LAPTOP)
  await using idling = await BareClient.loggedIn(rig, LAPTOP)
  await idling.ok("SELECT INBOX")
  idling.send("i IDLE\r\n")
  await idling.until("+ ")
  await rig.listener.close(GRACE_MS)
  expect(await quiet.rest()).toBe(BYE)
  expect(await idling.rest()).toMatch(/\* BYE shutting down\r\n$/)
  await expect(BareClient.plain(rig)).rejects.toThrow(/ECONNREFUSED/)
})

test("within a large literal that is read slowly: it comes to its end, then BYE", async () => {
  const size = 20_000_000
  const answer = `* 1 FETCH (BODY[HEADER] {${size}}\r\n${"x".repeat(size)})\r\n$ OK done`
  await using upstream = await upstreamOf((command) => (command.startsWith("FETCH") ? answer : null))
  await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
  client.send("f FETCH 1 BODY[HEADER]\r\n")
  await client.until("BODY[HEADER]")
  client.pause()
  const closed = upstream.rig.listener.close(GRACE_MS)
  client.resume()
  const rest = await client.rest()
  expect(rest.length).toBeGreaterThan(size)
  expect(rest).toMatch(/\)\r\nf OK done\r\n\* BYE shutting down\r\n$/)
  await closed
})

test("within APPEND: the message is stored and answered, then BYE; not before", async () => {
  await using rig = await rigOf()
  await using client = await BareClient.loggedIn(rig, LAPTOP)
  client.send("a APPEND INBOX {2000000}\r\n")
  await client.until("+ OK\r\n")
  client.send(`Subject: x\r\n\r\n${"y".repeat(1_000_000)}`)
  const closed = rig.listener.close(GRACE_MS)
  client.send(`${"y".repeat(1_000_000 - 14)}\r\n`)
  expect(await client.rest()).toMatch(/a OK \[APPENDUID \d+ \d+\][^\r]*\r\n\* BYE shutting down\r\n$/)
  await closed
})

test("commands that were sent before are answered; what came later is not", async () => {
  const { promise: answered, resolve } = Promise.withResolvers<void>()
  await using upstream = await upstreamOf((command) => {
    if (command === "NOOP") resolve()
    return command === "NOOP" ? "* 5 EXISTS\r\n$ OK done" : null
  })
  await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
  client.send("n NOOP\r\n")
  await answered
  await upstream.rig.listener.close(GRACE_MS)
  expect(await client.rest()).toBe(`* 5 EXISTS\r\nn OK done\r\n${BYE}`)
})

test("who has not come to an end when the grace is over is cut", async () => {
  await using upstream = await upstreamOf((command) =>
    command === "NOOP" ? "* 1 FETCH (BODY[HEADER] {100}\r\nnever complete" : null,
  )
  await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
  client.send("n NOOP\r\n")
  await client.until("never complete")
  await upstream.rig.listener.close(50)
  expect(await client.rest()).not.toContain("BYE")
})
