import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { clamd } from "../../src/scan/clamd.ts"
import { rspamd } from "../../src/scan/rspamd.ts"
import type { Program } from "../../src/scan/scanner.ts"
import { Scanners, type ScanOptions } from "../../src/scan/scanners.ts"
import { EICAR } from "../harness/fake-clamd.ts"
import { peer } from "../harness/peers.ts"
import { Clamd, Rspamd } from "../harness/scanners.ts"
import { openGate, type TestGate } from "../smtp-in/gate.ts"
import { Wire } from "../smtp-in/wire.ts"

const OPTIONS: ScanOptions = {
  authservId: "mx.example.test",
  whenAway: "defer",
  whenTooLarge: "reject",
  timeoutMs: 30_000,
  maxOctets: 50_000_000,
}
const HEAD = "From: a@b.test\r\nDate: Thu, 26 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@b.test>\r\n"

function gateWith(...programs: Program[]): Promise<TestGate> {
  return openGate("mx", { messageSizeOctets: 50_000_000 }, { scanner: new Scanners(programs, OPTIONS) })
}

async function send(gate: TestGate, text: string, pad = 0): Promise<string> {
  await using wire = await Wire.open(gate.port)
  for (const line of [
    "EHLO c.test",
    "MAIL FROM:<x@y.test>",
    "RCPT TO:<alice@example.test>",
    "RCPT TO:<bob@example.test>",
  ])
    await wire.say(line)
  await wire.say("DATA")
  wire.write(text)
  const line = Buffer.from(`${"x".repeat(98)}\r\n`.repeat(10_000))
  for (let count = 0; count < pad; count++) await wire.flushed(line)
  wire.write(".\r\n")
  return await wire.reply()
}

describe.skipIf(!peer("clamd"))("clamd", () => {
  let daemon: Clamd
  beforeAll(async () => {
    daemon = await Clamd.start()
  })
  afterAll(async () => daemon?.[Symbol.asyncDispose]())

  const at = (): Program => clamd({ kind: "unix", path: daemon.socket })
  const encoded = Buffer.from(EICAR).toString("base64")
  const rows: [name: string, text: string, pad: number, reply: RegExp][] = [
    ["clean", `${HEAD}Subject: x\r\n\r\nhello\r\n`, 0, /^250 /],
    ["EICAR as it is", `${HEAD}\r\n${EICAR}\r\n`, 0, /^554 5\.7\.1 .*virus/],
    ["EICAR in base64", `${HEAD}Content-Transfer-Encoding: base64\r\n\r\n${encoded}\r\n`, 0, /^554 5\.7\.1 /],
    ["40 MB", `${HEAD}\r\n`, 40, /^250 /],
  ]
  for (const [name, text, pad, reply] of rows)
    test(name, async () => {
      await using gate = await gateWith(at())
      expect(await send(gate, text, pad)).toMatch(reply)
      const found = name.startsWith("EICAR")
      expect(gate.acceptance.accepted).toHaveLength(found ? 0 : 1)
      expect(gate.log.join("")).toContain(found ? "clamd: Eicar-Test-Signature.UNOFFICIAL" : "clamd: OK")
    })

  test("what is over its own limit is not let pass unseen", async () => {
    await using small = await Clamd.start("1M")
    await using gate = await gateWith(clamd({ kind: "unix", path: small.socket }))
    // 451 when it has closed the connection before its reply could be read.
    expect(await send(gate, `${HEAD}\r\n`, 5)).toMatch(/^552 5\.3\.4 |^451 4\.3\.0 /)
    expect(gate.acceptance.accepted).toEqual([])
  })

  test("away", async () => {
    const mortal = await Clamd.start()
    await using gate = await gateWith(clamd({ kind: "unix", path: mortal.socket }))
    await mortal[Symbol.asyncDispose]()
    expect(await send(gate, `${HEAD}\r\nhello\r\n`)).toMatch(/^451 4\.3\.0 /)
    expect(gate.counted).toContain("postern_smtp_scanned_total clamd,away")
  })
})

describe.skipIf(!peer("rspamd"))("rspamd", () => {
  let daemon: Rspamd
  beforeAll(async () => {
    daemon = await Rspamd.start()
  })
  afterAll(async () => daemon?.[Symbol.asyncDispose]())

  const at = (): Program => rspamd(new URL(`http://127.0.0.1:${daemon.port}`))
  const GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
  const rows: [name: string, subject: string, reply: RegExp, quarantine: boolean | null][] = [
    ["no action", "hello", /^250 /, null],
    ["greylist", "score 5", /^451 4\.7\.1 /, null],
    ["add header", "score 7", /^250 /, true],
    ["reject", "score 20", /^550 5\.7\.1 .*content/, null],
    ["reject", GTUBE, /^550 5\.7\.1 /, null],
  ]
  for (const [action, subject, reply, quarantine] of rows)
    test(`${subject}: ${action}`, async () => {
      await using gate = await gateWith(at())
      expect(await send(gate, `${HEAD}Subject: ${subject}\r\n\r\n${subject}\r\n`)).toMatch(reply)
      expect(gate.log.join("")).toContain(`"because":"rspamd: ${action}, score`)
      expect(gate.acceptance.accepted[0]?.entry.authentication()?.quarantine ?? null).toBe(quarantine)
    })

  test("is told the envelope and the session", async () => {
    await using gate = await gateWith(at())
    await send(gate, `${HEAD}Subject: facts\r\n\r\nhello\r\n`)
    expect(daemon.facts.at(-1)).toMatch(/^x@y\.test 2 127\.0\.0\.1 c\.test \S+\.\d+ nil$/)
  })

  test("takes 40 MB in chunks", async () => {
    await using gate = await gateWith(at())
    expect(await send(gate, `${HEAD}Subject: large\r\n\r\n`, 40)).toMatch(/^250 /)
  })
})
