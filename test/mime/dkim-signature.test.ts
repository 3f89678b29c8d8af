import fc from "fast-check"
import { beforeAll, describe, expect, test } from "vitest"
import { type DkimAlgorithm, type DkimSigner, makeDkimKey, readDkimKey } from "../../src/crypto/primitives/dkim-key.ts"
import { digestOf } from "../../src/crypto/primitives/hash.ts"
import { keyRecord, keyRecordName } from "../../src/mime/dkim-record.ts"
import { RelaxedBody } from "../../src/mime/dkim-relaxed.ts"
import { dkimSignature } from "../../src/mime/dkim-signature.ts"
import { headerEnd } from "../../src/mime/header.ts"
import { DKIM_VERIFIERS } from "../harness/dkim-verifiers.ts"
import type { Zone } from "../harness/zone.ts"

const AT = new Date("2026-11-26T10:00:00.900Z")
const SIGNERS: Readonly<Record<DkimAlgorithm, DkimSigner>> = {
  "rsa-sha256": readDkimKey(makeDkimKey("rsa-sha256")),
  "ed25519-sha256": readDkimKey(makeDkimKey("ed25519-sha256")),
}
const ALGORITHMS = ["rsa-sha256", "ed25519-sha256"] as const
const ZONE: Zone = Object.fromEntries(
  ALGORITHMS.map((algorithm) => [
    `${keyRecordName("example.com", selectorOf(algorithm))} TXT`,
    [keyRecord(SIGNERS[algorithm]).match(/.{1,255}/g) ?? []],
  ]),
)

function selectorOf(algorithm: DkimAlgorithm): string {
  return algorithm.split("-")[0] ?? ""
}

function signed(text: string): Buffer {
  const message = Buffer.from(text, "latin1")
  const end = headerEnd(message) ?? message.length
  const body = new RelaxedBody(digestOf("sha256"))
  body.push(message.subarray(end))
  const bodyHash = body.end()
  const fields = ALGORITHMS.map((algorithm) =>
    dkimSignature(
      message.subarray(0, end),
      bodyHash,
      { domain: "example.com", selector: selectorOf(algorithm) },
      SIGNERS[algorithm],
      AT,
    ),
  )
  return Buffer.concat([...fields, message])
}

const HEAD =
  "Received: by example.com\r\n\twith ESMTPSA\r\nFrom: Alice <alice@example.com>\r\nTo: Bob <bob@else.test>,\r\n  carol@else.test\r\n" +
  "Subject:  two   blanks\r\n\tand a fold \r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n" +
  "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nList-Unsubscribe: <https://example.com/u>\r\n\r\n"

const messages: readonly (readonly [name: string, text: string])[] = [
  ["a plain one", `${HEAD}Hello\r\nBob\r\n`],
  ["an empty body", HEAD],
  ["no body at all", HEAD.slice(0, -2)],
  ["empty lines at the end", `${HEAD}text\r\n\r\n\r\n \t\r\n\r\n`],
  ["empty lines only", `${HEAD}\r\n\r\n`],
  ["no line end at the end", `${HEAD}text`],
  ["octets above 127", `${HEAD}Gr\xc3\xbc\xc3\x9fe \xa0 \r\n\xff\xfe\r\n`],
  ["octets above 127 in the header", HEAD.replace("two", "zw\xc3\xb6lf\xa0").concat("x\r\n")],
  ["blanks everywhere", `${HEAD} a \t b \r\n\t\r\n  c\r\n`],
  ["a long line", `${HEAD}${"long line ".repeat(30_000)}\r\nend\r\n`],
  ["lines that begin with dots", `${HEAD}.\r\n..\r\n`],
  ["names in odd case", `from: alice@example.com\r\nSUBJECT:x\r\nDate:\r\n\r\nx\r\n`],
  ["two of a name", `To: a@else.test\r\nTo: b@else.test\r\nFrom: alice@example.com\r\n\r\nx\r\n`],
  ["only From", "From: alice@example.com\r\n\r\nx\r\n"],
  [
    "a signature of somebody else",
    `DKIM-Signature: v=1; a=rsa-sha256; d=else.test; s=x; h=from; bh=eA==; b=eA==\r\n${HEAD}x\r\n`,
  ],
]

for (const { name, there, verify } of DKIM_VERIFIERS)
  describe.skipIf(!there)(`verified by ${name}`, () => {
    const all = ALGORITHMS.map(() => "pass")
    // In one run of the program: its start takes longer than what it does.
    let found: readonly (readonly string[])[]
    beforeAll(async () => {
      const octets = [
        ...messages.map(([, message]) => signed(message)),
        ...alterations.map(([, before, after]) => Buffer.from(alter(before, after), "latin1")),
      ]
      found = await verify(octets, ZONE)
    })

    test.each(messages.map(([what], index) => [what, index] as const))("%s", (_what, index) => {
      expect(found[index]?.slice(0, all.length)).toEqual(all)
    })

    const text = `${HEAD}Hello\r\nBob\r\n`
    const alterations: readonly (readonly [name: string, before: string | RegExp, after: string])[] = [
      ["the body is altered", "Hello", "Hallo"],
      ["the body goes on", /$/, "more\r\n"],
      ["a line end is taken out of the body", "Hello\r\nBob", "Hello Bob"],
      ["the subject is altered", "two", "three"],
      ["the author is altered", "alice@", "mallory@"],
      ["a second From is put on top", /^/, "From: mallory@example.com\r\n"],
      ["a second Subject is put in", "Date: ", "Subject: other\r\nDate: "],
      ["a Reply-To is put in", "Date: ", "Reply-To: mallory@else.test\r\nDate: "],
      ["a Cc is put in", "Date: ", "Cc: mallory@else.test\r\nDate: "],
      ["the content type is altered", "text/plain", "text/html"],
      ["a transfer encoding is put in", "MIME-Version: ", "Content-Transfer-Encoding: base64\r\nMIME-Version: "],
      ["the date is taken out", /Date: .*\r\n/, ""],
      ["the time of the signature is altered", /t=\d/, "t=9"],
    ]
    const alter = (before: string | RegExp, after: string) => signed(text).toString("latin1").replace(before, after)
    test.each(alterations.map(([what], index) => [what, index] as const))("fails when %s", (what, index) => {
      const [, before = "", after = ""] = alterations[index] ?? []
      expect(alter(before, after)).not.toBe(alter("", ""))
      const results = found[messages.length + index]
      // Of two signatures the topmost may be the only one whose own field was altered.
      expect(results?.[0]).not.toBe("pass")
      if (what !== "the time of the signature is altered") expect(results).not.toContain("pass")
    })

    test("trace fields and a list's own may come and go", async () => {
      const passed = `Received: by other\r\n${signed(text).toString("latin1")}`
        .replace("Received: by example.com\r\n\twith ESMTPSA\r\n", "")
        .replace("MIME-Version: ", "Sender: list@else.test\r\nList-Id: <list.else.test>\r\nMIME-Version: ")
      expect(await verify([Buffer.from(passed, "latin1")], ZONE)).toEqual([all])
    })

    test("another key, or none, in DNS", async () => {
      const other = Object.fromEntries(
        Object.keys(ZONE).map((key, index) => [
          key,
          [keyRecord(readDkimKey(makeDkimKey(ALGORITHMS[index] ?? "rsa-sha256"))).match(/.{1,255}/g) ?? []],
        ]),
      )
      for (const zone of [other, {}]) expect((await verify([signed(text)], zone))[0]).not.toContain("pass")
    })
  })

test("whatever the message, mailauth agrees with us on what its canonical form is", async () => {
  const text = fc.string({
    unit: fc.constantFrom("a", "B", "\xff", "\xa0", " ", "\t", ":", ";", "=", "\r\n ", "\r\n\t x"),
    maxLength: 20,
  })
  const name = fc.constantFrom(
    "To",
    "to",
    "CC",
    "Subject",
    "References",
    "List-Id",
    "X-Other",
    "Content-Type",
    "Sender",
  )
  const line = fc.string({ unit: fc.constantFrom("a", " ", "\t", "\xc3", ".", "--"), maxLength: 12 })
  const message = fc.tuple(
    fc.array(fc.tuple(name, text), { maxLength: 8 }),
    fc.array(line, { maxLength: 6 }),
    fc.boolean(),
  )
  const [mailauth] = DKIM_VERIFIERS
  await fc.assert(
    fc.asyncProperty(message, async ([fields, lines, ended]) => {
      // A continuation line of blanks only ends the section for some readers.
      const header = fields
        .map(([field, value]) => `${field}: ${value.replace(/\r\n[ \t]+(?=\r\n|$)/g, "")}\r\n`)
        .join("")
      const octets = signed(`${header}From: a@example.com\r\n\r\n${lines.join("\r\n")}${ended ? "\r\n" : ""}`)
      expect(await mailauth?.verify([octets], ZONE)).toEqual([["pass", "pass"]])
    }),
    { numRuns: 300 },
  )
})

test("the same octets each time; its lines are short; no l=, no x=", () => {
  const one = signed(`${HEAD}Hello\r\n`)
  expect(signed(`${HEAD}Hello\r\n`)).toEqual(one)
  const field = one.toString("latin1").split("Received: ")[0] ?? ""
  expect(Math.max(...field.split("\r\n").map((line) => line.length))).toBeLessThanOrEqual(78)
  expect(field).toMatch(/; t=1795687200;/)
  expect(field).not.toMatch(/[; \t][lx]=/)
  expect(field.replace(/\s/g, "")).toContain("h=From:From:Reply-To:To:To:Cc:Subject:Subject:Date:Date:")
})
