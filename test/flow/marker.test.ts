import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { ImapSession } from "../harness/reading.ts"
import { sendMail } from "../harness/wire.ts"

let gateway: Instance
let device: DeviceSettings & { readonly folder: string }

beforeAll(async () => {
  gateway = await Instance.create()
  await gateway.must("account", "add", "alice@example.test")
  device = await gateway.device("alice@example.test", "laptop")
  await gateway.serve()
  for (const subject of ["one", "two"])
    await sendMail(
      gateway.port,
      "c@elsewhere.test",
      ["alice@example.test"],
      Buffer.from(`Subject: ${subject}\r\n\r\nbody ${"x".repeat(5_000)}\r\n`),
    )
  using session = await ImapSession.open(device)
  await eventually("both are there", async () => (await session.uids()).length === 2)
})

afterAll(async () => gateway?.[Symbol.asyncDispose]())

/** Changes one character of ciphertext in the stored message with this subject, as somebody with access to the disk could. */
function alter(subject: string): void {
  const folders = ["new", "cur"].map((name) => join(gateway.maildir("alice@example.test"), name))
  const path = folders
    .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
    .find((file) => readFileSync(file, "latin1").includes(`\r\nSubject: ${subject}\r\n`))
  const octets = readFileSync(path ?? "")
  const at = octets.length - 1_500
  octets[at] = octets[at] === 65 ? 66 : 65
  writeFileSync(path ?? "", octets)
}

/** They are delivered in whatever order. */
async function uidOf(session: ImapSession, subject: string): Promise<number> {
  await session.must("SELECT INBOX")
  return Number(/^\* SEARCH (\d+)\r\n/m.exec(await session.must(`UID SEARCH SUBJECT ${subject}`))?.[1])
}

async function failures(): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${gateway.port + 6}/metrics`)).text()
  return Number(/^postern_imap_marker_failed_total (\d+)$/m.exec(text)?.[1])
}

test("a stored message that was altered is handed out, counted and logged; others are not counted", async () => {
  using session = await ImapSession.open(device)
  const [one, two] = [await uidOf(session, "one"), await uidOf(session, "two")]
  expect((await session.fetch(one, "BODY.PEEK[]")).length).toBeGreaterThan(5_000)
  expect(await failures()).toBe(0)
  alter("two")
  expect((await session.fetch(two, "BODY.PEEK[]")).length).toBeGreaterThan(5_000)
  expect(await failures()).toBe(1)
  await gateway.logged(/"event":"imap\.marker\.failed"/)
})

test('with integrity = "strict" its last octets are not handed out', async () => {
  await gateway.stop()
  gateway.configure("[policy]", '[policy]\nintegrity = "strict"')
  await gateway.serve()
  using session = await ImapSession.open(device)
  const [one, two] = [await uidOf(session, "one"), await uidOf(session, "two")]
  expect((await session.fetch(one, "BODY.PEEK[]")).length).toBeGreaterThan(5_000)
  await expect(session.fetch(two, "BODY.PEEK[]")).rejects.toThrow(/connection ended/)
})
