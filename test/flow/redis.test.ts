import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { Redis, redisPossible } from "../harness/redis.ts"
import { openSmtpSink, type SmtpSink } from "../harness/smtp-sink.ts"
import { sendMail, WireClient } from "../harness/wire.ts"

const ADMIN_OFFSET = 6
const PASSWORD = "not-to-be-told"
const ALICE = "alice@example.test"

describe.skipIf(!redisPossible)("a gateway whose queue is on Redis", () => {
  let redis: Redis
  let gateway: Instance
  let laptop: DeviceSettings
  let hop: SmtpSink
  let refusal: string | null = null

  beforeAll(async () => {
    redis = await Redis.start({ password: PASSWORD })
    hop = await openSmtpSink({ data: () => refusal })
    gateway = await Instance.create()
    gateway.configure('next = "mx"', `next = "smtp://127.0.0.1:${hop.port}"`)
    gateway.configure("[policy]", `[queue]\nurl = "${redis.url}"\npasswordEnv = "QUEUE_PASSWORD"\n\n[policy]`)
    process.env["QUEUE_PASSWORD"] = PASSWORD
    await gateway.must("account", "add", ALICE)
    laptop = await gateway.device(ALICE, "laptop")
    await gateway.serve()
  })

  afterAll(async () => {
    delete process.env["QUEUE_PASSWORD"]
    await gateway?.[Symbol.asyncDispose]()
    await hop?.[Symbol.asyncDispose]()
    await redis?.[Symbol.asyncDispose]()
  })

  const inbox = () => {
    const folder = join(gateway.maildir(ALICE), "new")
    return existsSync(folder) ? readdirSync(folder).length : 0
  }
  const receive = (subject: string) =>
    sendMail(gateway.port, "carol@other.test", [ALICE], Buffer.from(`Subject: ${subject}\r\n\r\ntext\r\n`))
  const there = async () => {
    const text = await (await fetch(`http://127.0.0.1:${gateway.port + ADMIN_OFFSET}/metrics`)).text()
    return /^postern_queue_there\{kind="redis"\} (\d)$/m.exec(text)?.[1]
  }
  const jobs = async () =>
    JSON.parse(await gateway.must("queue", "list", "--json")) as { state: string; attempts: number }[]

  test("mail arrives, and the record says so", async () => {
    expect(await receive("first")).toMatch(/^250 /)
    await eventually("it is in the mailbox", () => inbox() === 1)
    await eventually("the spool is empty", () => gateway.spooled() === 0)
    expect(await there()).toBe("1")
    expect(await gateway.must("queue", "list")).toBe("the queue is empty\n")
  })

  test("while Redis is away mail is taken; when it is back, it is delivered, once", async () => {
    await redis.kill()
    await eventually("it is missed", () => gateway.log.includes('"event":"queue.away"'))
    for (const subject of ["second", "third"]) expect(await receive(subject)).toMatch(/^250 /)
    expect(await there()).toBe("0")
    const listed = await gateway.postern("queue", "list")
    expect([listed.code, listed.stderr]).toEqual([1, expect.stringContaining("Redis does not answer")])
    expect(inbox()).toBe(1)
    await redis.start()
    await eventually("both are in the mailbox", () => inbox() === 3)
    await eventually("the spool is empty", () => gateway.spooled() === 0)
    expect(inbox()).toBe(3)
  })

  test("what Redis forgets is found again in the spool; what was settled is not sent again", async () => {
    refusal = "451 4.7.1 come back"
    await submit(laptop, ["one@else.test", "two@else.test"])
    await eventually(
      "two delayed jobs",
      async () => (await jobs()).filter(({ state }) => state === "delayed").length === 2,
    )
    refusal = null
    const [first] = JSON.parse(await gateway.must("queue", "list", "--json")) as { id: string; recipient: string }[]
    await gateway.must("queue", "retry", first?.id ?? "")
    await eventually("one is sent", () => hop.messages.length === 1)
    await eventually("one is left", async () => (await jobs()).length === 1)
    expect(await redis.command("FLUSHALL")).toBe("+OK")
    await eventually("the other is sent", () => hop.messages.length === 2)
    await eventually("the spool is empty", () => gateway.spooled() === 0)
    expect(hop.messages.flatMap(({ recipients }) => recipients).toSorted()).toEqual(["one@else.test", "two@else.test"])
    await gateway.logged(/"event":"queue\.wiped"/)
  })

  test("its password is in no log", () => {
    expect(gateway.log).not.toContain(PASSWORD)
  })
})

async function submit({ username, password, smtp }: DeviceSettings, recipients: readonly string[]): Promise<void> {
  using client = await WireClient.connect(smtp.port, { tls: true })
  await client.until(/^220 .*\r\n/m)
  const commands = [
    "EHLO client.test",
    `AUTH PLAIN ${Buffer.from(`\0${username}\0${password}`).toString("base64")}`,
    `MAIL FROM:<${username}>`,
    ...recipients.map((recipient) => `RCPT TO:<${recipient}>`),
    "DATA",
    `From: ${username}\r\nSubject: x\r\n\r\ntext\r\n.`,
  ]
  for (const command of commands) {
    await client.write(`${command}\r\n`)
    expect(await client.until(/^\d{3} .*\r\n/m), command).toMatch(/^[23]/m)
  }
}
