import { describe, expect, test } from "vitest"
import { headerEnd, parseFields } from "../../src/mime/header.ts"
import { collect, preparedOf } from "../../src/pipeline/prepared.ts"
import { withResults } from "../../src/pipeline/results.ts"

const FIELD = "Authentication-Results: mx.example.test;\r\n\tspf=pass\r\n"
const FORGED = "Authentication-Results: mx.example.test; dmarc=pass\r\n"
const REST = "From: a@b.test\r\nSubject: x\r\n\r\nbody\r\n"

describe("results on top of a message", () => {
  const rows: [name: string, field: string | null, given: string, want: string][] = [
    ["none, none forged: octet for octet", null, REST, REST],
    ["none, one forged", null, FORGED + REST, REST],
    ["ours", FIELD, REST, FIELD + REST],
    ["ours, one forged", FIELD, `X: y\r\n${FORGED}${REST}`, `${FIELD}X: y\r\n${REST}`],
    ["forged within the body stays", FIELD, `${REST}${FORGED}`, `${FIELD}${REST}${FORGED}`],
    [
      "behind an mbox line",
      FIELD,
      `From a@b.test Thu Nov 26\r\n${REST}`,
      `From a@b.test Thu Nov 26\r\n${FIELD}${REST}`,
    ],
    ["before a From with a blank", FIELD, `From : a@b.test\r\n\r\n`, `${FIELD}From : a@b.test\r\n\r\n`],
    [
      "a continuation of nothing",
      FIELD,
      ` ; dmarc=pass\r\n${REST}`,
      `${FIELD}Postern-Continuation:\r\n ; dmarc=pass\r\n${REST}`,
    ],
    [
      "a continuation of nothing that forged ones hid",
      FIELD,
      `From a@b.test Thu Nov 26\r\n\t; dmarc=pass\r\n${REST}`,
      `From a@b.test Thu Nov 26\r\n${FIELD}Postern-Continuation:\r\n\t; dmarc=pass\r\n${REST}`,
    ],
    [
      "a line that is no field",
      FIELD,
      `; dmarc=pass\r\n${REST}`,
      `${FIELD}Postern-Continuation:\r\n; dmarc=pass\r\n${REST}`,
    ],
    [
      "a line that begins with a blank of another script",
      FIELD,
      `\u00a0; dmarc=pass\r\n${REST}`,
      `${FIELD}Postern-Continuation:\r\n\u00a0; dmarc=pass\r\n${REST}`,
    ],
    ["no header", FIELD, "\r\nbody\r\n", `${FIELD}\r\nbody\r\n`],
    ["no empty line", FIELD, "From: a@b.test\r\n", `${FIELD}From: a@b.test\r\n`],
    ["an empty message", FIELD, "", FIELD],
  ]
  for (const [name, field, given, want] of rows)
    test(name, async () => {
      const message = await withResults(preparedOf(Buffer.from(given)), field, "mx.example.test")
      const octets = Buffer.from(await collect(message.content()))
      expect(octets.toString()).toBe(want)
      expect(message.sizeOctets).toBe(octets.length)
    })
})

describe("row 54: forged marks of ours", () => {
  const rows: [name: string, given: string, want: string][] = [
    ["a verdict on a signature, in our name", "Authentication-Results: mx.example.test; smime=pass\r\n", ""],
    ["in our name, of a method that is ours", "authentication-results: MX.example.test.; openpgp=pass\r\n", ""],
    ["of nobody", "Authentication-Results: smime=pass\r\n", ""],
    // Nothing of ours stands there, so that nobody believes it.
    ["in the subject", "Subject: [signed OK] smime=pass\r\n", "Subject: [signed OK] smime=pass\r\n"],
    ["in a field that is none of ours", "X-Signature-Status: pass\r\n", "X-Signature-Status: pass\r\n"],
  ]
  for (const [name, given, want] of rows)
    test(`${name}: ${want === "" ? "goes" : "stays, and means nothing"}`, async () => {
      const message = await withResults(preparedOf(Buffer.from(given + REST)), FIELD, "mx.example.test")
      expect(Buffer.from(await collect(message.content())).toString()).toBe(`${FIELD}${want}${REST}`)
    })

  test("in the header of a signed part: stays, since the signature covers it, and is no field of the message", async () => {
    const part = `--b\r\nContent-Type: text/plain; hp="clear"\r\n${FORGED}\r\nx\r\n--b--\r\n`
    const given = `From: a@b.test\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n${part}`
    const message = await withResults(preparedOf(Buffer.from(given)), FIELD, "mx.example.test")
    const octets = Buffer.from(await collect(message.content()))
    expect(octets.toString()).toBe(FIELD + given)
    const fields = parseFields(octets.subarray(0, headerEnd(octets) ?? 0))
    expect(fields.filter(({ name }) => name === "authentication-results")).toHaveLength(1)
  })
})
