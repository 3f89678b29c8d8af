import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { freeRange } from "../harness/ports.ts"
import { Postgres, postgresPossible } from "../harness/postgres.ts"
import { ImapSession } from "../harness/reading.ts"
import { WireClient } from "../harness/wire.ts"

const ALICE = "alice@example.test"

/** A machine of the same instance: its own ports and `data`, the same state and `secrets`. It delivers nothing. */
class Machine implements AsyncDisposable {
  readonly port: number
  readonly #process: ChildProcess

  private constructor(port: number, process: ChildProcess) {
    this.port = port
    this.#process = process
  }

  static async beside(instance: Instance): Promise<Machine> {
    const port = await freeRange(7)
    const file = join(instance.folder, `${port}.toml`)
    const text = readFileSync(instance.configuration, "utf8").replace('data = "data"', `data = "data-${port}"`)
    const moved = text.replace(
      /127\.0\.0\.1:(\d+)/g,
      (_, old: string) => `127.0.0.1:${Number(old) - instance.port + port}`,
    )
    writeFileSync(file, moved)
    const args = ["src/main.ts", "serve", "--config", file, "--role", "imap,submission,mx"]
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "ignore"] })
    await once(child.stdout, "data")
    return new Machine(port, child)
  }

  /** How a device reaches it. */
  as(device: DeviceSettings, instance: Instance): DeviceSettings {
    return { ...device, imap: { ...device.imap, port: device.imap.port - instance.port + this.port } }
  }

  async ready(): Promise<number> {
    return (await fetch(`http://127.0.0.1:${this.port + 6}/readyz`)).status
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#process, "exit")
    this.#process.kill("SIGKILL")
    await ended
  }
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

const metrics = async ({ port }: Machine) => (await fetch(`http://127.0.0.1:${port + 6}/metrics`)).text()

const loggedIn = async (device: DeviceSettings) => {
  using _session = await ImapSession.open(device)
  return true
}

describe.skipIf(!postgresPossible)("machines that share PostgreSQL", () => {
  const stack = new AsyncDisposableStack()
  let postgres: Postgres
  let instance: Instance
  let other: Machine
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
    other = stack.use(await Machine.beside(instance))
  })

  afterAll(() => stack[Symbol.asyncDispose]())

  test("let in whom the other knows, and end the sessions of a revoked device", async () => {
    const there = other.as(phone, instance)
    using idling = await ImapSession.open(there)
    using working = await ImapSession.open(other.as(laptop, instance))
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
    const there = other.as(laptop, instance)
    using working = await ImapSession.open(there)
    expect(await rcpt(other.port)).toMatch(/^250 /)
    expect(await other.ready()).toBe(200)
    postgres.suspend()
    try {
      expect(await working.wire.until(/^\* BYE .*\r\n/m)).toContain("[UNAVAILABLE]")
      await expect(ImapSession.open(there)).rejects.toThrow(/NO \[UNAVAILABLE\]/)
      await expect(ImapSession.open(laptop)).rejects.toThrow(/NO \[UNAVAILABLE\]/)
      expect(await rcpt(other.port)).toMatch(/^451 4\.3\.0/)
      expect(await other.ready()).toBe(503)
      expect(await metrics(other)).toMatch(/^postern_state_lost_total [1-9]/m)
    } finally {
      postgres.resume()
    }
    await eventually("the server is back", () => loggedIn(there).catch(() => false))
    expect(await rcpt(other.port)).toMatch(/^250 /)
    expect(await other.ready()).toBe(200)
  })
})
