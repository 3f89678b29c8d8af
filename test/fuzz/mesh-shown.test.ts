import fc from "fast-check"
import { expect, test } from "vitest"
import { MAX_SHOWN_OCTETS, outsideOf, shownFields } from "../../src/mesh/mail/shown.ts"
import { parseMailboxList } from "../../src/message/mailboxes.ts"
import { fieldText, parseFields } from "../../src/mime/header.ts"

const NAMES = ["from", "to", "subject", "date", "message-id", "references", "reply-to", "cc", "in-reply-to"]
const STATED = { sender: "alice@one.example", recipient: "bob@two.example", date: new Date("2026-11-27T10:00:00Z") }

/** Header sections as a sender might write them who wants others to read something else. */
const sections = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        "From: alice@one.example\r\n",
        "From: Alice <alice@one.example>\r\n",
        "from : bob@two.example\r\n",
        "Subject: a\r\n b\r\n",
        "Subject: a\nReceived: b\r\n",
        "Authentication-Results: x; mesh=pass\r\n",
        "Postern-Encrypted: by this gateway\r\n",
        "Content-Type: text/html\r\n",
        "\r\n",
        "Bcc: x\r\n",
        "To: y\r",
        ": z\r\n",
      ),
      fc.string({ maxLength: 40, unit: "binary-ascii" }),
    ),
    { maxLength: 8 },
  )
  .map((parts) => Buffer.from(parts.join(""), "latin1"))

test("whatever a sender shows, outside stand fields of the list, each once, by the sender alone, and they end nothing", () => {
  fc.assert(
    fc.property(sections, (shown) => {
      const outside = Buffer.concat(outsideOf({ ...STATED, shown }))
      const text = outside.toString("latin1")
      expect(text).toMatch(/^(?:[^\r\n\0]+\r\n)+$/)
      const fields = parseFields(outside)
      const names = fields.map(({ name }) => name)
      expect(new Set(names).size).toBe(names.length)
      expect(names.filter((name) => !NAMES.includes(name))).toEqual([])
      const from = fields.find(({ name }) => name === "from")
      const authors = from === undefined ? [] : parseMailboxList(fieldText(from))
      expect(authors).toEqual([{ localPart: "alice", domain: "one.example" }])
    }),
  )
})

test("of an outer header no more is shown than fits", () => {
  fc.assert(
    fc.property(fc.array(sections, { maxLength: 4 }), (outside) => {
      const shown = shownFields(outside)
      expect(shown === null || (shown.length > 0 && shown.length <= MAX_SHOWN_OCTETS)).toBe(true)
    }),
  )
})
