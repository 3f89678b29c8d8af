import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { peer } from "../harness/peers.ts"
import { ImapSession, openWithOpenssl } from "../harness/reading.ts"
import { sendMail } from "../harness/wire.ts"

let gateway: Instance
let device: DeviceSettings & { readonly folder: string }

beforeAll(async () => {
  gateway = await Instance.create()
  await gateway.must("account", "add", "alice@example.test")
  device = await gateway.device("alice@example.test", "laptop")
  await gateway.serve()
})

afterAll(async () => gateway?.[Symbol.asyncDispose]())

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1")

/** Each is delivered octet for octet inside the encryption, or refused with the reply given. */
const ROWS: [name: string, message: Buffer, refusal?: RegExp][] = [
  ["nothing at all", Buffer.alloc(0)],
  ["one empty line", latin1("\r\n")],
  ["header without body", latin1("Subject: only this\r\n")],
  ["body without header", latin1("\r\nno header at all\r\n")],
  ["text where the header should be", latin1("this is no field\r\nnor this\r\n\r\nbody\r\n")],
  ["NUL octets", latin1("Subject: nul\r\n\r\na\0b\0\0c\r\n")],
  [
    "every octet value",
    Buffer.concat([
      latin1("Subject: all\r\n\r\n"),
      Buffer.from([...Array(256).keys()].filter((octet) => octet !== 10 && octet !== 13)),
      latin1("\r\n"),
    ]),
  ],
  ["8-bit header fields", latin1("Subject: \xff\xfe\xe4\r\nX-\xe4: y\r\n\r\nbody\r\n")],
  [
    "10,000 header fields",
    latin1(`${Array.from({ length: 10_000 }, (_, index) => `X-Field-${index}: value\r\n`).join("")}\r\nbody\r\n`),
  ],
  ["a line of 100,000 octets", latin1(`Subject: long\r\n\r\n${"x".repeat(100_000)}\r\n`)],
  [
    "broken base64",
    latin1("Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n*** not = base64 ===\r\n"),
  ],
  ["an unknown charset", latin1('Content-Type: text/plain; charset="x-unheard-of"\r\n\r\n\xa1\xa2\xa3\r\n')],
  [
    "a multipart without end",
    latin1(
      'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nnever closed\r\n',
    ),
  ],
  ["a multipart without boundary", latin1("Content-Type: multipart/mixed\r\n\r\n--\r\n\r\n--\r\n")],
  ["multiparts nested 200 deep", latin1(nested(200))],
  [
    "an S/MIME type around plain text",
    latin1(
      "Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8gd29ybGQ=\r\n",
    ),
  ],
  ["lines that begin with dots", latin1("Subject: dots\r\n\r\n.\r\n..\r\n...x\r\n")],
  ["a header section over 1 MiB", latin1(`X-Big: ${"y".repeat(1_100_000)}\r\n\r\nbody\r\n`), /^552 5\.3\.4/],
  ["a bare LF", latin1("Subject: x\r\n\r\nbare\nline\r\n"), /^550 5\.6\.0/],
  ["a bare CR", latin1("Subject: x\r\n\r\nbare\rline\r\n"), /^550 5\.6\.0/],
]

function nested(depth: number): string {
  const open = Array.from(
    { length: depth },
    (_, level) => `Content-Type: multipart/mixed; boundary="b${level}"\r\n\r\n--b${level}\r\n`,
  ).join("")
  const close = Array.from({ length: depth }, (_, level) => `\r\n--b${depth - 1 - level}--\r\n`).join("")
  return `${open}Content-Type: text/plain\r\n\r\ndeep${close}`
}

describe.skipIf(!peer("openssl"))("bad input comes out as it went in, or is refused", () => {
  for (const [name, message, refusal] of ROWS)
    test(name, async () => {
      using session = await ImapSession.open(device)
      const before = await session.uids()
      const reply = await sendMail(gateway.port, "a@elsewhere.test", ["alice@example.test"], message)
      if (refusal) return expect(reply).toMatch(refusal)
      expect(reply).toMatch(/^250 /)
      const uid = await eventually("it is delivered", async () =>
        (await session.uids()).find((candidate) => !before.includes(candidate)),
      )
      const opened = await openWithOpenssl(await session.fetch(uid, "BODY.PEEK[]"), device)
      // The octets of DATA always end in CRLF (RFC 5321 §4.1.1.4); an empty message has none to end.
      expect(Buffer.from(opened ?? []).equals(message)).toBe(true)
    })
})
