import { writeFile } from "node:fs/promises"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { describe, expect, test } from "vitest"
import { silentLog } from "../../src/log/log.ts"
import { parseAddress } from "../../src/message/address.ts"
import { Relay } from "../../src/smtp-out/relay.ts"
import { testCertificate } from "../harness/certificate.ts"
import { peer, run, temporaryFolder } from "../harness/peers.ts"
import { openGate, recipientsOf } from "./gate.ts"
import { Wire } from "./wire.ts"

// `swaks` dots and CRLFs on its own; what it sends for this body is known.
const BODY = "Subject: interop\r\nFrom: alice@example.test\r\n\r\n.dot\r\n..two\r\n\r\nend\r\n"

// swaks needs Perl's Net::SSLeay (Debian: libnet-ssleay-perl) for TLS.
const perlTls = process.env["CI"] || (peer("perl") && (await run("perl", ["-MNet::SSLeay", "-e", "1"])).code === 0)

describe.skipIf(!peer("swaks") || !perlTls)("swaks", () => {
  const common = ["--server", "127.0.0.1", "--from", "alice@example.test", "--to", "bob@example.test"]

  test("to the MX, plain and with STARTTLS, pipelined", async () => {
    await using gate = await openGate("mx")
    for (const options of [[], ["--tls"], ["--pipeline"]]) {
      const args = [...common, ...options, "--port", `${gate.port}`, "--data", "-"]
      const { code, stdout, stderr } = await run("swaks", args, { input: BODY.replaceAll("\r\n", "\n") })
      expect([code, stderr, Buffer.from(stdout).toString()]).toEqual([
        0,
        "",
        expect.stringContaining("250 2.6.0 accepted as Q"),
      ])
    }
    expect(gate.acceptance.accepted.map((one) => one.entry.origin.tls)).toEqual([false, true, false])
    for (const { content } of gate.acceptance.accepted) expect(content.toString().startsWith(BODY)).toBe(true)
  })

  test.each([
    ["submission", "PLAIN", "--tls"],
    ["submission", "LOGIN", "--tls"],
    ["submissions", "PLAIN", "--tls-on-connect"],
    ["submissions", "LOGIN", "--tls-on-connect"],
  ] as const)("to %s with AUTH %s", async (kind, mechanism, tls) => {
    await using gate = await openGate(kind)
    const login = ["--auth", mechanism, "--auth-user", "alice@example.test", "--auth-password"]
    const options = [...common, tls, "--port", `${gate.port}`, "--data", "-", ...login]
    const good = await run("swaks", [...options, "secret-laptop"], { input: BODY })
    expect(good.code).toBe(0)
    const bad = await run("swaks", [...options, "wrong"], { input: BODY })
    // swaks: 28, authentication failed.
    expect([bad.code, gate.acceptance.accepted.length]).toEqual([28, 1])
  })
})

describe.skipIf(!peer("python3"))("Python's smtplib", () => {
  test("sends mail of 8 bits, with SMTPUTF8 and DSN, and hears refusals", async () => {
    await using gate = await openGate("mx")
    const script = `
import smtplib, sys
s = smtplib.SMTP("127.0.0.1", ${gate.port}, local_hostname="py.example")
s.ehlo()
print(sorted(s.esmtp_features))
print(s.sendmail("a@b.example", ["bob@example.test", "nobody@example.test"], b"A: b\\r\\n\\r\\n\\xff\\r\\n.\\r\\n", ["BODY=8BITMIME"], ["NOTIFY=FAILURE"]))
s.sendmail("ü@b.example", ["müller@example.test"], "Subject: ü\\r\\n\\r\\nx\\r\\n".encode(), ["SMTPUTF8", "BODY=8BITMIME"])
try:
    s.sendmail("a@b.example", ["x@other.example"], b"x")
except smtplib.SMTPRecipientsRefused as e:
    print(e.recipients)
s.quit()
`
    const { code, stdout, stderr } = await run("python3", ["-c", script], { env: { PYTHONIOENCODING: "utf-8" } })
    expect([code, stderr]).toEqual([0, ""])
    const lines = Buffer.from(stdout).toString().trim().split("\n")
    expect(lines[0]).toBe("['8bitmime', 'dsn', 'enhancedstatuscodes', 'pipelining', 'size', 'smtputf8', 'starttls']")
    expect(lines[1]).toBe("{'nobody@example.test': (550, b'5.1.1 no such mailbox here')}")
    expect(lines[2]).toContain("(550, b'5.7.1 ")
    const [first, second] = gate.acceptance.accepted
    expect(first?.content.toString("latin1")).toBe("A: b\r\n\r\n\xff\r\n.\r\n")
    expect(first?.entry.envelope.recipients[0]?.notify).toEqual(["FAILURE"])
    expect([recipientsOf(second), second?.entry.envelope.smtpUtf8]).toEqual([["müller@example.test"], true])
  })
})

describe.skipIf(!peer("curl"))("curl", () => {
  test("submits with a password over both kinds of TLS", async () => {
    await using folder = await temporaryFolder()
    await writeFile(folder.file("message"), BODY)
    for (const kind of ["submission", "submissions"] as const) {
      await using gate = await openGate(kind)
      const url = `${kind === "submission" ? "smtp" : "smtps"}://127.0.0.1:${gate.port}/curl.example`
      const { code, stderr } = await run("curl", [
        ...["-sS", "--insecure", "--ssl-reqd", url, "--user", "alice@example.test:secret-laptop"],
        ...["--mail-from", "alice@example.test", "--mail-rcpt", "bob@example.test", "-T", folder.file("message")],
      ])
      expect([code, stderr]).toEqual([0, ""])
      expect(gate.acceptance.accepted[0]?.content.toString()).toBe(BODY)
    }
  })
})

describe.skipIf(!peer("openssl"))("openssl s_client", () => {
  test("verifies the certificate after STARTTLS, and the new one after a reload", async () => {
    await using gate = await openGate("submission")
    const shown = async (...name: string[]) => {
      const args = ["s_client", "-starttls", "smtp", "-connect", `127.0.0.1:${gate.port}`, "-showcerts", ...name]
      const { stdout } = await run("openssl", args, { input: "QUIT\r\n" })
      return /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/.exec(Buffer.from(stdout).toString())?.[0]
    }
    const first = await shown()
    const fresh = await testCertificate()
    gate.listener.reloadTls(fresh)
    expect(first).toContain("BEGIN CERTIFICATE")
    expect(await shown()).toBe(fresh.certificate.trim())
    const mail = await testCertificate("mail.example.test")
    gate.listener.reloadTls({ ...fresh, names: new Map([["mail.example.test", mail]]) })
    expect(await shown("-servername", "mail.example.test")).toBe(mail.certificate.trim())
    expect(await shown("-servername", "other.example.test")).toBe(fresh.certificate.trim())
  })
})

test("our own relay hands over what our own listener takes, octet for octet", async () => {
  await using gate = await openGate("mx")
  await using relay = new Relay({ hostname: "out.example.test", log: silentLog() })
  const octets = Buffer.from("A: \0\xff\r\n\r\n.\r\n..\r\n", "latin1")
  const outcome = await relay.relayMessage(
    {
      sender: null,
      recipient: parseAddress('"a b"@example.test'),
      smtpUtf8: false,
      envelopeId: null,
      returnContent: null,
      notify: ["NEVER"],
      originalRecipient: null,
      sizeOctets: octets.length,
      content: async function* () {
        yield octets
      },
    },
    { kind: "host", host: "127.0.0.1", port: gate.port, tls: "opportunistic" },
    new AbortController().signal,
  )
  expect(outcome).toMatchObject({ kind: "relayed", status: { status: "2.6.0" } })
  expect(gate.acceptance.accepted[0]?.content.equals(octets)).toBe(true)
  expect(gate.acceptance.accepted[0]?.entry.origin.tls).toBe(true)
})

setFlagsFromString("--expose-gc")
const collectGarbage: () => void = runInNewContext("gc")

test("a message of 50 MB streams through in flat memory", async () => {
  const acceptance = {
    sizeOctets: 0,
    accept: async (_entry: unknown, content: AsyncIterable<Uint8Array>) => {
      for await (const octets of content) acceptance.sizeOctets += octets.length
      return "Q1"
    },
  }
  await using gate = await openGate("mx", { messageSizeOctets: 50_000_000 }, { acceptance })
  await using wire = await Wire.open(gate.port)
  await wire.say("EHLO x.example")
  await wire.say("MAIL FROM:<>")
  await wire.say("RCPT TO:<alice@example.test>")
  await wire.say("DATA")
  const line = Buffer.from(`${"x".repeat(98)}\r\n`.repeat(10_000))
  const before = process.memoryUsage().arrayBuffers
  let peak = before
  wire.write("A: b\r\n\r\n")
  for (let count = 0; count < 49; count++) {
    await wire.flushed(line)
    // Buffers that nobody holds count until they are collected.
    collectGarbage()
    peak = Math.max(peak, process.memoryUsage().arrayBuffers)
  }
  wire.write(".\r\n")
  expect(await wire.reply()).toMatch(/^250/)
  expect(acceptance.sizeOctets).toBe(49_000_008)
  // Client and server are both in this process; the message held whole would be 49 MB.
  expect(peak - before).toBeLessThan(10_000_000)
})
