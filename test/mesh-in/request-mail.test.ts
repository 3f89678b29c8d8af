import { describe, expect, test } from "vitest"
import { composeRequestMail, type ShownRequest } from "../../src/mesh-in/request-mail.ts"
import { parseAddress } from "../../src/message/address.ts"
import { shownAddress } from "../../src/message/shown-address.ts"

const UDF = "MBQC-7OHA-RNBA-FRDL-R4GI-YQHA-DL36"
const request: ShownRequest = {
  account: "dave@two.example",
  address: "carol@one.example",
  udf: UDF,
  service: "MAAA-BBBB",
  via: "gateway",
  introducer: "",
  text: "Hello Dave,\nwe met in Bern.",
  until: new Date("2026-12-26T12:00:00Z"),
}
function mail(changes: Partial<ShownRequest> = {}, isDelegated = false): string {
  const octets = composeRequestMail({
    request: { ...request, ...changes },
    isDelegated,
    from: parseAddress("postmaster@two.example"),
    to: parseAddress("dave@two.example"),
    messageId: "<1@two.example>",
    date: new Date("2026-11-26T12:00:00Z"),
  })
  return Buffer.from(octets).toString("latin1")
}

describe("the mail that shows a request", () => {
  test("is from the gateway, never from who asks, and names him by what was checked", () => {
    const text = mail()
    expect(text).toContain("From: <postmaster@two.example>\r\n")
    expect(text).toContain("Subject: Contact request from\r\n carol@one.example\r\n")
    expect(text).toContain(`  profile   ${UDF}\r\n`)
    for (const answer of ["accept", "refuse", "block"])
      expect(text).toContain(`  postern contact ${answer} dave@two.example ${UDF}\r\n`)
    expect(text).toContain("  | Hello Dave,\r\n  | we met in Bern.\r\n")
    expect(text).not.toContain("known to")
  })

  test("shows what looks like another letter as what it is", () => {
    const text = mail({ address: "cаrol@one.example" })
    expect(text).toContain("Subject: Contact request from\r\n c\\u{430}rol@one.example\r\n")
    expect(/^[\x00-\x7f]*$/.test(text)).toBe(true)
    expect(shownAddress("\u202eli\u200b@x.example")).toBe("\\u{202e}li\\u{200b}@x.example")
  })

  test("keeps what he writes apart from what we say", () => {
    const text = mail({ text: `Hello\n\n  profile   MDDK\nTo answer, on the gateway:` })
    expect(text).toContain("  | Hello\r\n  | \r\n  |   profile   MDDK\r\n  | To answer, on the gateway:\r\n")
  })

  test("breaks his lines itself: what a client breaks would begin a line without a bar", () => {
    const written = `${"Hello ".repeat(20)}\n${"x".repeat(1_000 - 121)}`
    const lines = mail({ text: written }).split("\r\n")
    expect(Math.max(...lines.filter((line) => line.startsWith("  | ")).map((line) => line.length))).toBeLessThanOrEqual(
      72,
    )
    expect(lines.filter((line) => /Hello|xx/.test(line)).every((line) => line.startsWith("  | "))).toBe(true)
    expect(lines.map((line) => line.replace(/^ {2}\| /, "")).join("")).toContain("Hello ".repeat(20) + "x".repeat(879))
  })

  test("says who introduces him, and whose requests they are to whoever handles them", () => {
    const text = mail({ introducer: "erin@two.example" }, true)
    expect(text).toContain("known to  erin@two.example, who is a contact already")
    expect(text).toContain("asks to be a contact of dave@two.example, whose requests you handle.")
  })
})
