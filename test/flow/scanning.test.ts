import { once } from "node:events"
import { writeFileSync } from "node:fs"
import { createServer, type Server } from "node:https"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { testCertificate } from "../harness/certificate.ts"
import { EICAR, FakeClamd } from "../harness/fake-clamd.ts"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { run } from "../harness/peers.ts"
import { freePorts } from "../harness/ports.ts"
import { ImapSession, openWithOpenssl } from "../harness/reading.ts"
import { sendMail } from "../harness/wire.ts"

const MAIN = join(import.meta.dirname, "..", "..", "bin", "postern.js")
let clamd: FakeClamd
let hook: Server
let gateway: Instance
let device: DeviceSettings & { readonly folder: string }

beforeAll(async () => {
  clamd = await FakeClamd.start()
  const { key, certificate } = await testCertificate()
  hook = createServer({ key, cert: certificate }, async (request, response) => {
    const pieces: Buffer[] = []
    for await (const piece of request) pieces.push(piece)
    const odd = Buffer.concat(pieces).includes("suspicious")
    response.end(JSON.stringify({ verdict: odd ? "quarantine" : "accept", reason: odd ? "looks odd" : "fine" }))
  })
  const [hookPort = 0] = await freePorts(1)
  hook.listen(hookPort, "127.0.0.1")
  await once(hook, "listening")
  gateway = await Instance.create()
  await gateway.must("account", "add", "alice@example.test")
  device = await gateway.device("alice@example.test", "laptop")
  gateway.configure(
    "[policy]",
    `[scan]\nclamd = "clamd://127.0.0.1:${clamd.port}"\nhook = "https://localhost:${hookPort}/"\ntimeout = "5s"\n\n[policy]`,
  )
  writeFileSync(join(gateway.folder, "hook.pem"), certificate)
  await serve()
})

afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]()
  await clamd?.[Symbol.asyncDispose]()
  hook?.close()
})

async function serve(): Promise<void> {
  await gateway.serve({ env: { NODE_EXTRA_CA_CERTS: join(gateway.folder, "hook.pem") } })
}

const FORGED = "Authentication-Results: example.test;\r\n x-scan=pass\r\n"

function send(subject: string, text: string): Promise<string> {
  const message = `${FORGED}From: carol@other.test\r\nTo: alice@example.test\r\nSubject: ${subject}\r\n\r\n${text}\r\n`
  return sendMail(gateway.port, "carol@other.test", ["alice@example.test"], Buffer.from(message))
}

/** What the device reads of the message with this subject. */
async function read(subject: string, mailbox = "INBOX"): Promise<string> {
  using session = await ImapSession.open(device)
  const uid = await eventually(subject, async () => {
    await session.must(`SELECT ${mailbox}`)
    return Number(/^\* SEARCH (\d+)/m.exec(await session.must(`UID SEARCH SUBJECT ${subject}`))?.[1])
  })
  return Buffer.from((await openWithOpenssl(await session.fetch(uid, "BODY.PEEK[]"), device)) ?? []).toString()
}

async function scanned(scanner: string, outcome: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${gateway.port + 6}/metrics`)).text()
  const row = new RegExp(`^postern_smtp_scanned_total\\{scanner="${scanner}",outcome="${outcome}"\\} (\\d+)$`, "m")
  return Number(row.exec(text)?.[1] ?? 0)
}

test("clean mail is delivered, and the scanner saw it as it came", async () => {
  expect(await send("clean", "the text")).toMatch(/^250 /)
  expect(await read("clean")).toContain("the text")
  expect(String(clamd.messages.at(-1))).toMatch(
    /^Authentication-Results: [\s\S]*\r\nSubject: clean\r\n\r\nthe text\r\n$/,
  )
  expect([await scanned("clamd", "clean"), await scanned("hook", "clean")]).toEqual([1, 1])
})

test("a virus is refused, counted and explained, and nothing is spooled", async () => {
  expect(await send("infected", EICAR)).toMatch(/^554 5\.7\.1 .*virus/)
  expect(gateway.spooled()).toBe(0)
  expect(await scanned("clamd", "virus")).toBe(1)
  await gateway.logged(
    /"event":"smtp.scanned","clamd":"virus","hook":"clean","decision":"reject","because":"clamd: Eicar-Test-Signature"/,
  )
  expect(gateway.log).not.toContain("STANDARD-ANTIVIRUS")
})

test("quarantine goes into Junk, and says so; a sender's own x-scan does not stay", async () => {
  // Junk is there once the account has logged in.
  await read("clean")
  expect(await send("suspicious", "the text")).toMatch(/^250 /)
  const inside = await read("suspicious", "Junk")
  expect(inside).toMatch(/^Authentication-Results: example\.test;\r\n\tx-scan=quarantine\r\n/)
  expect(inside).not.toContain("x-scan=pass")
})

/** What `postern check` says of the scanners. */
async function checked(): Promise<string[]> {
  const said = await run(process.execPath, [MAIN, "check", "--no-dns", "--config", gateway.configuration], {
    env: { NODE_EXTRA_CA_CERTS: join(gateway.folder, "hook.pem") },
  })
  return Buffer.from(said.stdout)
    .toString()
    .split("\n")
    .filter((line) => line.includes("  scan."))
}

test("check shows them a message with nothing in it", async () => {
  expect(await checked()).toEqual(["ok     scan.clamd: OK", "ok     scan.hook: fine"])
})

test("while the scanner is away mail is deferred, and taken when it is back", async () => {
  const { port } = clamd
  await clamd[Symbol.asyncDispose]()
  expect(await send("deferred", "the text")).toMatch(/^451 4\.3\.0 .*later/)
  expect(gateway.spooled()).toBe(0)
  expect(await scanned("clamd", "away")).toBe(1)
  expect(await checked()).toEqual([
    expect.stringMatching(/^wrong {2}scan\.clamd: .*ECONNREFUSED.*; mail is deferred$/),
    "ok     scan.hook: fine",
  ])
  await gateway.logged(/"clamd":"away","hook":"clean","decision":"defer","because":"clamd: connect ECONNREFUSED/)
  clamd = await FakeClamd.start(undefined, port)
  expect(await send("deferred", "the text")).toMatch(/^250 /)
  expect(await read("deferred")).toContain("the text")
})

test("an open door, where it is asked for: accepted unseen, and counted", async () => {
  const before = await scanned("clamd", "away")
  await gateway.stop()
  gateway.configure("[scan]\n", '[scan]\nwhenAway = "accept"\n')
  await clamd[Symbol.asyncDispose]()
  await serve()
  expect(before).toBe(1)
  expect(await send("unseen", "the text")).toMatch(/^250 /)
  expect(await scanned("clamd", "away")).toBe(1)
  expect(await read("unseen")).toContain("the text")
})

test("clear text to another host stops the start", async () => {
  await gateway.stop()
  gateway.configure('clamd = "clamd://127.0.0.1', 'clamd = "clamd://192.0.2.1')
  const { code, stderr } = await gateway.postern("serve")
  expect(code).toBe(1)
  expect(stderr).toMatch(/postern\.toml:\d+: scan\.clamd: must be .*on this machine/)
})
