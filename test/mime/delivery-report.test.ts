import { describe, expect, test } from "vitest"
import { parseAddress } from "../../src/message/address.ts"
import { MAX_GROUPS, MAX_REPORT_OCTETS, readDeliveryReport } from "../../src/mime/delivery-report.ts"
import { composeReport } from "../../src/mime/report.ts"
import { foreignReport } from "../harness/foreign-report.ts"

const GIVEN = foreignReport()
const FAILED = [{ action: "failed", status: "5.1.1" }] as const

const read = (text: string) => readDeliveryReport(Buffer.from(text, "latin1"))
const recoded = (encoding: string, encode: (text: string) => string) =>
  GIVEN.replace(/(message\/delivery-status)\r\n\r\n([\s\S]*?)\r\n--4711/, (_, type, text) => {
    return `${type}\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n${encode(text)}\r\n--4711`
  })
const base64 = (text: string) => Buffer.from(text).toString("base64").replace(/.{76}/g, "$&\r\n")

describe("a report of a delivery", () => {
  const rows: readonly (readonly [what: string, message: string, fates: ReturnType<typeof read>])[] = [
    ["as Postfix writes it", GIVEN, FAILED],
    ["with bare line feeds", GIVEN.replaceAll("\r\n", "\n"), FAILED],
    ["in upper case", GIVEN.replaceAll("delivery-status", "DELIVERY-STATUS").replace("failed", "FAILED"), FAILED],
    [
      "with comments and folds",
      GIVEN.replace(/Action: .*\r\nStatus: .*/, "Action: (sic)\r\n failed\r\nStatus : 5.1.1\r\n (no (such) user)"),
      FAILED,
    ],
    ["in base64", recoded("base64", base64), FAILED],
    ["in quoted-printable", recoded("quoted-printable", (text) => text.replaceAll("5.1.1", "5=2E1.=\r\n1")), FAILED],
    ["internationalized (RFC 6533)", GIVEN.replace("message/delivery", "message/global-delivery"), FAILED],
    [
      "with an explanation in parts",
      GIVEN.replace(
        "text/plain; charset=us-ascii\r\n",
        "multipart/alternative; boundary=i\r\n\r\n--i\r\n\r\na\r\n--i--",
      ),
      FAILED,
    ],
    [
      "of two recipients",
      GIVEN.replace("Final-", "Final-Recipient: rfc822; x@else.test\r\nAction: delayed\r\n\r\n\r\nFinal-"),
      [{ action: "delayed", status: null }, ...FAILED],
    ],
    ["of an action that there is not", foreignReport({ action: "lost" }), null],
    ["without an action", GIVEN.replace("Action: failed\r\n", ""), null],
    ["without fields", GIVEN.replace(/Reporting[\s\S]*?\r\n\r\n--/, "--"), null],
    ["whose fields are the third part", GIVEN.replace("--4711/mx.else.test", "$&\r\n\r\n$&"), null],
    ["whose fields are text", GIVEN.replace("message/delivery-status", "text/plain"), null],
    ["in an encoding that nobody knows", recoded("x-uuencode", (text) => text), null],
    ["in broken base64", recoded("base64", (text) => text), null],
    ["of another type", GIVEN.replace("report-type=delivery-status", "report-type=feedback-report"), null],
    ["within another message", `Content-Type: message/rfc822\r\n\r\n${GIVEN}`, null],
    ["that is no multipart/report", GIVEN.replace("multipart/report", "multipart/mixed"), null],
    ["that is cut off within its fields", GIVEN.slice(0, GIVEN.indexOf("Remote-MTA")), null],
    ["nothing", "", null],
  ]
  test.each(rows)("%s", (_what, message, fates) => {
    expect(read(message)).toEqual(fates)
  })

  test.each([
    ["5.1.1", "5.1.1"],
    ["4.999.0", "4.999.0"],
    ["2.0.0", "2.0.0"],
    ["5.01.1", null],
    ["5.1000.1", null],
    ["3.1.1", null],
    ["5.1", null],
    ["5.1.1.1", null],
    ["5.1.1 no such user", null],
    ["5.1.1 (unending", null],
    ["\u0665.1.1", null],
    ["", null],
  ])("with the status %j: %j", (status, known) => {
    expect(read(foreignReport({ status }))).toEqual([{ action: "failed", status: known }])
  })

  test("of ours is read as what it says", () => {
    const status = { recipient: "a@one.test", action: "delayed", status: "4.4.1", diagnostic: "x" } as const
    for (const header of [Buffer.from("Subject: x\r\n"), null]) {
      const octets = composeReport({
        postmaster: parseAddress("postmaster@one.test"),
        reportingHost: "one.test",
        original: {
          sender: parseAddress("c@else.test"),
          envelopeId: null,
          smtpUtf8: header === null,
          arrivedAt: null,
          header,
        },
        recipients: [{ status, originalRecipient: null }],
        boundary: "b",
        messageId: "<1@one.test>",
        date: new Date(0),
      })
      expect(readDeliveryReport(octets)).toEqual([{ action: "delayed", status: "4.4.1" }])
    }
  })

  test("of more recipients than a message has is read for the first ones", () => {
    const many = (count: number) => read(GIVEN.replace("Final-", `${"Action: delayed\r\n\r\n".repeat(count)}Final-`))
    expect(many(MAX_GROUPS - 2)?.slice(-2)).toEqual([{ action: "delayed", status: null }, ...FAILED])
    expect(many(MAX_GROUPS - 1)?.filter(({ action }) => action === "failed")).toEqual([])
    expect(many(MAX_GROUPS - 1)).toHaveLength(MAX_GROUPS - 1)
  })

  test("behind an explanation that is longer than anybody writes is not looked for", () => {
    const long = GIVEN.replace("550 5.1.1 canary", "x".repeat(MAX_REPORT_OCTETS))
    expect(readDeliveryReport(Buffer.from(long).subarray(0, MAX_REPORT_OCTETS))).toBeNull()
  })
})
