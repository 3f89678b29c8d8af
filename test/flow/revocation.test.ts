import { createHash } from "node:crypto"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { ImapSession } from "../harness/reading.ts"
import { sendMail, WireClient } from "../harness/wire.ts"

type Device = DeviceSettings & { readonly folder: string }

let gateway: Instance
let laptop: Device
let phone: Device

beforeAll(async () => {
  gateway = await Instance.create()
  await gateway.must("account", "add", "alice@example.test")
  laptop = await gateway.device("alice@example.test", "laptop")
  phone = await gateway.device("alice@example.test", "phone")
  await gateway.serve()
  const reply = await sendMail(
    gateway.port,
    "carol@elsewhere.test",
    ["alice@example.test"],
    Buffer.from("Subject: x\r\n\r\nbody\r\n"),
  )
  expect(reply).toMatch(/^250 /)
  const folders = ["new", "cur"].map((name) => join(gateway.maildir("alice@example.test"), name))
  await eventually("delivery", () => folders.every((folder) => existsSync(folder)) && mailbox().length === 1)
})

afterAll(async () => gateway?.[Symbol.asyncDispose]())

/** Names and digests of everything stored for Alice. */
function mailbox(): string[] {
  const folder = gateway.maildir("alice@example.test")
  return ["new", "cur"].flatMap((name) =>
    readdirSync(join(folder, name)).map(
      (file) =>
        `${file.split(":")[0]} ${createHash("sha256")
          .update(readFileSync(join(folder, name, file)))
          .digest("hex")}`,
    ),
  )
}

async function submission(device: Device): Promise<WireClient> {
  const client = await WireClient.connect(device.smtp.port, { tls: true })
  await client.until(/^220 .*\r\n/)
  await client.write("EHLO client.test\r\n")
  await client.until(/^250 .*\r\n/m)
  return client
}

const plain = ({ username, password }: Device): string => Buffer.from(`\0${username}\0${password}`).toString("base64")

test("a revoked device is out before the command returns; others notice nothing, and no stored message changes", async () => {
  const before = mailbox()
  const wrappingKeys = () =>
    readdirSync(join(gateway.folder, "secrets", "recryption")).filter((name) => name.endsWith(".key"))
  const keysBefore = wrappingKeys()
  using idling = await ImapSession.open(phone)
  await idling.must("SELECT INBOX")
  await idling.wire.write("i IDLE\r\n")
  await idling.wire.until(/^\+ /m)
  using other = await ImapSession.open(laptop)
  await other.must("SELECT INBOX")
  using sending = await submission(phone)
  await sending.write(`AUTH PLAIN ${plain(phone)}\r\n`)
  await sending.until(/^235 /m)

  const start = performance.now()
  await gateway.must("device", "revoke", "alice@example.test", "phone")
  // Both ends are gone when the command has returned; nothing is waited for.
  await idling.wire.closed(250)
  await sending.closed(250)
  expect(performance.now() - start).toBeLessThan(10_000)

  await expect(ImapSession.open(phone)).rejects.toThrow(/NO \[AUTHENTICATIONFAILED\]/)
  using again = await submission(phone)
  await again.write(`AUTH PLAIN ${plain(phone)}\r\n`)
  expect(await again.until(/^\d{3} .*\r\n/m)).toMatch(/^535 5\.7\.8/)

  expect(await other.must("NOOP")).toMatch(/OK/)
  expect((await other.fetch(1, "BODY.PEEK[]")).length).toBeGreaterThan(500)
  expect(mailbox()).toEqual(before)
  expect(wrappingKeys()).toHaveLength(keysBefore.length - 1)
  const [listed] = JSON.parse(await gateway.must("device", "list", "alice@example.test", "--json")).filter(
    (device: { name: string }) => device.name === "phone",
  )
  expect(listed.revokedAt).not.toBeNull()
})

test("a revocation that a server does not confirm is an error naming it", async () => {
  const tablet = await gateway.device("alice@example.test", "tablet")
  expect(tablet.device).toBe("tablet")
  const revoke = async () => {
    process.kill(gateway.pid, "SIGSTOP")
    return await gateway.postern("device", "revoke", "alice@example.test", "tablet")
  }
  try {
    let { code, stderr } = await revoke()
    if (stderr.includes("database is locked")) {
      // It was stopped within a transaction, and nothing was revoked.
      process.kill(gateway.pid, "SIGCONT")
      ;({ code, stderr } = await revoke())
    }
    expect(code).toBe(1)
    expect(stderr).toContain(String(gateway.pid))
  } finally {
    process.kill(gateway.pid, "SIGCONT")
  }
  const again = await gateway.must("device", "revoke", "alice@example.test", "tablet")
  expect(again).toMatch(/tablet of alice@example.test: revoked on \d{4}-\S+Z, and all let go/)
  await expect(ImapSession.open(tablet)).rejects.toThrow(/NO \[AUTHENTICATIONFAILED\]/)
})

test("mail encrypted to a revoked device's certificate is refused with a clear reply", async () => {
  const { run } = await import("../harness/peers.ts")
  const certificate = join(gateway.folder, "..", "phone.pem")
  const file = join(phone.folder, phone.files.pkcs12 ?? "")
  await run("openssl", [
    "pkcs12",
    "-in",
    file,
    "-clcerts",
    "-nokeys",
    "-passin",
    `pass:${phone.pkcs12Password}`,
    "-out",
    certificate,
  ])
  const { stdout } = await run(
    "openssl",
    ["cms", "-encrypt", "-aes-256-cbc", "-subject", "to the phone", certificate],
    { input: "hello" },
  )
  const message = Buffer.from(Buffer.from(stdout).toString("latin1").replace(/\r?\n/g, "\r\n"), "latin1")
  expect(await sendMail(gateway.port, "carol@elsewhere.test", ["alice@example.test"], message)).toMatch(
    /^550 5\.7\.5 .*revoked/,
  )
})
