import { simpleParser } from "mailparser"
import { describe, expect, test } from "vitest"
import { parseAddress } from "../../src/message/address.ts"
import type { Envelope, Recipient } from "../../src/message/envelope.ts"
import type { DeliveryStatus } from "../../src/message/status.ts"
import { composeReport, MAX_RETURNED_OCTETS, shouldReport } from "../../src/mime/report.ts"
import { peer, run } from "../harness/peers.ts"

type Report = Parameters<typeof composeReport>[0]

const FAILED: DeliveryStatus = {
  recipient: "carol@remote.example",
  action: "failed",
  status: "5.1.1",
  diagnostic: "550 5.1.1 no such user",
  remote: "mx.remote.example",
}

function report(more: Partial<Report["original"]> = {}, status: Partial<DeliveryStatus> = {}): Report {
  return {
    postmaster: parseAddress("postmaster@example.test"),
    reportingHost: "mx.example.test",
    original: {
      sender: parseAddress("alice@example.test"),
      envelopeId: null,
      smtpUtf8: false,
      arrivedAt: new Date("2026-01-02T03:04:05Z"),
      header: Buffer.from("From: alice@example.test\r\nBcc: secret@x.example\r\nSubject: ...\r\n\r\n"),
      ...more,
    },
    recipients: [{ status: { ...FAILED, ...status }, originalRecipient: "rfc822;carol@example.test" }],
    boundary: "b0undary",
    messageId: "<1@mx.example.test>",
    date: new Date("2026-01-03T03:04:05Z"),
  }
}

function text(given: Report): string {
  return Buffer.from(composeReport(given)).toString("utf8")
}

describe("a report", () => {
  test("is multipart/report with the three parts of RFC 3464", () => {
    const whole = text(report({ envelopeId: "QQ314" }))
    expect(whole).toBe(
      [
        "From: Mail delivery <postmaster@example.test>",
        "To: <alice@example.test>",
        "Subject: Undelivered mail",
        "Date: Sat, 03 Jan 2026 03:04:05 +0000",
        "Message-ID: <1@mx.example.test>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        ' boundary="b0undary"',
        "",
        "--b0undary",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 7bit",
        "",
        "This is the mail system at mx.example.test.",
        "",
        "Your message could not be delivered to this recipient:",
        "",
        "    <carol@remote.example>",
        "    5.1.1 550 5.1.1 no such user",
        "    said by mx.remote.example",
        "",
        "--b0undary",
        "Content-Type: message/delivery-status",
        "Content-Transfer-Encoding: 7bit",
        "",
        "Original-Envelope-Id: QQ314",
        "Reporting-MTA: dns; mx.example.test",
        "Arrival-Date: Fri, 02 Jan 2026 03:04:05 +0000",
        "",
        "Original-Recipient: rfc822;carol@example.test",
        "Final-Recipient: rfc822; carol@remote.example",
        "Action: failed",
        "Status: 5.1.1",
        "Remote-MTA: dns; mx.remote.example",
        "Diagnostic-Code: smtp; 550 5.1.1 no such user",
        "Last-Attempt-Date: Sat, 03 Jan 2026 03:04:05 +0000",
        "",
        "--b0undary",
        "Content-Type: text/rfc822-headers",
        "Content-Transfer-Encoding: 7bit",
        "",
        "From: alice@example.test",
        "Subject: ...",
        "",
        "--b0undary--",
        "",
      ].join("\r\n"),
    )
  })

  test("has no line that a peer's reply or an envelope id made", () => {
    const whole = text(
      report({ envelopeId: "a\r\nX-Evil: 1" }, { diagnostic: "550 no\r\n\r\n--b0undary\r\nX-Evil: 1" }),
    )
    expect(whole).not.toMatch(/^X-Evil/m)
    expect(whole.match(/^--b0undary/gm)?.length).toBe(4)
  })

  test("of a message that is not known any more has neither its header nor its time", () => {
    const whole = text(report({ arrivedAt: null, header: null }))
    expect(whole).toContain("Reporting-MTA: dns; mx.example.test\r\n\r\nOriginal-Recipient")
    expect(whole).not.toMatch(/Arrival-Date|rfc822-headers/)
    expect(whole.match(/^--b0undary(--)?\r$/gm)?.length).toBe(3)
  })

  test("is 7-bit, also when the header is not, and internationalized when an address is", () => {
    const eightBit = report({ header: Buffer.from("Subject: \xfc\r\n", "latin1") }, { diagnostic: "näh" })
    expect(composeReport(eightBit).every((octet) => octet < 128)).toBe(true)
    expect(text(eightBit)).toContain("Content-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDog/A0K\r\n")
    const global = text(report({ sender: parseAddress("müller@example.test") }))
    expect(global).toContain("Content-Type: message/global-delivery-status")
    expect(global).toContain("Final-Recipient: utf-8; carol@remote.example")
    expect(global).toContain("Content-Type: message/global-headers")
  })

  test("returns whole fields up to a limit", () => {
    const header = Buffer.from(
      Array.from({ length: 10_000 }, (_, index) => `X-${index}: ${"x".repeat(60)}\r\n`).join(""),
    )
    const whole = composeReport(report({ header }))
    expect(whole.length).toBeGreaterThan(MAX_RETURNED_OCTETS - 200)
    expect(whole.length).toBeLessThan(MAX_RETURNED_OCTETS + 2000)
  })

  test("is read by mailparser", async () => {
    const parsed = await simpleParser(Buffer.from(composeReport(report())))
    expect(parsed.text).toContain("could not be delivered")
    // It puts message/delivery-status into the text.
    expect(parsed.text).toContain("Status: 5.1.1")
    expect(parsed.attachments.map((part) => part.contentType)).toEqual(["text/rfc822-headers"])
  })

  test.skipIf(!peer("python3"))("is read by Python's email package", async () => {
    const script = [
      "import email, sys",
      "m = email.message_from_bytes(sys.stdin.buffer.read())",
      "status = m.get_payload(1).get_payload()",
      "print(m.get_content_type(), len(status), status[1]['Action'], status[1]['Status'], m.defects)",
    ].join("\n")
    const { stdout } = await run("python3", ["-c", script], { input: composeReport(report()) })
    expect(Buffer.from(stdout).toString()).toBe("multipart/report 2 failed 5.1.1 []\n")
  })
})

describe("whether to report", () => {
  const address = parseAddress("carol@remote.example")
  function envelope(notify: Recipient["notify"], sender: Envelope["sender"] = parseAddress("a@b.example")): Envelope {
    const recipients = [{ address, notify, originalRecipient: null }]
    return { sender, recipients, smtpUtf8: false, envelopeId: null, returnContent: null }
  }
  const rows: [name: string, envelope: Envelope, action: DeliveryStatus["action"], want: boolean][] = [
    ["a failure, nothing asked", envelope(null), "failed", true],
    ["a failure of a report", envelope(null, null), "failed", false],
    ["NEVER", envelope(["NEVER"]), "failed", false],
    ["only success asked", envelope(["SUCCESS"]), "failed", false],
    ["success asked", envelope(["SUCCESS", "FAILURE"]), "relayed", true],
    ["success, nothing asked", envelope(null), "delivered", false],
    ["delay, nothing asked", envelope(null), "delayed", true],
    ["delay, only failures asked", envelope(["FAILURE"]), "delayed", false],
    ["delay asked", envelope(["DELAY"]), "delayed", true],
  ]
  test.each(rows)("%s", (_name, given, action, want) => {
    expect(shouldReport(given, { ...FAILED, action })).toBe(want)
  })
})
