import { generateKeyPairSync } from "node:crypto"
import { sealMessage } from "mailauth/lib/arc/index.js"
import { dkimSign } from "mailauth/lib/dkim/sign.js"
import { createMessage, generateKey, sign } from "openpgp"
import { afterAll, beforeAll, expect, test } from "vitest"
import { DnsServer } from "../harness/dns-server.ts"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { peer, run } from "../harness/peers.ts"
import { ImapSession, openWithOpenssl } from "../harness/reading.ts"
import { sendMail } from "../harness/wire.ts"
import type { Zone } from "../harness/zone.ts"

const { publicKey, privateKey } = generateKeyPairSync("ed25519")
const KEY = publicKey.export({ type: "spki", format: "der" }).subarray(-32).toString("base64")
const ZONE: Zone = {
  "author.test TXT": ["v=spf1 ip4:127.0.0.1 -all"],
  "ed._domainkey.author.test TXT": [`v=DKIM1; k=ed25519; p=${KEY}`],
  "ed._domainkey.list.test TXT": [`v=DKIM1; k=ed25519; p=${KEY}`],
  "_dmarc.author.test TXT": ["v=DMARC1; p=reject"],
  "_dmarc.careful.test TXT": ["v=DMARC1; p=quarantine"],
  "_dmarc.broken.test TXT": "SERVFAIL",
  "other.test TXT": ["v=spf1 +all"],
}

let dns: DnsServer
let gateway: Instance
let device: DeviceSettings & { readonly folder: string }

beforeAll(async () => {
  dns = await DnsServer.start(ZONE)
  gateway = await Instance.create()
  await gateway.must("account", "add", "alice@example.test")
  device = await gateway.device("alice@example.test", "laptop")
  gateway.configure('sources = ["pinned"]', 'sources = ["pinned", "autocrypt", "harvested"]')
  gateway.configure(
    "[policy]",
    `[dns]\nservers = ["${dns.address}"]\n\n[policy]\ntrustedSealers = ["list.test"]\ntrusted = []`,
  )
  await gateway.serve()
})

afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]()
  await dns?.[Symbol.asyncDispose]()
})

const FORGED = "Authentication-Results: example.test;\r\n dmarc=pass header.from=forged.test\r\n"
const FOREIGN = "Authentication-Results: relay.other.test; spf=pass smtp.mailfrom=other.test\r\n"

function message(author: string, subject: string): string {
  return `${FORGED}${FOREIGN}From: ${author}\r\nTo: alice@example.test\r\nSubject: ${subject}\r\n\r\nthe text\r\n`
}

async function signed(text: string): Promise<Buffer> {
  const one = {
    canonicalization: "relaxed/relaxed",
    signingDomain: "author.test",
    selector: "ed",
    algorithm: "ed25519-sha256",
    privateKey: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    headerList: ["From", "To", "Subject"],
  }
  const { signatures } = await dkimSign(Buffer.from(text), { ...one, signatureData: [one] })
  return Buffer.from(signatures + text)
}

function send(sender: string, octets: Uint8Array | string): Promise<string> {
  return sendMail(gateway.port, sender, ["alice@example.test"], Buffer.from(octets))
}

/** As stored and handed out, and as the device reads it. */
async function read(subject: string, mailbox = "INBOX"): Promise<{ outside: string; inside: string }> {
  using session = await ImapSession.open(device)
  await eventually(subject, async () => {
    await session.must(`SELECT ${mailbox}`)
    return /^\* SEARCH \d/m.test(await session.must(`UID SEARCH SUBJECT ${subject}`))
  })
  const uid = Number(/^\* SEARCH (\d+)/m.exec(await session.must(`UID SEARCH SUBJECT ${subject}`))?.[1])
  const outside = await session.fetch(uid, "BODY.PEEK[]")
  const inside = await openWithOpenssl(outside, device)
  return { outside: Buffer.from(outside).toString("latin1"), inside: Buffer.from(inside ?? []).toString("latin1") }
}

async function metric(method: string, result: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${gateway.port + 6}/metrics`)).text()
  const row = new RegExp(`^postern_smtp_auth_total\\{method="${method}",result="${result}"\\} (\\d+)$`, "m")
  return Number(row.exec(text)?.[1] ?? 0)
}

test("a forged author is refused by the policy of the domain, and nothing is spooled", async () => {
  expect(await send("x@other.test", message("ceo@author.test", "forged"))).toMatch(/^550 5\.7\.1 .*DMARC/)
  expect(gateway.spooled()).toBe(0)
  expect(await metric("decision", "reject")).toBe(1)
  await gateway.logged(/"event":"smtp.judged".*"dmarc":"fail".*"author":"author.test","decision":"reject"/)
})

test.skipIf(!peer("swaks"))("swaks hears the same", async () => {
  const args = ["--server", `127.0.0.1:${gateway.port}`, "--from", "x@other.test", "--to", "alice@example.test"]
  const { stdout, code } = await run("swaks", [...args, "--header", "From: ceo@author.test", "--helo", "other.test"])
  expect(Buffer.from(stdout).toString()).toMatch(/^<\*\* 550 5\.7\.1 /m)
  expect(code).toBe(26)
})

test("a genuine one carries its results outside and inside the encryption, and no forged ones", async () => {
  expect(await send("bounce@author.test", await signed(message("author@author.test", "genuine")))).toMatch(/^250 /)
  const { outside, inside } = await read("genuine")
  for (const text of [outside, inside]) {
    expect(text).not.toContain("forged.test")
    expect(text.match(/^Authentication-Results: example\.test;/gm)).toHaveLength(1)
    expect(text).toContain(FOREIGN)
    expect(text.replace(/\r\n[ \t]/g, " ")).toMatch(
      / dkim=pass header\.d=author\.test .* spf=pass .* dmarc=pass .*header\.from=author\.test/,
    )
  }
  // On top, and behind it the message as it came.
  expect(inside).toMatch(/^Authentication-Results: example\.test;\r\n/)
  expect(inside.endsWith((await signed(message("author@author.test", "genuine"))).toString().slice(-100))).toBe(true)
  expect(await metric("dkim", "pass")).toBe(1)
})

test("one that continues our field on its first line says nothing in it", async () => {
  const text = ` ; dmarc=pass header.from=forged.test\r\nFrom: x@other.test\r\nSubject: continued\r\n\r\nthe text\r\n`
  expect(await send("x@other.test", text)).toMatch(/^250 /)
  const { inside } = await read("continued").catch(async () => ({ inside: await onlyInside() }))
  const field = /^Authentication-Results: (?:.*\r\n[ \t])*.*\r\n/.exec(inside)?.[0] ?? ""
  expect(field).toContain("spf=pass")
  expect(field).not.toContain("forged")
})

/** What follows a line that is no field does not stand outside: there is no subject to search for. */
async function onlyInside(): Promise<string> {
  using session = await ImapSession.open(device)
  const uid = (await session.uids()).at(-1) ?? 0
  return Buffer.from((await openWithOpenssl(await session.fetch(uid, "BODY.PEEK[]"), device)) ?? []).toString("latin1")
}

test("quarantine is stored in Junk, and says so", async () => {
  expect(await send("x@other.test", message("a@careful.test", "suspicious"))).toMatch(/^250 /)
  expect((await read("suspicious", "Junk")).inside.replace(/\r\n[ \t]/g, " ")).toMatch(
    /dmarc=fail policy\.dmarc=quarantine/,
  )
  expect(await metric("decision", "quarantine")).toBe(1)
})

test("what a list altered is taken from it, where the list is trusted and saw it pass", async () => {
  const altered = message("author@author.test", "listed")
  expect(await send("list@list.test", altered)).toMatch(/^550 5\.7\.1 /)
  const seal = await sealMessage(altered, {
    signingDomain: "list.test",
    selector: "ed",
    algorithm: "ed25519-sha256",
    privateKey: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    authResults: "list.test; dmarc=pass header.from=author.test",
    cv: "none",
  })
  expect(await send("list@list.test", Buffer.concat([seal, Buffer.from(altered)]))).toMatch(/^250 /)
  const { inside } = await read("listed")
  expect(inside.replace(/\r\n[ \t]/g, " ")).toMatch(
    / arc=pass .* dmarc=fail reason="[^"]*list\.test" policy\.dmarc=none/,
  )
  expect(inside).toMatch(/^ARC-Authentication-Results: i=1; list\.test;/m)
})

test("where DNS does not tell the policy the sender is asked to come back", async () => {
  expect(await send("x@other.test", message("a@broken.test", "later"))).toMatch(/^451 4\.4\.3 /)
  dns.zone = { ...ZONE, "_dmarc.broken.test TXT": ["v=DMARC1; p=none"] }
  expect(await send("x@other.test", message("a@broken.test", "later"))).toMatch(/^250 /)
  expect((await read("later")).inside).toContain("dmarc=fail")
})

test("submission is not authenticated; what it says in our name is removed all the same", async () => {
  const asked = dns.asked.length
  const { port } = device.smtp
  const args = ["--server", `127.0.0.1:${port}`, "--tlsc", "--auth", "PLAIN", "--auth-user", device.username]
  const text = message("alice@example.test", "submitted")
  const { code, stdout } = await run("swaks", [
    ...[...args, "--auth-password", device.password, "--from", "alice@example.test", "--to", "alice@example.test"],
    ...["--data", text.replace(/\r\n/g, "\n")],
  ])
  expect(code, Buffer.from(stdout).toString()).toBe(0)
  const { outside, inside } = await read("submitted")
  for (const part of [outside, inside]) expect(part).not.toMatch(/^Authentication-Results: example\.test/m)
  expect(dns.asked.length).toBe(asked)
})

test("a certificate in an Autocrypt field of authenticated mail verifies the next signature, and of a forged one nothing is known", async () => {
  const { privateKey: author, publicKey: certificate } = await generateKey({
    userIDs: [{ name: "Author", email: "author@author.test" }],
    date: new Date(Date.now() - 86_400_000),
    format: "object",
  })
  const part = "Content-Type: text/plain\r\n\r\nthe text"
  const binary = await createMessage({ binary: Buffer.from(part) })
  const signature = (await sign({ message: binary, signingKeys: author, detached: true })).replace(/\r?\n/g, "\r\n")
  const type = 'multipart/signed; protocol="application/pgp-signature"; micalg=pgp-sha512; boundary="b"'
  const keydata = Buffer.from(certificate.write()).toString("base64").replace(/.{70}/g, "$&\r\n ")
  const field = `Autocrypt: addr=author@author.test; prefer-encrypt=mutual; keydata=\r\n ${keydata}\r\n`
  const mail = (subject: string) =>
    `${FORGED}${field}From: author@author.test\r\nTo: alice@example.test\r\nSubject: ${subject}\r\nMIME-Version: 1.0\r\n` +
    `Content-Type: ${type}\r\n\r\n--b\r\n${part}\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\n${signature}\r\n--b--\r\n`
  const lookup = () => gateway.must("profile", "lookup", "author@author.test")

  const forged = mail("forged-key").replace(/author@author\.test/g, "x@other.test")
  expect(await send("x@somewhere.test", forged)).toMatch(/^250 /)
  await read("forged-key")
  expect(await gateway.must("profile", "lookup", "x@other.test")).not.toMatch(/openpgp .*mail of/)

  expect(await send("bounce@author.test", await signed(mail("first-key")))).toMatch(/^250 /)
  expect((await read("first-key")).outside.replace(/\r\n[ \t]/g, " ")).toMatch(
    /^Authentication-Results: example\.test; openpgp=neutral /m,
  )
  expect(await lookup()).toMatch(/Autocrypt.*openpgp .*mail of /)

  expect(await send("bounce@author.test", await signed(mail("second-key")))).toMatch(/^250 /)
  const { outside, inside } = await read("second-key")
  for (const text of [outside, inside]) {
    expect(text).not.toContain("forged.test")
    expect(text.replace(/\r\n[ \t]/g, " ")).toMatch(
      /^Authentication-Results: example\.test; openpgp=pass reason="certificate from Autocrypt" header\.from=author@author\.test policy\.fingerprint=[0-9a-f]{40}\r\n/m,
    )
  }
  // The signature covers what it did.
  expect(inside).toContain(part)
})

test('"report" writes down and refuses nothing', async () => {
  await gateway.stop()
  gateway.configure("trusted = []", 'trusted = []\nauthentication = "report"')
  await gateway.serve()
  expect(await send("x@other.test", message("ceo@author.test", "reported"))).toMatch(/^250 /)
  expect((await read("reported")).inside).toContain("policy.dmarc=reject")
})

test("this machine is trusted unless told otherwise: nobody is asked", async () => {
  await gateway.stop()
  gateway.configure('trusted = []\nauthentication = "report"', "")
  await gateway.serve()
  const asked = dns.asked.length
  expect(await send("x@other.test", message("ceo@author.test", "local"))).toMatch(/^250 /)
  expect((await read("local")).inside).not.toMatch(/^Authentication-Results: example\.test/m)
  expect(dns.asked.length).toBe(asked)
})
