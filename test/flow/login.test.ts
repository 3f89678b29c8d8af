import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { ConnectionOptions } from "node:tls"
import { afterAll, beforeAll, expect, test } from "vitest"
import { type DeviceSettings, Instance } from "../harness/instance.ts"
import { peer, run } from "../harness/peers.ts"
import { freePorts } from "../harness/ports.ts"
import { WireClient } from "../harness/wire.ts"

type Device = DeviceSettings & { readonly folder: string }

const ALICE = "alice@example.test"
const BOB = "bob@example.test"
/** Another network than 127.0.0.1. */
const ELSEWHERE = "127.0.0.2"

let gateway: Instance
let laptop: Device
let desktop: Device

beforeAll(async () => {
  gateway = await Instance.create()
  const [port] = await freePorts(1)
  gateway.configure("[listen]\n", `[listen]\nimapsClient = "127.0.0.1:${port}"\n`)
  gateway.configure("[limits]\n", "[limits]\nloginFailures = 2\nsmtpRecipientsPerAccount = 2\n")
  await gateway.must("account", "add", ALICE)
  await gateway.must("account", "add", BOB)
  laptop = await gateway.device(ALICE, "laptop", "--login-certificate")
  desktop = await gateway.device(BOB, "desktop")
  await gateway.serve()
})

afterAll(async () => gateway?.[Symbol.asyncDispose]())

/** A TLS connection whose greeting has been read. */
async function open(port: number, tls: boolean | (ConnectionOptions & { readonly localAddress?: string }) = true) {
  const wire = await WireClient.connect(port, { tls })
  const greeting = await wire.until(/\r\n/)
  return {
    greeting,
    closed: () => wire.closed(),
    async say(line: string, pattern: RegExp): Promise<string> {
      await wire.write(`${line}\r\n`)
      return wire.until(pattern)
    },
    [Symbol.dispose]: () => wire[Symbol.dispose](),
  }
}

const imap = async (device: Device, password: string, localAddress = "127.0.0.1"): Promise<string> => {
  using client = await open(device.imap.port, { localAddress })
  return await client.say(`a LOGIN ${device.username} ${password}`, /^a .*\r\n/m)
}

const submission = async (device: Device, password: string): Promise<string> => {
  using client = await open(device.smtp.port)
  await client.say("EHLO client.test", /^250 .*\r\n/m)
  return await client.say(`AUTH PLAIN ${plain(device, password)}`, /^\d{3} .*\r\n/m)
}

const plain = ({ username }: Device, password: string): string =>
  Buffer.from(`\0${username}\0${password}`).toString("base64")

/** The file with the device's login key, as a client imports it. */
function loginFile({ folder, files, pkcs12Password }: Device): ConnectionOptions & { path: string } {
  const path = join(folder, files.login ?? "")
  return { path, pfx: readFileSync(path), passphrase: pkcs12Password ?? "" }
}

test.skipIf(!peer("curl"))("a device logs in with its certificate, as renewed too, until it is revoked", async () => {
  const { path, ...login } = loginFile(laptop)
  const port = laptop.imapClient?.port ?? 0
  const curl = () =>
    run("curl", [
      ...[
        "--silent",
        "--show-error",
        "--cacert",
        join(gateway.folder, "tls", "ca.pem"),
        "--login-options",
        "AUTH=EXTERNAL",
      ],
      ...["--cert", `${path}:${laptop.pkcs12Password}`, "--cert-type", "P12", "--user", `${ALICE}:`],
      ...[`imaps://${laptop.imapClient?.host}:${port}/`, "--request", "NAMESPACE"],
    ])
  expect(await curl()).toMatchObject({ code: 0, stderr: "" })
  await gateway.must("device", "renew", ALICE, "laptop", "--login-certificate", "--out", laptop.folder)
  expect(await curl()).toMatchObject({ code: 0, stderr: "" })
  // The certificate that opens mail is none to log in with, and a password alone is not enough here.
  using mail = await open(port, {
    pfx: readFileSync(join(laptop.folder, "laptop.p12")),
    passphrase: login.passphrase ?? "",
  })
  expect(mail.greeting).toContain("LOGINDISABLED")
  using alone = await open(port)
  expect(await alone.say(`a LOGIN ${ALICE} ${laptop.password}`, /^a .*\r\n/m)).toContain("NO [AUTHENTICATIONFAILED]")

  using idling = await open(port, login)
  expect(idling.greeting).toContain("AUTH=EXTERNAL")
  await idling.say("a AUTHENTICATE EXTERNAL =", /^a OK/m)
  await idling.say("b SELECT INBOX", /^b OK/m)
  await idling.say("c IDLE", /^\+ /m)
  await gateway.must("device", "revoke", ALICE, "laptop")
  await idling.closed()
  using again = await open(port, login)
  expect(again.greeting).toContain("LOGINDISABLED")
  expect(await again.say("a AUTHENTICATE EXTERNAL =", /^a .*\r\n/m)).toContain("NO [AUTHENTICATIONFAILED]")
})

test("who guesses is not heard, over IMAP and submission alike; the owner is, from elsewhere and from where he was", async () => {
  const phone = await gateway.device(ALICE, "phone")
  expect(await imap(phone, phone.password)).toMatch(/^a OK/m)
  const guesses = await Promise.all([submission(desktop, "guess1"), submission(desktop, "guess2")])
  for (const guess of guesses) expect(guess).toMatch(/^535 5\.7\.8 /)
  const [overImap, overSmtp, known, elsewhere] = await Promise.all([
    imap(desktop, desktop.password),
    submission(desktop, desktop.password),
    imap(phone, phone.password),
    imap(desktop, desktop.password, ELSEWHERE),
  ])
  expect(overImap).toContain("NO [UNAVAILABLE] too many wrong passwords")
  expect(overSmtp).toMatch(/^454 4\.7\.0 /)
  expect(known).toMatch(/^a OK/m)
  expect(elsewhere).toMatch(/^a OK/m)
  const metrics = await (await fetch(`http://127.0.0.1:${gateway.port + 6}/metrics`)).text()
  expect(metrics).toContain('postern_logins_refused_total{reason="limited"} 2')
  for (const { password } of [laptop, phone, desktop])
    for (const secret of [password, Buffer.from(password).toString("base64").slice(0, 30), "guess1"])
      expect(gateway.log).not.toContain(secret)
  for (const device of [laptop, phone, desktop]) expect(gateway.log).not.toContain(plain(device, device.password))
})

test("an account writes to so many within an hour, over both ports of submission together", async () => {
  // Of an account that is known from here, whoever has guessed.
  const tablet = await gateway.device(ALICE, "tablet")
  const write = async (wire: WireClient, recipients: readonly string[]): Promise<string[]> => {
    const say = async (line: string): Promise<string> => {
      await wire.write(`${line}\r\n`)
      return wire.until(/^\d{3} .*\r\n/m)
    }
    await say("EHLO client.test")
    expect(await say(`AUTH PLAIN ${plain(tablet, tablet.password)}`)).toMatch(/^235/)
    expect(await say(`MAIL FROM:<${ALICE}>`)).toMatch(/^250/)
    const answers: string[] = []
    for (const recipient of recipients) answers.push((await say(`RCPT TO:<${recipient}>`)).slice(0, 9))
    return answers
  }
  using secured = await WireClient.connect(tablet.smtp.port, { tls: true })
  await secured.until(/^220 .*\r\n/)
  expect(await write(secured, ["one@elsewhere.test", "two@elsewhere.test"])).toEqual(["250 2.1.5", "250 2.1.5"])
  using upgraded = await WireClient.connect(gateway.port + 1)
  await upgraded.until(/^220 .*\r\n/)
  await upgraded.write("EHLO client.test\r\nSTARTTLS\r\n")
  await upgraded.until(/^220 .*\r\n/m)
  await upgraded.upgrade()
  expect(await write(upgraded, ["three@elsewhere.test"])).toEqual(["450 4.7.1"])
})
