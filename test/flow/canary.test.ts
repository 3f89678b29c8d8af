import { cpSync, readFileSync, renameSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { filesBelow, filesShowing, makeCanary, shows } from "../harness/canary.ts"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { peer, run } from "../harness/peers.ts"
import { ImapSession, openWithOpenssl, openWithRnp } from "../harness/reading.ts"
import { sendMail, submitMail, WireClient } from "../harness/wire.ts"

type Device = DeviceSettings & { readonly folder: string }

const secret = makeCanary()
const canary = secret.text

let gateway: Instance
let alice: Device
let bob: Device

beforeAll(async () => {
  gateway = await Instance.create()
  await gateway.must("account", "add", "alice@example.test")
  await gateway.must("account", "add", "bob@example.test", "--format", "openpgp")
  // Nobody listens there: what goes out stays in the queue.
  gateway.configure('next = "mx"', 'next = "smtp://127.0.0.1:1"')
  alice = await gateway.device("alice@example.test", "laptop")
  bob = await gateway.device("bob@example.test", "desktop")
  // The server never opens it: everything below works without.
  renameSync(join(gateway.folder, "keyring"), join(gateway.folder, "..", "keyring-elsewhere"))
  await gateway.serve({ env: { TMPDIR: temporary() } })
})

afterAll(async () => gateway?.[Symbol.asyncDispose]())

function temporary(): string {
  const folder = join(gateway.folder, "..", "tmp")
  cpSync(join(gateway.folder, "tls"), folder, { recursive: true })
  return folder
}

const message = (id: string, body = canary): Buffer =>
  Buffer.from(
    `From: ${id === "sub" || id === "out" ? "alice@example.test" : "a@elsewhere.test"}\r\nSubject: public\r\nMessage-ID: <${id}@elsewhere.test>\r\n\r\nThe secret is ${body}\r\n`,
  )

/** Files below the instance, its temporary folder and log, that hold the canary in any form. */
function findings(): string[] {
  const found = filesShowing([gateway.folder, join(gateway.folder, "..", "tmp")], [secret])
  return shows(gateway.log, secret) ? [...found, "log"] : found
}

async function submit(device: Device, to: string, octets: Buffer): Promise<string> {
  using client = await WireClient.connect(device.smtp.port, { tls: true })
  return await submitMail(client, device, [to], octets)
}

test("the search sees what it looks for", async () => {
  const { writeFileSync, rmSync } = await import("node:fs")
  for (const form of [canary, ...["", "x", "xy"].map((prefix) => Buffer.from(prefix + canary).toString("base64"))]) {
    const file = join(gateway.folder, "data", "planted")
    writeFileSync(file, `before ${form} after`)
    expect(findings()).toEqual([file])
    rmSync(file)
  }
})

test("mail in clear is nowhere on the disk: delivered, appended, queued, held, bounced", async () => {
  expect(
    await sendMail(gateway.port, "a@elsewhere.test", ["alice@example.test", "bob@example.test"], message("mx")),
  ).toMatch(/^250 /)
  const base64 = message("b64", `\r\n${Buffer.from(canary).toString("base64")}`)
  expect(await sendMail(gateway.port, "", ["alice@example.test"], base64)).toMatch(/^250 /)
  // An attachment in clear beside something that looks encrypted is clear.
  const fake = Buffer.from(
    `Content-Type: multipart/encrypted; boundary=b\r\nMessage-ID: <fake@elsewhere.test>\r\n\r\n--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n--b\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\n${canary}\r\n-----END PGP MESSAGE-----\r\n--b--\r\n`,
  )
  expect(await sendMail(gateway.port, "a@elsewhere.test", ["alice@example.test"], fake)).toMatch(/^250 /)
  expect(await submit(alice, "bob@example.test", message("sub"))).toMatch(/^250 /)
  expect(await submit(alice, "x@unreachable.invalid", message("out"))).toMatch(/^250 /)
  using session = await ImapSession.open(alice)
  for (const literal of [message("append"), message("append-large", canary + "x".repeat(2_000_000))]) {
    await session.wire.write(`p APPEND INBOX (\\Seen) {${literal.length}}\r\n`)
    await session.wire.until(/^\+/m)
    await session.wire.write(Buffer.concat([literal, Buffer.from("\r\n")]))
    expect(await session.wire.until(/^p .*\r\n/m)).toMatch(/^p OK/m)
  }
  await eventually("everything is stored", async () => {
    using bobs = await ImapSession.open(bob)
    return (await session.uids()).length === 5 && (await bobs.uids()).length === 2
  })
  expect(findings()).toEqual([])
  const [held] = JSON.parse(await gateway.must("queue", "list", "--json"))
  await gateway.must("queue", "hold", held.id)
  expect(findings()).toEqual([])
})

test("the log of the running server never saw it, and says what happened", async () => {
  await gateway.logged(/"event":"mail\.attempt"/)
  expect(gateway.log).not.toContain(alice.password)
})

test.skipIf(!peer("openssl") || !peer("rnp"))(
  "what is stored opens with no key that lies under the instance, and with the device's only as served",
  async () => {
    using session = await ImapSession.open(alice)
    await session.must("SELECT INBOX")
    // Deliveries overtake one another, and in another message the canary stands in base64.
    const answer = await session.must('UID SEARCH HEADER Message-ID "<mx@elsewhere.test>"')
    const served = await session.fetch(Number(/^\* SEARCH (\d+)\r\n/m.exec(answer)?.[1]), "BODY.PEEK[]")
    expect(Buffer.from((await openWithOpenssl(served, alice)) ?? []).toString()).toContain(canary)
    using bobs = await ImapSession.open(bob)
    const [bobsUid] = await bobs.uids()
    expect(
      Buffer.from((await openWithRnp(await bobs.fetch(bobsUid ?? 0, "BODY.PEEK[]"), bob)) ?? []).toString(),
    ).toContain(canary)
    const stored = filesBelow(gateway.maildir("alice@example.test")).filter((path) => /,S=\d+/.test(path))
    const keys = filesBelow(gateway.folder).filter((path) => /PRIVATE KEY/.test(readFileSync(path, "latin1")))
    expect(keys.length).toBeGreaterThan(0)
    for (const key of keys)
      for (const message of stored.slice(0, 2)) {
        const { code, stdout } = await run("openssl", ["cms", "-decrypt", "-in", message, "-inkey", key])
        expect(code === 0 && Buffer.from(stdout).includes(canary)).toBe(false)
      }
  },
)
