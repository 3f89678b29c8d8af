import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { Postgres, postgresPossible } from "../harness/postgres.ts"
import { ImapSession } from "../harness/reading.ts"
import { WireClient } from "../harness/wire.ts"

const ALICE = "alice@example.test"

/** How a device reaches another machine of the instance. */
function as(device: DeviceSettings, instance: Instance, machine: Instance): DeviceSettings {
  return { ...device, imap: { ...device.imap, port: device.imap.port - instance.port + machine.port } }
}

async function ready({ port }: Instance): Promise<number> {
  return (await fetch(`http://127.0.0.1:${port + 6}/readyz`)).status
}

async function rcpt(port: number): Promise<string> {
  using client = await WireClient.connect(port)
  await client.until(/^220 .*\r\n/)
  await client.write("EHLO client.test\r\n")
  await client.until(/^250 .*\r\n/m)
  await client.write("MAIL FROM:<c@elsewhere.test>\r\n")
  await client.until(/^\d{3} .*\r\n/)
  await client.write(`RCPT TO:<${ALICE}>\r\n`)
  return await client.until(/^\d{3} .*\r\n/)
}

const metrics = async ({ port }: Instance) => (await fetch(`http://127.0.0.1:${port + 6}/metrics`)).text()

const loggedIn = async (device: DeviceSettings) => {
  using _session = await ImapSession.open(device)
  return true
}

describe.skipIf(!postgresPossible)("machines that share PostgreSQL", () => {
  const stack = new AsyncDisposableStack()
  let postgres: Postgres
  let instance: Instance
  let other: Instance
  let laptop: DeviceSettings
  let phone: DeviceSettings

  beforeAll(async () => {
    postgres = stack.use(await Postgres.start())
    instance = stack.use(await Instance.create())
    const { url } = await postgres.database()
    instance.configure("[mailboxes]", `[store]\nurl = "${url}"\n\n[mailboxes]`)
    await instance.must("account", "add", ALICE)
    laptop = await instance.device(ALICE, "laptop")
    phone = await instance.device(ALICE, "phone")
    await instance.serve()
    other = stack.use(await instance.beside("other"))
    // It delivers nothing.
    await other.serve({ args: ["--role", "imap,submission,mx"] })
  })

  afterAll(() => stack[Symbol.asyncDispose]())

  test("let in whom the other knows, and end the sessions of a revoked device", async () => {
    const there = as(phone, instance, other)
    using idling = await ImapSession.open(there)
    using working = await ImapSession.open(as(laptop, instance, other))
    await instance.must("device", "revoke", ALICE, "phone")
    expect(await idling.wire.until(/^\* BYE .*\r\n/m)).toContain("device revoked")
    await expect(ImapSession.open(there)).rejects.toThrow(/NO \[AUTHENTICATIONFAILED\]/)
    await working.must("NOOP")
  })

  test("have one queue: a worker with its own does not start", async () => {
    const worker = await instance.beside("worker")
    const { code, stderr } = await worker.postern("serve", "--role", "worker")
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/ by another queue, .* sent twice/) })
  })

  test("trust nobody when the server hangs, and everybody when it is back", async () => {
    const there = as(laptop, instance, other)
    using working = await ImapSession.open(there)
    expect(await rcpt(other.port)).toMatch(/^250 /)
    expect(await ready(other)).toBe(200)
    postgres.suspend()
    try {
      expect(await working.wire.until(/^\* BYE .*\r\n/m)).toContain("[UNAVAILABLE]")
      await expect(ImapSession.open(there)).rejects.toThrow(/NO \[UNAVAILABLE\]/)
      await expect(ImapSession.open(laptop)).rejects.toThrow(/NO \[UNAVAILABLE\]/)
      expect(await rcpt(other.port)).toMatch(/^451 4\.3\.0/)
      expect(await ready(other)).toBe(503)
      expect(await metrics(other)).toMatch(/^postern_state_lost_total [1-9]/m)
    } finally {
      postgres.resume()
    }
    await eventually("the server is back", () => loggedIn(there).catch(() => false))
    expect(await rcpt(other.port)).toMatch(/^250 /)
    expect(await ready(other)).toBe(200)
  })
})
