import { rmSync } from "node:fs"
import { connect, createServer } from "node:net"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { Endpoint } from "../../src/config/config.ts"
import { lmtpMailboxes } from "../../src/deliver/lmtp.ts"
import { silentLog } from "../../src/log/log.ts"
import { parseAddress } from "../../src/message/address.ts"
import { preparedOf } from "../../src/pipeline/prepared.ts"
import { Relay } from "../../src/smtp-out/relay.ts"
import { lmtpOver } from "../../src/wire/mailboxes.ts"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { freePorts } from "../harness/ports.ts"
import { openSmtpSink, type SmtpSink } from "../harness/smtp-sink.ts"

const ACCOUNT = "alice@example.test"
const BODY = "Received: by us\r\nSubject: encrypted\r\n\r\n.leading dot\r\nMIIB\r\n"
const message = preparedOf(Buffer.from("Return-Path: <carol@else"), Buffer.from(`where.test>\r\n${BODY}`))

const options = (sender: string | null, signal = AbortSignal.timeout(20_000)) => ({
  name: "job",
  receivedAt: new Date(0),
  repeated: false,
  sender: sender === null ? null : parseAddress(sender),
  signal,
})

describe("LMTP", () => {
  let sink: SmtpSink
  let relay: Relay
  let reply: string | null = null

  beforeAll(async () => {
    sink = await openSmtpSink({ data: () => reply, server: { lmtp: true, hideSMTPUTF8: true } })
    relay = new Relay({ hostname: "example.test", log: silentLog() })
  })
  afterAll(async () => {
    await relay[Symbol.asyncDispose]()
    await sink[Symbol.asyncDispose]()
  })

  const over = (port: number) =>
    lmtpMailboxes(lmtpOver(relay, { kind: "tcp", host: "127.0.0.1", port, security: "plain" }))

  test("the store gets the account as recipient, and the message without our Return-Path", async () => {
    expect(await over(sink.port).deliver(ACCOUNT, message, options("carol@elsewhere.test"))).toMatchObject({
      kind: "done",
      status: { recipient: ACCOUNT, action: "delivered" },
    })
    expect(sink.messages.at(-1)).toMatchObject({ sender: "carol@elsewhere.test", recipients: [ACCOUNT] })
    expect(sink.messages.at(-1)?.octets.toString()).toBe(BODY)
  })

  test("the null sender stays null; one that needs SMTPUTF8 is named in the message only", async () => {
    expect((await over(sink.port).deliver(ACCOUNT, message, options(null))).kind).toBe("done")
    expect(sink.messages.at(-1)?.sender).toBe("")
    expect((await over(sink.port).deliver(ACCOUNT, message, options("jörg@elsewhere.test"))).kind).toBe("done")
    expect(sink.messages.at(-1)?.sender).toBe("")
    expect(sink.messages.at(-1)?.octets.toString()).toMatch(/^Return-Path: /)
  })

  const rows: readonly (readonly [said: string, kind: string, status: string])[] = [
    ["452 4.2.2 mailbox full", "retry", "4.2.2"],
    ["550 5.1.1 nobody of that name", "failed", "5.1.1"],
  ]
  for (const [said, kind, status] of rows)
    test(`the store says ${said}`, async () => {
      reply = said
      expect(await over(sink.port).deliver(ACCOUNT, message, options(null))).toMatchObject({ kind, status: { status } })
      reply = null
    })

  test("nobody listens", async () => {
    const [port = 0] = await freePorts(1)
    expect(await over(port).deliver(ACCOUNT, message, options(null))).toMatchObject({
      kind: "retry",
      status: { status: "4.4.1" },
    })
  })

  test("ends when the worker ends, though the store is silent", async () => {
    const ending = new AbortController()
    const silent = createServer(() => ending.abort(new Error("over"))).listen(0, "127.0.0.1")
    await new Promise((resolve) => silent.once("listening", resolve))
    const address = silent.address()
    const port = address !== null && typeof address === "object" ? address.port : 0
    await expect(over(port).deliver(ACCOUNT, message, options(null, ending.signal))).rejects.toThrow("over")
    silent.close()
  })

  describe("over a Unix socket", () => {
    let folder: TemporaryFolder
    beforeAll(async () => {
      folder = await temporaryFolder()
    })
    afterAll(async () => folder[Symbol.asyncDispose]())

    test("the same; and a socket that is not there is tried again", async () => {
      const path = folder.file("lmtp")
      const endpoint: Endpoint = { kind: "unix", path }
      const mailboxes = lmtpMailboxes(lmtpOver(relay, endpoint))
      expect(await mailboxes.deliver(ACCOUNT, message, options(null))).toMatchObject({
        kind: "retry",
        status: { status: "4.4.1" },
      })
      const door = createServer((socket) => socket.pipe(connect(sink.port, "127.0.0.1")).pipe(socket)).listen(path)
      await new Promise((resolve) => door.once("listening", resolve))
      const before = sink.messages.length
      expect((await mailboxes.deliver(ACCOUNT, message, options(null))).kind).toBe("done")
      expect(sink.messages.length).toBe(before + 1)
      door.close()
      rmSync(path, { force: true })
    })
  })
})
