import { readFileSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { afterAll, beforeAll, expect, test } from "vitest"
import { claim } from "../../src/wire/shared-ports.ts"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { WireClient } from "../harness/wire.ts"

const ADMIN_OFFSET = 6
let gateway: Instance
let phone: DeviceSettings
const somebody = createServer()

beforeAll(async () => {
  gateway = await Instance.create()
  gateway.configure("[limits]", "[limits]\nimapProcesses = 2")
  await gateway.must("account", "add", "alice@example.test")
  phone = await gateway.device("alice@example.test", "phone")
  await gateway.serve()
})

afterAll(async () => {
  somebody.close()
  await gateway[Symbol.asyncDispose]()
})

test("a changed configuration holds for what is new, and what is under way ends in peace", async () => {
  using idling = await loggedIn()
  await idling.write("a1 SELECT INBOX\r\na2 IDLE\r\n")
  await idling.until(/^\+ .*\r\n/m)
  using sending = await greeted()
  await sending.write("MAIL FROM:<bob@elsewhere.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
  await sending.until(/^354 .*\r\n/m)
  await sending.write("Subject: half\r\n\r\nbegun under the old\r\n")
  const before = await accepted()
  const knocking = knock()

  gateway.configure('messageSize = "50MB"', "messageSize = 1234567")
  await signalled("config.reloaded")

  expect(await sizeOffered()).toBe("1234567")
  await sending.write(".\r\n")
  await sending.until(/^250 .*\r\n/m)
  await idling.until(/^\* 1 EXISTS\r\n/m)
  await idling.write("DONE\r\n")
  await idling.until(/^a2 OK .*\r\n/m)
  expect(await accepted()).toBe(before + 1)
  const { knocks, cut } = await knocking.end()
  expect(knocks).toBeGreaterThan(20)
  // The turn of the event loop in which a socket stops listening.
  expect(cut).toBeLessThanOrEqual(3)
})

test("a changed file is enough", async () => {
  const times = count("config.reloaded", "file")
  gateway.configure("messageSize = 1234567", "messageSize = 2345678")
  await eventually("it is read", () => count("config.reloaded", "file") > times)
  expect(JSON.parse(lastLine("config.reloaded", "file"))).toMatchObject({
    changed: ["limits.messageSizeOctets", "scan.maxOctets"],
  })
  expect(await sizeOffered()).toBe("2345678")
})

test.each([
  ["with a mistake in it", (text: string) => text.replace("recipients = 100", "recipients = -1"), /limits\.recipients/],
  [
    "for which IMAP would have no processes of its own any more",
    (text: string) => text.replace("imapProcesses = 2", "imapProcesses = 1"),
    /limits\.imapProcesses: .* takes a restart/,
  ],
  ["that is no TOML", (text: string) => text.replace("[limits]", "[limits"), /postern\.toml:\d+/],
])("a configuration %s changes nothing, and the log says why", async (_what, spoil, said) => {
  const good = readFileSync(gateway.configuration, "utf8")
  writeFileSync(gateway.configuration, spoil(good))
  await signalled("config.not-reloaded")
  expect(lastLine("config.not-reloaded")).toMatch(said)
  expect(await sizeOffered()).toBe("2345678")
  writeFileSync(gateway.configuration, good)
})

test("a port that somebody else has keeps the old configuration, all of it", async () => {
  const good = readFileSync(gateway.configuration, "utf8")
  const taken = await claim("test", { host: "127.0.0.1", port: 0 })
  // Until the end: a changed file may still be tried.
  await new Promise<void>((resolve) => somebody.listen(taken, resolve))
  const text = good.replace(/^(https = ).*$/m, `$1"127.0.0.1:${taken.port}"`).replace("2345678", "7654321")
  writeFileSync(gateway.configuration, text)
  await signalled("config.not-reloaded")
  expect(lastLine("config.not-reloaded")).toContain(`https: cannot listen on 127.0.0.1:${taken.port}`)
  expect(await sizeOffered()).toBe("2345678")
  writeFileSync(gateway.configuration, good)
})

test("a gateway that has just been reloaded ends in time, its predecessors with it", async () => {
  using idling = await loggedIn()
  await signalled("config.reloaded")
  const ended = gateway.stop()
  await idling.until(/^\* BYE .*\r\n/m)
  expect(await ended).toBe(0)
})

async function signalled(event: string): Promise<void> {
  const times = count(event)
  process.kill(gateway.pid, "SIGHUP")
  await eventually(event, () => count(event) > times)
}

function lastLine(event: string, why = "signal"): string {
  return lines(event, why).at(-1) ?? ""
}

function count(event: string, why = "signal"): number {
  return lines(event, why).length
}

function lines(event: string, why: string): string[] {
  return gateway.log
    .split("\n")
    .filter((line) => line.includes(`"event":"${event}","why":"${why}"`) && line.endsWith("}"))
}

async function greeted(): Promise<WireClient> {
  const client = await WireClient.connect(gateway.port)
  await client.until(/^220 .*\r\n/m)
  await client.write("EHLO client.test\r\n")
  await client.until(/^250 .*\r\n/m)
  return client
}

async function sizeOffered(): Promise<string | undefined> {
  using client = await WireClient.connect(gateway.port)
  await client.until(/^220 .*\r\n/m)
  await client.write("EHLO client.test\r\n")
  return /SIZE (\d+)/.exec(await client.until(/^250 .*\r\n/m))?.[1]
}

async function loggedIn(): Promise<WireClient> {
  const { username, password, imap } = phone
  const client = await WireClient.connect(imap.port, { tls: imap.security === "tls" })
  await client.until(/^\* OK .*\r\n/m)
  await client.write(`l LOGIN ${username} ${password}\r\n`)
  await client.until(/^l OK .*\r\n/m)
  return client
}

async function accepted(): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${gateway.port + ADMIN_OFFSET}/metrics`)).text()
  return Number(/^postern_smtp_accepted_total\{listener="mx"\} (\d+)$/m.exec(text)?.[1] ?? 0)
}

/** Four who connect to the MX port again and again; counts those that get no greeting. */
function knock() {
  let over = false
  const result = { knocks: 0, cut: 0 }
  const one = async (): Promise<void> => {
    while (!over) {
      result.knocks++
      try {
        using client = await WireClient.connect(gateway.port)
        await client.until(/^220 .*\r\n/m)
      } catch {
        result.cut++
      }
    }
  }
  const all = Promise.all(Array.from({ length: 4 }, one))
  return {
    async end() {
      over = true
      await all
      return result
    },
  }
}
